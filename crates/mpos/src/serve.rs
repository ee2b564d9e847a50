//! A reader behind a TCP listener, which stands for Bluetooth: one phone at a time, and a switch that cuts the link.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use readerlink::Server;

use crate::reader::Reader;

/// How long a read of the pipe waits.
pub(crate) const READ: Duration = Duration::from_millis(20);

/// A cut that is planned.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Requests that still go through.
    left: u32,
    /// The reader does what the next one asks, and its answer is lost; otherwise the request is.
    heard: bool,
    /// The request has come, and is done.
    due: bool,
}

struct State {
    on: AtomicBool,
    cut: Mutex<Option<Cut>>,
    over: AtomicBool,
    current: Mutex<Option<TcpStream>>,
    told: Box<dyn Fn() + Send + Sync>,
}

/// The switch of the link. Clones are the same switch.
#[derive(Clone)]
pub struct Radio(Arc<State>);

impl std::fmt::Debug for Radio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Radio({})", if self.is_on() { "on" } else { "off" })
    }
}

impl Radio {
    /// Cuts the link, or lets the phone come back, and forgets a cut that was planned. `told` hears of each change.
    pub fn set(&self, on: bool) {
        *self.plan() = None;
        self.0.on.store(on, Ordering::SeqCst);
        if !on {
            self.hang_up();
        }
        (self.0.told)();
    }

    /// Has the link go with the `nth` request from now, from 1: before the reader hears it, or (`heard`) when it begins to
    /// answer.
    pub fn cut_at(&self, nth: u32, heard: bool) {
        *self.plan() = Some(Cut { left: nth.saturating_sub(1), heard, due: false });
    }

    fn plan(&self) -> MutexGuard<'_, Option<Cut>> {
        self.0.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come. Whether the link still is there.
    fn came(&self) -> bool {
        let mut plan = self.plan();
        let Some(cut) = plan.as_mut() else { return true };
        if cut.left > 0 {
            cut.left -= 1;
            return true;
        }
        cut.due = true;
        let lost = !cut.heard;
        drop(plan);
        if lost {
            self.set(false);
        }
        !lost
    }

    /// Something is to be told. Whether the link still is there.
    fn tells(&self) -> bool {
        let lost = self.plan().is_some_and(|cut| cut.due);
        if lost {
            self.set(false);
        }
        !lost
    }

    /// Whether a phone can reach the reader.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::SeqCst)
    }

    /// Whether one is there.
    pub fn is_connected(&self) -> bool {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn hang_up(&self) {
        if let Some(stream) = self.0.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A reader that is served. Dropped, it is switched off.
#[derive(Debug)]
pub struct Serving {
    /// Where.
    pub address: SocketAddr,
    radio: Radio,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Its switch.
    pub fn radio(&self) -> &Radio {
        &self.radio
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.radio.0.over.store(true, Ordering::SeqCst);
        self.radio.hang_up();
        // So that the listener wakes up and sees it.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reader's thread panicked");
        }
    }
}

/// The reader's end of a connection that the switch may cut.
struct Pipe {
    stream: TcpStream,
    radio: Radio,
    /// A request is being read or worked on.
    asked: bool,
}

fn gone<T>() -> io::Result<T> {
    Err(ErrorKind::ConnectionReset.into())
}

impl Pipe {
    fn there(&self) -> io::Result<()> {
        let there = self.radio.is_on() && !self.radio.0.over.load(Ordering::SeqCst);
        if there { Ok(()) } else { gone() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.there()?;
        let read = self.stream.read(buffer)?;
        let begins = read > 0 && !std::mem::replace(&mut self.asked, true);
        if begins && !self.radio.came() { gone() } else { Ok(read) }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.there()?;
        self.asked = false;
        if self.radio.tells() { self.stream.write(bytes) } else { gone() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Serves a reader on a thread of its own. `told` hears when a phone comes or goes.
///
/// # Errors
/// The listener has no address, or there is no thread.
pub fn serve(
    listener: TcpListener,
    reader: Reader,
    told: impl Fn() + Send + Sync + 'static,
) -> io::Result<Serving> {
    let address = listener.local_addr()?;
    let state = State {
        on: AtomicBool::new(true),
        cut: Mutex::default(),
        over: AtomicBool::new(false),
        current: Mutex::default(),
        told: Box::new(told),
    };
    let radio = Radio(Arc::new(state));
    let own = radio.clone();
    let thread = std::thread::Builder::new()
        .name("card reader".to_owned())
        .spawn(move || accept(&listener, reader, &own))?;
    Ok(Serving { address, radio, thread: Some(thread) })
}

fn accept(listener: &TcpListener, mut reader: Reader, radio: &Radio) {
    reader.reset();
    let begun = Instant::now();
    while !radio.0.over.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else { continue };
        if radio.0.over.load(Ordering::SeqCst) {
            return;
        }
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(READ)));
        let Ok(second) = prepared.and_then(|()| stream.try_clone()) else { continue };
        if !radio.is_on() {
            continue;
        }
        *radio.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(second);
        (radio.0.told)();
        reader.greet();
        let clock = Box::new(move || begun.elapsed());
        let random = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
        let mut server =
            Server::new(Pipe { stream, radio: radio.clone(), asked: false }, reader, clock, random);
        if let Err(error) = server.run() {
            tracing::debug!(%error, "the phone is gone");
        }
        reader = server.into_device();
        reader.reset();
        radio.hang_up();
        (radio.0.told)();
    }
}
