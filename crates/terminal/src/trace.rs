//! The wire of a terminal under a glass: every frame with its time, decoded and masked; and a network that can be cut.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use iso8583::{Dialect, Message, describe, frame, mask};
use jiff::Timestamp;
use pos::clock::{Clock, SystemClock, beijing};
use pos::{BoxFuture, Dial, FRAME_MAX, Link, TerminalConfig};
use serde::Serialize;
use tokio::sync::watch;

/// Messages that are remembered, the newest.
const ITEMS_MAX: usize = 400;

/// A name in two languages, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// `11`, `60.2`, `9F26`.
    pub number: String,
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
    /// Readable, masked.
    pub value: String,
    /// Sub-fields and tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Field>,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the acquirer.
    Out,
    /// From the acquirer.
    In,
    /// Something happened to the line.
    Line,
}

/// One thing on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Counts from 1.
    pub number: u64,
    /// Which way.
    pub way: Way,
    /// Terminal-local time, `hh:mm:ss.mmm`.
    pub at: String,
    /// Of an answer: milliseconds since its request.
    pub took_ms: Option<i64>,
    /// Message type, four digits.
    pub mti: String,
    /// Its name.
    pub zh: String,
    /// Its name.
    pub en: String,
    /// Field 39 of an answer.
    pub code: Option<String>,
    /// Fields.
    pub fields: Vec<Field>,
    /// The frame, masked, hexadecimal; empty for the line.
    pub bytes: String,
}

#[derive(Default)]
struct Book {
    items: VecDeque<Item>,
    number: u64,
    sent_at: Option<Timestamp>,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// What went over a terminal's wire.
pub struct Trace {
    book: Mutex<Book>,
    config: TerminalConfig,
    changed: Hook,
    online: watch::Sender<bool>,
    lose_answer: Mutex<bool>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("online", &*self.online.borrow()).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty one; `changed` is called after each item.
    pub(crate) fn new(config: TerminalConfig, changed: Hook) -> Self {
        let (online, _) = watch::channel(true);
        Self { book: Mutex::default(), config, changed, online, lose_answer: Mutex::new(false) }
    }

    /// Items after this number, oldest first.
    pub fn after(&self, number: u64) -> Vec<Item> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.items.iter().filter(|item| item.number > number).cloned().collect()
    }

