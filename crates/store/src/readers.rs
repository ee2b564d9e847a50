//! A few threads, each with a connection that only reads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::db::{Db, Fault, Op};
use crate::error::StoreError;

/// Reads that may wait for a connection.
const WAITING_MAX: usize = 1_024;

type Read = Box<dyn FnOnce(&dyn Db) + Send>;

struct Queue {
    waiting: VecDeque<Read>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    /// Bounds the queue: a read waits for a permit, and holds it until it is answered.
    permits: Semaphore,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue of closures cannot be left half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next read; `None` when the store is closed and everything was read.
    fn next(&self) -> Option<Read> {
        let mut queue = self.lock();
        loop {
            if let Some(read) = queue.waiting.pop_front() {
                return Some(read);
            }
            if queue.closed {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a read that came to nothing tells.
pub(crate) fn failure(fault: Fault) -> StoreError {
    match fault {
        Fault::Rule(error) => error,
        Fault::Engine(reason) | Fault::Constraint(reason) | Fault::Again(reason) => {
            StoreError::CannotRead { reason }
        }
    }
}

pub(crate) struct Readers {
    shared: Arc<Shared>,
    /// Where reads run at once, on the task that asks.
    #[cfg(feature = "simulation")]
    at_once: Option<Arc<crate::simulation::AtOnce>>,
}

impl Readers {
    /// Starts the threads; each opens its own connection.
    pub(crate) fn start<D: Db>(
        count: usize,
        open: impl Fn() -> Result<D, StoreError> + Clone + Send + 'static,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { waiting: VecDeque::new(), closed: false }),
            ready: Condvar::new(),
            permits: Semaphore::new(WAITING_MAX),
        });
        let readers = Readers {
            shared,
            #[cfg(feature = "simulation")]
            at_once: None,
        };
        for _ in 0..count {
            let (shared, open) = (Arc::clone(&readers.shared), open.clone());
            let (ready, opened) = std::sync::mpsc::sync_channel(1);
            std::thread::Builder::new()
                .name("store-reader".to_owned())
                .spawn(move || {
                    let db = match open() {
                        Ok(db) => db,
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            return;
                        }
                    };
                    let _ = ready.send(Ok(()));
                    while let Some(read) = shared.next() {
                        read(&db);
                    }
                })
                .map_err(|e| StoreError::CannotRead { reason: e.to_string() })?;
            opened.recv().unwrap_or(Err(StoreError::Closed))?;
        }
        Ok(readers)
    }

    /// Readers without threads.
    #[cfg(feature = "simulation")]
    pub(crate) fn at_once(place: crate::simulation::AtOnce) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), closed: false });
        let shared = Arc::new(Shared { queue, ready: Condvar::new(), permits: Semaphore::new(WAITING_MAX) });
        Readers { shared, at_once: Some(Arc::new(place)) }
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        op: impl FnOnce(&dyn Db) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        #[cfg(feature = "simulation")]
        if let Some(at_once) = &self.at_once {
            return at_once.read(op).await;
        }
        let _permit = self.shared.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let read: Read = Box::new(move |db| {
            let result = op(db).map_err(failure);
            // Whoever asked may have gone away.
            let _ = answer.send(result);
        });
        {
            let mut queue = self.shared.lock();
            if queue.closed {
                return Err(StoreError::Closed);
            }
            queue.waiting.push_back(read);
        }
        self.shared.ready.notify_one();
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Lets the threads end when the queue is empty; later reads are refused.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}
