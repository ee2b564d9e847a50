//! How many payments the journal takes: each is begun with the message in and out, and completed with the
//! answer in and out, two durable commits and four lines of history. One task shows the cost of a flush, 64 and
//! 256 show what sharing it brings. Both engines, PostgreSQL as installed, on the same disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, PaymentRecord};
use acquiring::transition::Event;
use acquiring::{BatchNo, ResponseCode, Trace};
use common::{answer, at, message, payment};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use store::{Begun, Store, StoreOptions};

async fn pay(store: &Store, id: i64) {
    let (batch, trace) = (id / 999_999 + 1, id % 999_999 + 1);
    let intent = PaymentRecord {
        batch: BatchNo::new(batch.unsigned_abs()).unwrap(),
        trace: Trace::new(trace.unsigned_abs()).unwrap(),
        ..payment(1, Kind::Sale)
    };
    let intent = PaymentRecord { id: acquiring::PaymentId(id), created: at(id), ..intent };
    let merchant = intent.merchant;
    let entries = vec![message(id, EntryKind::TerminalIn, 294), message(id, EntryKind::NetworkOut, 330)];
    assert_eq!(store.begin(intent, entries).await.unwrap(), Begun::Journaled);
    let entries = vec![message(id, EntryKind::NetworkIn, 240), message(id, EntryKind::TerminalOut, 200)];
    let event = Event::Answered(answer(ResponseCode::APPROVED, id));
    store.apply(merchant, acquiring::PaymentId(id), event, entries, at(id)).await.unwrap();
}

fn run(store: &Store, next: &Arc<AtomicI64>, tasks: u64, payments: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let each = (0..tasks).map(|task| {
            let (store, next) = (store.clone(), Arc::clone(next));
            let share = payments / tasks + u64::from(task < payments % tasks);
            tokio::spawn(async move {
                for _ in 0..share {
                    pay(&store, next.fetch_add(1, Ordering::Relaxed)).await;
                }
            })
        });
        for task in each.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    began.elapsed()
}

fn journal(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = server::Server::start();
    for engine in ["sqlite", "postgres"] {
        for tasks in [1, 64, 256] {
            let directory = tempfile::tempdir().unwrap();
            let url = match engine {
                "sqlite" => format!("sqlite:{}", directory.path().display()),
                _ => runtime.block_on(server.database()),
            };
            let store = Store::open_url(&url, StoreOptions::new("")).unwrap();
            let next = Arc::new(AtomicI64::new(1));
            group.bench_function(format!("{engine}, begin+apply, {tasks} tasks"), |b| {
                b.iter_custom(|payments| run(&store, &next, tasks, payments));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, journal);
criterion_main!(benches);
