//! A connection in memory. What a node writes is seen by the world before it travels; what a dead node writes is
//! nothing any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Writes that may be on their way; more than a world ever has.
const IN_FLIGHT: usize = 4_096;

/// What is written at the node's end, before it leaves. `false` when it does not leave: the node is dead.
pub type Tap = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The node's end.
pub struct NodeEnd {
    arriving: mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
    leaving: mpsc::Sender<Vec<u8>>,
    tap: Tap,
}

/// The other end.
pub struct FarEnd {
    /// What the node wrote.
    pub from_node: mpsc::Receiver<Vec<u8>>,
    /// Toward the node; it sees the end of the stream when all copies of it are gone.
    pub to_node: mpsc::Sender<Vec<u8>>,
}

/// A connection.
pub fn connection(tap: Tap) -> (NodeEnd, FarEnd) {
    let (to_node, arriving) = mpsc::channel(IN_FLIGHT);
    let (leaving, from_node) = mpsc::channel(IN_FLIGHT);
    (NodeEnd { arriving, rest: Vec::new(), leaving, tap }, FarEnd { from_node, to_node })
}

impl AsyncRead for NodeEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match self.arriving.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(bytes)) => self.rest = bytes,
            }
        }
        let count = self.rest.len().min(into.remaining());
        let taken: Vec<u8> = self.rest.drain(..count).collect();
        into.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeEnd {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if (self.tap)(bytes) && self.leaving.try_send(bytes.to_vec()).is_err() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
