//! Taking connections of a socket, until the stop.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Full, Warnings};

/// The pause after a connection that could not be taken.
const AGAIN: Duration = Duration::from_millis(50);

/// Takes connections of one socket until the stop, closes it, then waits for the ends of those that it took. `enter` gives
/// each a place, `serve` is what becomes of it; whoever has no place is closed, and counted in the metric `refused` by
/// its reason.
pub async fn accept<P, F: Future<Output = ()> + Send + 'static>(
    socket: TcpListener,
    stop: &CancellationToken,
    (refused, warnings): (&'static str, &Warnings),
    enter: impl Fn(SocketAddr) -> Result<P, Full>,
    serve: impl Fn(TcpStream, SocketAddr, P) -> F,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer gone before we looked: go on, but not in a tight loop.
                metrics::counter!(refused, "reason" => "accept failed").increment(1);
                if warnings.may_write() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        match enter(peer) {
            Ok(place) => {
                connections.spawn(serve(stream, peer, place));
            }
            Err(full) => {
                metrics::counter!(refused, "reason" => full.label()).increment(1);
                if warnings.may_write() {
                    tracing::warn!(%peer, reason = full.label(), "connection refused");
                }
            }
        }
    }
    drop(socket);
    connections.close();
    connections.wait().await;
}
