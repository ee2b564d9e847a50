//! A terminal with power, its host behind a socket, and what a shop's app does at its door.
#![allow(dead_code)] // each test file uses its own part

#[path = "../../../pos/tests/host/mod.rs"]
mod host;

use std::sync::Arc;
use std::time::{Duration, Instant};

use app::door::Door;
pub use app::door::Submitted;
use app::flow::Rules;
use app::shell::ShellConfig;
use app::view::View;
#[allow(unused_imports)]
pub use host::Fault;
use host::{Host, TMK};
use pay::{Grant, KINDS, PayMethod, Response};
use pos::TerminalConfig;
use pos::clock::{Clock, SystemClock};
use receipt::Width;
use serde_json::{Value, json};
use tempfile::TempDir;
use terminal::{Deck, Hand, Station, StationConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

pub const SHOP: &str = "com.example.shop";
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const MENU: &str = "menu";
pub const CARD: &str = "card";

/// A terminal that is switched on, before its host.
pub struct Counter {
    pub station: Arc<Station>,
    pub host: Host,
    pub runtime: Runtime,
    _dir: TempDir,
}

/// The scripted host behind a socket.
pub async fn listen(listener: TcpListener, host: Host) {
    while let Ok((mut line, _)) = listener.accept().await {
        let host = host.clone();
        tokio::spawn(async move {
            let mut length = [0; 2];
            while line.read_exact(&mut length).await.is_ok() {
                let mut frame = length.to_vec();
                frame.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
                line.read_exact(&mut frame[2..]).await.unwrap();
                match host.answer(&frame) {
                    Some(Ok(answer)) => line.write_all(&answer).await.unwrap(),
                    Some(Err(_)) => return,
                    None => {}
                }
            }
        });
    }
}

impl Counter {
    pub fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let mut pos =
            TerminalConfig::new(listener.local_addr().unwrap().to_string(), "898100000000001", "10000001");
        pos.answer_timeout_ms = 400;
        runtime.spawn(listen(listener, host.clone()));
        let rules = Rules { swipe_pin: false, tear: Duration::from_millis(1), ..Rules::default() };
        let config = StationConfig {
            directory: dir.path().join("station"),
            pos,
            components: vec![TMK.to_owned()],
            shell: ShellConfig { rules, ..ShellConfig::default() },
            width: Width::W58,
            reader: None,
        };
        let station = {
            let _within = runtime.enter();
            let deck = Arc::new(Deck::new(dir.path().join("cards.json")));
            Station::new(config, deck).unwrap()
        };
        station.power_on().unwrap();
        let counter = Self { station, host, runtime, _dir: dir };
        counter.wait_for(MENU);
        counter
    }

    pub fn door(&self) -> Arc<Door> {
        self.station.door().unwrap()
    }

    pub fn view(&self) -> View {
        self.station.panel().unwrap().shown().view
    }

    /// Waits until the screen shows this.
    pub fn wait_for(&self, view: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = serde_json::to_value(self.view()).unwrap();
            if shown["view"] == view && (view != MENU || self.station.panel().unwrap().is_free()) {
                return;
            }
            assert!(Instant::now() < end, "{view} is never shown but {shown}");
            std::thread::sleep(Duration::from_millis(5)); // poll
        }
    }

    /// Where the terminal keeps its files.
    pub fn directory(&self) -> std::path::PathBuf {
        self._dir.path().join("station")
    }

    /// Asks, with another grant than the usual one.
    pub fn submit_as(&self, app: &str, grant: &Grant, body: &Value) -> Submitted {
        let body = serde_json::to_vec(body).unwrap();
        self.door().submit(app, Some(grant), &body, now()).unwrap()
    }

    /// Asks without waiting for the end.
    pub fn submit(&self, app: &str, body: &Value) -> Submitted {
        let body = serde_json::to_vec(body).unwrap();
        self.door().submit(app, Some(&everything()), &body, now()).unwrap()
    }

    /// What comes back at once.
    pub fn answer(&self, app: &str, body: &Value) -> Response {
        match self.submit(app, body) {
            Submitted::Answer(answer) => serde_json::from_slice(&answer).unwrap(),
            Submitted::Begun(key) => panic!("{key:?} was begun"),
        }
    }

    /// A sale to its end, with a swiped card.
    pub fn pays(&self, app: &str, body: &Value) -> Vec<u8> {
        let Submitted::Begun(key) = self.submit(app, body) else { panic!("it was not begun") };
        self.swipe();
        self.door().wait(&key).unwrap()
    }

    /// An errand to its end.
    pub fn does(&self, app: &str, body: &Value) -> Response {
        let body = serde_json::to_vec(body).unwrap();
        serde_json::from_slice(&self.door().call(app, Some(&everything()), &body, now()).unwrap()).unwrap()
    }

    pub fn swipe(&self) {
        self.wait_for(CARD);
        until("the reader waits", || self.station.hand(Hand::Swipe { card: "M01".to_owned() }).is_ok());
    }

    pub fn query(&self, app: &str, id: &str) -> Response {
        serde_json::from_slice(&self.door().query(app, id).unwrap()).unwrap()
    }

    /// How often the host was asked to pay.
    pub fn payments(&self) -> usize {
        self.host.mtis().iter().filter(|mti| **mti == 200).count()
    }

    pub fn reversals(&self) -> usize {
        self.host.mtis().iter().filter(|mti| **mti == 400).count()
    }

    /// What the host has moved and not moved back, in fen.
    pub fn moved(&self) -> u64 {
        self.host.books().values().filter(|entry| !entry.reversed).map(|entry| entry.amount).sum()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.station.power_off();
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5)); // poll
    }
}

pub fn now() -> u64 {
    SystemClock.now().as_millisecond().try_into().unwrap()
}

pub fn everything() -> Grant {
    Grant {
        types: KINDS.iter().map(|row| row.kind).collect(),
        methods: [PayMethod::Card].into(),
        ..Grant::default()
    }
}

pub fn sale(id: &str, fen: u64) -> Value {
    json!({
        "v": "1.0", "request_id": id, "type": "sale", "amount": fen,
        "order": { "order_no": format!("O-{id}"), "desc": "tea" },
        "print": { "mode": "caller" }, "ui": { "skip_result_page": true }, "ext": { "table": "7" },
    })
}

pub fn text(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap_or_default().to_owned()
}

/// A request over the page's server: status and body.
pub async fn http(address: std::net::SocketAddr, head: &str, app: &str, body: &str) -> (u16, String) {
    let mut line = TcpStream::connect(address).await.unwrap();
    let text = format!(
        "{head} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nx-app: {app}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    line.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
