//! A reader behind a TCP listener, which stands for Bluetooth: one phone at a time, and a switch that cuts the link.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use readerlink::Server;

use crate::reader::Reader;

/// How long a read of the pipe waits.
pub(crate) const READ: Duration = Duration::from_millis(20);

struct State {
    on: AtomicBool,
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
    /// Cuts the link, or lets the phone come back. `told` hears of each change.
    pub fn set(&self, on: bool) {
        self.0.on.store(on, Ordering::SeqCst);
        if !on {
            self.hang_up();
        }
        (self.0.told)();
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
}

impl Pipe {
    fn there(&self) -> io::Result<()> {
        let there = self.radio.is_on() && !self.radio.0.over.load(Ordering::SeqCst);
        if there { Ok(()) } else { Err(ErrorKind::ConnectionReset.into()) }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.there()?;
        self.stream.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.there()?;
        self.stream.write(bytes)
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
        let mut server = Server::new(Pipe { stream, radio: radio.clone() }, reader, clock, random);
        if let Err(error) = server.run() {
            tracing::debug!(%error, "the phone is gone");
        }
        reader = server.into_device();
        reader.reset();
        radio.hang_up();
        (radio.0.told)();
    }
}
