//! The line of a virtual terminal: a socket or HTTPS that now and then breaks, before the request, inside it, or before the
//! answer is heard.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pos::{BoxFuture, Dial, Link};

use super::random::Random;

/// Of a thousand requests, so many lose the line: nothing sent, half sent, not listened to, answer not heard.
const BREAKS: [u64; 4] = [4, 3, 6, 6];

/// Dials lines that break.
pub struct ShakyDialer {
    /// The real ones, one for each node, or one for the front.
    pub nodes: Vec<Box<dyn Dial>>,
    /// The node that the terminal dials first.
    pub at: AtomicUsize,
    /// Decides which break.
    pub random: Arc<Mutex<Random>>,
}

/// Of a thousand dials, so many go to another node although the last one was good.
const MOVES: u64 = 100;

impl ShakyDialer {
    fn drawn(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(1_000)
    }

    /// The node of last time, and the others when it does not take the call.
    async fn any_node(&self) -> io::Result<Box<dyn Link>> {
        if self.nodes.len() > 1 && self.drawn() < MOVES {
            self.at.fetch_add(1, Ordering::Relaxed);
        }
        let mut last = broken();
        for _ in &self.nodes {
            let at = self.at.load(Ordering::Relaxed) % self.nodes.len();
            let Some(node) = self.nodes.get(at) else { break };
            match node.dial().await {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
            self.at.store(at + 1, Ordering::Relaxed);
        }
        Err(last)
    }
}

impl Dial for ShakyDialer {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        Box::pin(async move {
            let link = self.any_node().await?;
            Ok(Box::new(ShakyLink { link, random: Arc::clone(&self.random), deaf: None }) as Box<dyn Link>)
        })
    }
}

struct ShakyLink {
    link: Box<dyn Link>,
    random: Arc<Mutex<Random>>,
    /// What becomes of the answer: `Some(true)` is not waited for, `Some(false)` is taken and thrown away.
    deaf: Option<bool>,
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the line was cut")
}

impl Link for ShakyLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        let drawn = self.random.lock().unwrap_or_else(PoisonError::into_inner).below(1_000);
        let mut fault = None;
        let mut end = 0;
        for (which, share) in BREAKS.iter().enumerate() {
            end += share;
            if drawn < end {
                fault = Some(which);
                break;
            }
        }
        Box::pin(async move {
            match fault {
                Some(0) => return Err(broken()),
                Some(1) => {
                    self.link.send(frame.get(..frame.len() / 2).unwrap_or_default()).await?;
                    return Err(broken());
                }
                Some(2) => self.deaf = Some(true),
                Some(_) => self.deaf = Some(false),
                None => {}
            }
            self.link.send(frame).await
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            match self.deaf {
                Some(true) => Err(broken()),
                Some(false) => self.link.receive().await.and(Err(broken())),
                None => self.link.receive().await,
            }
        })
    }

    fn is_usable(&mut self) -> bool {
        self.deaf.is_none() && self.link.is_usable()
    }
}