    /// Number of the newest item.
    pub fn newest(&self) -> u64 {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Whether the network is there.
    pub fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    /// Cuts the network, or mends it.
    pub fn set_online(&self, online: bool) {
        if self.online.send_replace(online) != online {
            let names = if online {
                ("网络恢复", "the network is back")
            } else {
                ("网络断开", "the network is cut")
            };
            self.line(names);
        }
    }

    /// The answer to the next request gets lost on its way.
    pub fn lose_next_answer(&self, lose: bool) {
        *self.lose_answer.lock().unwrap_or_else(PoisonError::into_inner) = lose;
        (self.changed)();
    }

    /// Whether the next answer gets lost.
    pub fn loses_next_answer(&self) -> bool {
        *self.lose_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes_answer_away(&self) -> bool {
        std::mem::take(&mut *self.lose_answer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn line(&self, (zh, en): (&str, &str)) {
        self.add(|_, number, at| Item {
            number,
            way: Way::Line,
            at,
            took_ms: None,
            mti: String::new(),
            zh: zh.to_owned(),
            en: en.to_owned(),
            code: None,
            fields: Vec::new(),
            bytes: String::new(),
        });
    }

    fn frame(&self, way: Way, bytes: &[u8]) {
        let now = SystemClock.now();
        self.add(|book, number, at| {
            let took_ms = match way {
                Way::Out => {
                    book.sent_at = Some(now);
                    None
                }
                _ => book.sent_at.take().map(|sent| now.as_millisecond() - sent.as_millisecond()),
            };
            Item { took_ms, ..self.read(number, way, at, bytes) }
        });
    }

    fn add(&self, make: impl FnOnce(&mut Book, u64, String) -> Item) {
        let now = SystemClock.now();
        let at =
            format!("{}.{:03}", beijing(now, 0).strftime("%H:%M:%S"), now.as_millisecond().rem_euclid(1_000));
        {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.number += 1;
            let number = book.number;
            let item = make(&mut book, number, at);
            book.items.push_back(item);
            if book.items.len() > ITEMS_MAX {
                book.items.pop_front();
            }
        }
        (self.changed)();
    }

    /// A frame in plain words, masked. What does not parse is shown by its length alone.
    fn read(&self, number: u64, way: Way, at: String, bytes: &[u8]) -> Item {
        let mut item = Item {
            number,
            way,
            at,
            took_ms: None,
            mti: "????".to_owned(),
            zh: format!("{} 字节,无法解析", bytes.len()),
            en: format!("{} bytes that do not parse", bytes.len()),
            code: None,
            fields: Vec::new(),
            bytes: String::new(),
        };
        let Ok(profile) = self.config.speech() else { return item };
        let Ok(Some((_, payload))) = frame::split(bytes, FRAME_MAX) else { return item };
        let Ok(parts) = frame::parse_pos(payload, &profile) else { return item };
        let Ok(message) = Dialect::for_profile(&profile).parse(parts.body) else { return item };
        let head = bytes.get(..bytes.len().saturating_sub(parts.body.len())).unwrap_or_default();
        let mut masked = head.to_vec();
        mask::mask_message(&message, &mut masked);
        let described = describe::describe(&message);
        item.mti = format!("{:04}", described.mti.value());
        let (zh, en) = business(&message).unwrap_or((described.mti_zh, described.mti_en));
        item.zh = zh.to_owned();
        item.en = en.to_owned();
        item.code = message.text(39).map(str::to_owned);
        item.bytes = hex::encode_upper(masked);
        item.fields = described
            .fields
            .into_iter()
            .map(|field| Field {
                number: field.number.to_string(),
                zh: field.name_zh.to_owned(),
                en: field.name_en.to_owned(),
                value: field.value,
                children: field
                    .children
                    .into_iter()
                    .map(|child| Field {
                        number: child.label,
                        zh: child.name_zh.to_owned(),
                        en: child.name_en.to_owned(),
                        value: child.value,
                        children: Vec::new(),
                    })
                    .collect(),
            })
            .collect();
        item
    }
}

/// What a message is for, from its type, processing code and field 60, as the terminal's own table names it.
fn business(message: &Message<'_>) -> Option<(&'static str, &'static str)> {
    let mti = message.mti().value();
    // An answer has the type of its request plus ten.
    let request = if mti / 10 % 2 == 1 { mti - 10 } else { mti };
    let digits = |field: u8, range: std::ops::Range<usize>| {
        message.digits(field).and_then(|digits| digits.as_str().get(range).map(str::to_owned))
    };
    if request == 800 || request == 820 {
        if digits(60, 0..2).as_deref() == Some(pos::Kind::Signature.row().message_type) {
            let row = pos::Kind::Signature.row();
            return Some((row.zh, row.en));
        }
        let code = digits(60, 8..11)?;
        return MANAGEMENT
            .iter()
            .find(|(codes, ..)| codes.contains(&code.as_str()))
            .map(|(_, zh, en)| (*zh, *en));
    }
    let (processing, kind) = (digits(3, 0..6), digits(60, 0..2));
    let row = pos::KINDS.iter().find(|row| {
        row.mti == request
            && row.processing.is_none_or(|code| processing.as_deref() == Some(code))
            && (row.message_type.is_empty() || kind.as_deref() == Some(row.message_type))
    })?;
    Some((row.zh, row.en))
}

/// Management messages by 60.3.
const MANAGEMENT: &[(&[&str], &str, &str)] = &[
    (&["001", "003", "004", "005", "006"], "签到", "SIGN-IN"),
    (&["002"], "签退", "SIGN-OFF"),
    (&["301"], "回响测试", "ECHO"),
    (&["360", "361"], "参数下载", "PARAMETERS"),
    (&["372", "370", "371"], "IC 卡公钥下载", "PUBLIC KEYS"),
    (&["382", "380", "381"], "IC 卡参数下载", "CHIP APPLICATIONS"),
    (&["392", "394", "395"], "非接参数下载", "CONTACTLESS PARAMETERS"),
];

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::NetworkUnreachable, "网络断开 / the network is cut")
}

/// A dialer under the glass.
pub(crate) struct Watched {
    pub inner: Arc<dyn Dial>,
    pub trace: Arc<Trace>,
}

impl Dial for Watched {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        Box::pin(async move {
            if !self.trace.is_online() {
                return Err(cut());
            }
            let link = self.inner.dial().await?;
            let online = self.trace.online.subscribe();
            Ok(Box::new(WatchedLink { link, trace: Arc::clone(&self.trace), online }) as Box<dyn Link>)
        })
    }
}

struct WatchedLink {
    link: Box<dyn Link>,
    trace: Arc<Trace>,
    online: watch::Receiver<bool>,
}

impl Link for WatchedLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if !self.trace.is_online() {
                return Err(cut());
            }
            self.trace.frame(Way::Out, frame);
            self.link.send(frame).await
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let gone = self.online.wait_for(|online| !online);
            let received = tokio::select! {
                biased;
                _ = gone => return Err(cut()),
                received = self.link.receive() => received?,
            };
            if self.trace.takes_answer_away() {
                self.trace.line(("应答在路上丢失", "the answer is lost on its way"));
                // The terminal waits for what does not come, until its own time is up.
                return std::future::pending().await;
            }
            self.trace.frame(Way::In, &received);
            Ok(received)
        })
    }

    fn is_usable(&mut self) -> bool {
        self.trace.is_online() && self.link.is_usable()
    }
}
