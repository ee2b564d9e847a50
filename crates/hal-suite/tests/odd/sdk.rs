//! A vendor's SDK as vendors write them: the service answers "yes" or "no" and keeps the reason for whoever
//! asks afterwards, numbers overlap between devices, times are in seconds, results come on a thread of the
//! SDK's own, and the service may die. Nothing in here knows the HAL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    dead_code
)]

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The service is gone: every call says "no" with this.
pub const SERVICE_CRASHED: i32 = 0xFF01;

type Listener = Box<dyn Fn(i32, &str) + Send>;

#[derive(Default)]
struct World {
    dead: bool,
    opened: u32,
    last_error: i32,
    // Printer.
    paper: Option<u32>,
    hot: bool,
    buffer: Vec<String>,
    pub paper_out: Vec<String>,
    // Slot.
    card: bool,
    powered: bool,
    // PIN pad and scanner wait for these.
    keys: VecDeque<char>,
    code: Option<String>,
    stop_scan: bool,
    stop_pin: bool,
    counters: [u64; 3],
}

/// The vendor's one object.
pub struct OddService {
    world: Mutex<World>,
    changed: Condvar,
    callbacks: SyncSender<Box<dyn FnOnce() + Send>>,
}

fn callback_thread(jobs: &Receiver<Box<dyn FnOnce() + Send>>) {
    while let Ok(job) = jobs.recv() {
        // Some vendors crash in a listener and live on.
        job();
    }
}

impl OddService {
    pub fn bind() -> Arc<Self> {
        let (callbacks, jobs) = sync_channel::<Box<dyn FnOnce() + Send>>(16);
        thread::spawn(move || callback_thread(&jobs));
        let world = World { paper: None, ..World::default() };
        Arc::new(Self { world: Mutex::new(world), changed: Condvar::new(), callbacks })
    }

    fn with<R>(&self, code_when_dead: R, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world.lock().unwrap();
        if world.dead {
            world.last_error = SERVICE_CRASHED;
            return code_when_dead;
        }
        let result = act(&mut world);
        drop(world);
        self.changed.notify_all();
        result
    }

    pub fn get_last_error(&self) -> i32 {
        self.world.lock().unwrap().last_error
    }

    /// How many handles clients hold.
    pub fn open_count(&self) -> u32 {
        self.world.lock().unwrap().opened
    }

    pub fn open_device(&self) -> bool {
        self.with(false, |world| {
            world.opened += 1;
            true
        })
    }

    pub fn close_device(&self) {
        self.with((), |world| world.opened -= 1);
    }

    pub fn counters(&self) -> [u64; 3] {
        self.world.lock().unwrap().counters
    }

    // The printer: text goes into a buffer, and comes out at "start". Code 2 is "too hot", code 0xF0 "no
    // paper", 0 is fine.

    pub fn printer_status(&self) -> i32 {
        self.with(SERVICE_CRASHED, |world| match world.paper {
            _ if world.hot => 2,
            Some(0) => 0xF0,
            _ => 0,
        })
    }

    pub fn add_text(&self, line: &str) -> bool {
        self.with(false, |world| {
            world.buffer.push(line.to_owned());
            true
        })
    }

    pub fn start_print(&self) -> bool {
        self.with(false, |world| {
            // The buffer is emptied whatever comes of it, as on the real ones.
            for line in std::mem::take(&mut world.buffer) {
                if world.hot {
                    world.last_error = 2;
                    return false;
                }
                match world.paper.as_mut() {
                    Some(0) => {
                        world.last_error = 0xF0;
                        return false;
                    }
                    Some(left) => *left -= 1,
                    None => (),
                }
                world.paper_out.push(line);
            }
            world.counters[0] += 1;
            true
        })
    }

    // The slot: null where there is no answer.

    pub fn card_present(&self) -> bool {
        self.with(false, |world| world.card)
    }

    pub fn power_up(&self) -> Option<Vec<u8>> {
        self.with(None, |world| {
            if !world.card {
                world.last_error = 3;
                return None;
            }
            world.powered = true;
            world.counters[1] += 1;
            Some(vec![0x3B, 0x00])
        })
    }

    pub fn exchange_apdu(&self, apdu: &[u8]) -> Option<Vec<u8>> {
        self.with(None, |world| {
            if !world.card || !world.powered {
                world.powered = false;
                world.last_error = 2;
                return None;
            }
            let _: &[u8] = apdu;
            Some(vec![0x6A, 0x82])
        })
    }

    pub fn power_down(&self) {
        self.with((), |world| world.powered = false);
    }

    // The scanner: seconds, and the answer on the callback thread. Code 0 with the text, 1 for failure.

    pub fn start_scan(self: &Arc<Self>, timeout_seconds: u32, listener: Listener) -> bool {
        let started = self.with(false, |world| {
            world.stop_scan = false;
            true
        });
        if started {
            let service = Arc::clone(self);
            let end = Instant::now() + Duration::from_secs(u64::from(timeout_seconds));
            thread::spawn(move || {
                let mut world = service.world.lock().unwrap();
                let (code, text) = loop {
                    if world.dead {
                        break (SERVICE_CRASHED, String::new());
                    }
                    if let Some(text) = world.code.take() {
                        world.counters[2] += 1;
                        break (0, text);
                    }
                    let left = end.saturating_duration_since(Instant::now());
                    if world.stop_scan || left.is_zero() {
                        break (1, String::new());
                    }
                    world = service.changed.wait_timeout(world, left).unwrap().0;
                };
                drop(world);
                let _ = service.callbacks.send(Box::new(move || listener(code, &text)));
            });
        }
        started
    }

    pub fn stop_scan(&self) {
        self.with((), |world| world.stop_scan = true);
    }

    // What happens to the terminal.

    pub fn insert(&self, card: bool) {
        self.with((), |world| {
            world.card = card;
            world.powered &= card;
        });
    }

    pub fn set_paper(&self, lines: Option<u32>) {
        self.with((), |world| world.paper = lines);
    }

    pub fn set_hot(&self, hot: bool) {
        self.with((), |world| world.hot = hot);
    }

    pub fn show_code(&self, text: Option<&str>) {
        self.with((), |world| world.code = text.map(str::to_owned));
    }

    pub fn printed(&self) -> Vec<String> {
        self.world.lock().unwrap().paper_out.clone()
    }

    /// Kills the service, or starts it again.
    pub fn set_dead(&self, dead: bool) {
        self.world.lock().unwrap().dead = dead;
        self.changed.notify_all();
    }
}
