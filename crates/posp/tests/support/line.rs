//! A line between terminal and node that fails when it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pos::{BoxFuture, Dial, Link, TcpDialer};

/// Dials the node; one failure can be ordered at a time.
pub struct Faults {
    tcp: TcpDialer,
    drop_next_answer: AtomicBool,
}

impl Faults {
    pub fn new(address: SocketAddr) -> Self {
        let tcp = TcpDialer { address: address.to_string(), timeout: Duration::from_secs(30) };
        Faults { tcp, drop_next_answer: AtomicBool::new(false) }
    }

    /// The next request on a new connection leaves, and then the line breaks before its answer.
    pub fn drop_next_answer(&self) {
        self.drop_next_answer.store(true, Ordering::SeqCst);
    }
}

impl Dial for Faults {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        Box::pin(async move {
            let link = self.tcp.dial().await?;
            let breaks = self.drop_next_answer.swap(false, Ordering::SeqCst);
            Ok(Box::new(FaultyLink { link: Some(link), breaks }) as Box<dyn Link>)
        })
    }
}

struct FaultyLink {
    link: Option<Box<dyn Link>>,
    breaks: bool,
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the line was cut")
}

impl Link for FaultyLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.link.as_mut().ok_or_else(broken)?.send(frame).await })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            if self.breaks {
                self.link = None;
            }
            self.link.as_mut().ok_or_else(broken)?.receive().await
        })
    }

    /// A connection carries one request, so that an ordered failure meets the next one.
    fn is_usable(&mut self) -> bool {
        false
    }
}
