//! The line to the host: dial, send one frame, await one frame. Tests put faults behind the same two traits.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest answer the terminal accepts, in bytes after the length prefix. Real answers stay below 1 kB; a key
/// or parameter download below 2 kB.
pub const FRAME_MAX: usize = 4096;

/// A boxed future, so that the traits can be held as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes links to the host.
pub trait Dial: Send + Sync {
    /// Opens a link. A failure means that nothing was sent.
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>>;
}

/// One open link. Frames include their two-byte length.
pub trait Link: Send {
    /// Sends a whole frame. After a failure some bytes may have left: the caller must assume that all did.
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// Waits for one whole frame; the caller sets the time limit.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>>;

    /// Whether the link still looks open and quiet, so that a kept link may carry another request. Bytes that
    /// nobody waits for (a late answer) make it unusable.
    fn is_usable(&mut self) -> bool;
}

/// Dials over TCP.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    /// `host:port`.
    pub address: String,
    /// How long to wait for the connection.
    pub timeout: Duration,
}

impl Dial for TcpDialer {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        Box::pin(async move {
            let stream = tokio::time::timeout(self.timeout, TcpStream::connect(self.address.as_str()))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
            stream.set_nodelay(true)?;
            Ok(Box::new(TcpLink { stream }) as Box<dyn Link>)
        })
    }
}

struct TcpLink {
    stream: TcpStream,
}

impl Link for TcpLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.stream.write_all(frame).await?;
            self.stream.flush().await
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let mut frame = vec![0_u8; 2];
            self.stream.read_exact(&mut frame).await?;
            let length = frame.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            if length == 0 || length > FRAME_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the answer's length is out of bounds",
                ));
            }
            frame.resize(2 + length, 0);
            let body = frame.get_mut(2..).unwrap_or_default();
            self.stream.read_exact(body).await?;
            Ok(frame)
        })
    }

    fn is_usable(&mut self) -> bool {
        // A quiet open stream has nothing to read; end of stream reads zero bytes; a late answer reads some.
        let mut probe = [0_u8; 1];
        matches!(self.stream.try_read(&mut probe), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
