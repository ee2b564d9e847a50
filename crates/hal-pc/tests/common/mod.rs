//! A printer of counters in software: reads ESC/POS from a socket, keeps what it prints as dots, measures its
//! paper, and answers questions about its state at once, whatever it is doing. Its reading of the commands is its
//! own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    dead_code
)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use receipt::Bitmap;

#[derive(Default)]
pub struct Paper {
    /// Rows of dots until the roll ends; `None`: it never does.
    pub rows_left: Option<u32>,
    pub cover_open: bool,
    pub hot: bool,
    pub jammed: bool,
    pub drawer_open: bool,
    /// It hears everything and says nothing.
    pub dumb: bool,
    /// Rows on paper since the last cut or tear, each of `width` bytes.
    pub rows: Vec<Vec<u8>>,
    pub fed: u32,
    pub cuts: u32,
    pub kicks: u32,
    pub resets: u32,
    pub recovered: u32,
    pub connections: u32,
}

impl Paper {
    fn stopped(&self) -> bool {
        self.rows_left == Some(0) || self.cover_open || self.hot || self.jammed
    }

    fn status(&self, which: u8) -> u8 {
        let bit = |set: bool, bits: u8| if set { bits } else { 0 };
        let out = self.rows_left == Some(0);
        0x12 | match which {
            1 => bit(self.stopped(), 0x08) | bit(self.drawer_open, 0x04),
            2 => bit(self.cover_open, 0x04) | bit(out, 0x20) | bit(self.hot || self.jammed, 0x40),
            3 => bit(self.jammed, 0x08) | bit(self.hot, 0x40),
            _ => bit(out, 0x60) | bit(self.rows_left.is_some_and(|left| left < 100), 0x0C),
        }
    }

    /// What is on paper as a picture, and the paper torn off.
    pub fn tear(&mut self) -> Bitmap {
        let rows = std::mem::take(&mut self.rows);
        let width = rows.first().map_or(1, Vec::len);
        Bitmap::from_bytes((width * 8) as u32, rows.len() as u32, rows.concat()).unwrap()
    }
}

#[derive(Clone)]
pub struct FakePrinter {
    pub address: SocketAddr,
    pub paper: Arc<Mutex<Paper>>,
}

impl FakePrinter {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let printer = Self { address: listener.local_addr().unwrap(), paper: Arc::default() };
        let own = printer.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.paper.lock().unwrap().connections += 1;
                own.serve(stream);
            }
        });
        printer
    }

    pub fn set(&self, change: impl FnOnce(&mut Paper)) {
        change(&mut self.paper.lock().unwrap());
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        let mut came: Vec<u8> = Vec::new();
        let mut waiting: VecDeque<Command> = VecDeque::new();
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            came.extend(&buffer[..count]);
            let mut paper = self.paper.lock().unwrap();
            while let Some((command, used)) = next(&came) {
                came.drain(..used);
                match command {
                    // Questions are answered as they come in, before anything that waits.
                    Command::Ask(which) => {
                        if !paper.dumb && stream.write_all(&[paper.status(which)]).is_err() {
                            return;
                        }
                    }
                    Command::Recover => {
                        waiting.clear();
                        paper.recovered += 1;
                    }
                    other => waiting.push_back(other),
                }
                paper.work(&mut waiting);
            }
        }
    }
}

enum Command {
    Ask(u8),
    Recover,
    Reset,
    Feed(u8),
    Kick,
    Cut,
    /// Bytes a row, rows.
    Dots(usize, Vec<u8>),
}

/// The next whole command and its length.
fn next(bytes: &[u8]) -> Option<(Command, usize)> {
    match bytes {
        [0x10, 0x04, which @ 1..=4, ..] => Some((Command::Ask(*which), 3)),
        [0x10, 0x05, 0x02, ..] => Some((Command::Recover, 3)),
        [0x1B, b'@', ..] => Some((Command::Reset, 2)),
        [0x1B, b'd', lines, ..] => Some((Command::Feed(*lines), 3)),
        [0x1B, b'p', _, _, _, ..] => Some((Command::Kick, 5)),
        [0x1D, b'V', 0 | 1, ..] => Some((Command::Cut, 3)),
        [0x1D, b'v', b'0', 0, x_low, x_high, y_low, y_high, rows @ ..] => {
            let width = usize::from(*x_low) + 256 * usize::from(*x_high);
            let height = usize::from(*y_low) + 256 * usize::from(*y_high);
            assert!(height <= 255, "a strip that small buffers do not hold");
            Some((Command::Dots(width, rows.get(..width * height)?.to_vec()), 8 + width * height))
        }
        [] | [0x10 | 0x1B | 0x1D] | [0x10, 4 | 5] | [0x1B, b'd' | b'p', ..] | [0x1D, b'V' | b'v', ..] => None,
        other => panic!("no command begins with {:02X?}", &other[..other.len().min(8)]),
    }
}

impl Paper {
    /// Prints what waits until something stops it.
    fn work(&mut self, waiting: &mut VecDeque<Command>) {
        while !self.stopped()
            && let Some(command) = waiting.pop_front()
        {
            match command {
                Command::Reset => self.resets += 1,
                Command::Feed(lines) => self.fed += u32::from(lines),
                Command::Cut => self.cuts += 1,
                Command::Kick => {
                    self.kicks += 1;
                    self.drawer_open = true;
                }
                Command::Dots(width, rows) => {
                    for (at, row) in rows.chunks(width).enumerate() {
                        if self.stopped() {
                            waiting.push_front(Command::Dots(width, rows[at * width..].to_vec()));
                            break;
                        }
                        self.rows.push(row.to_vec());
                        if let Some(left) = self.rows_left.as_mut() {
                            *left -= 1;
                        }
                    }
                }
                Command::Ask(_) | Command::Recover => (),
            }
        }
    }
}
