//! A network that means ill, or a stranger in its place (G6, G9): between the node and the real simulator stands a
//! relay that pours answers nobody asked for into the line, plays old answers back, cuts frames, announces frames that
//! never come, drips byte by byte, or reads nothing; and strangers hold the listener that the network connects to.
//! Where the honest answers still pass, every sale is approved; where they do not, every terminal is answered and every
//! payment is undone once the network is back. The node's memory and log stay bounded through all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout)] // what an attack cost is told

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iso8583::frame::{self, CupsFrame, CupsHeader};
use iso8583::{CUPS, Draft, Mti};
use support::raw::RawTerminal;
use support::{Lab, PATIENCE, Setup, until, until_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

/// Largest frame of the network.
const FRAME_MAX: usize = 4_096;
/// Frames of one burst, twenty bursts a second: what a debug build's ciphers can look at beside their work.
const BURST: usize = 16;
/// So many bursts of each flood at least.
const BURSTS: u64 = 60;
/// Bytes by which the node may be larger during or after an attack than before the first one. What may wait is bounded:
/// a line's buffer of 64 kB, 1,024 frames for its writer, as many unexpected answers for the journal, and the caches of
/// the journal itself, which fill in any run.
const GROWTH_MAX: u64 = 16 << 20;
/// Bytes of log for all attacks together: a flood is told once in a thousand.
const LOG_MAX: u64 = 1 << 20;

/// What the relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Passes everything on.
    Honest,
    /// Passes answers on byte by byte.
    Drip,
    /// Well-formed answers that nobody waits for, under a MAC that is none.
    Unknown,
    /// A real answer, with its good MAC, again and again.
    Replay,
    /// Frames of noise.
    Noise,
    /// Bytes that are no frames.
    Garbage,
    /// The length of a frame that is longer than any.
    TooLong,
    /// The beginning of a frame, and then nothing.
    Half,
    /// Reads nothing from the node, and keeps the line up with heartbeats.
    Deaf,
}

struct Relay {
    mode: watch::Sender<Mode>,
    /// Bytes or bursts of the attack so far.
    acts: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Line {
    mode: watch::Receiver<Mode>,
    acts: Arc<AtomicU64>,
    to_node: Arc<Mutex<OwnedWriteHalf>>,
    /// The last answer to a sale.
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    /// Listens in the network's place.
    async fn start(network: SocketAddr) -> (Relay, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Relay { mode: watch::Sender::new(Mode::Honest), acts: Arc::default() };
        let (mode, acts) = (relay.mode.clone(), Arc::clone(&relay.acts));
        tokio::spawn(async move {
            let answer = Arc::new(Mutex::new(Vec::new()));
            while let Ok((node, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(network).await else { continue };
                node.set_nodelay(true).unwrap();
                let (from_node, to_node) = node.into_split();
                let (from_network, to_network) = upstream.into_split();
                let line = Line {
                    mode: mode.subscribe(),
                    acts: Arc::clone(&acts),
                    to_node: Arc::new(Mutex::new(to_node)),
                    answer: Arc::clone(&answer),
                };
                tokio::spawn(async move {
                    tokio::select! {
                        () = up(line.clone(), from_node, to_network) => {}
                        () = down(line.clone(), from_network) => {}
                        () = attack(line) => {}
                    }
                });
            }
        });
        (relay, address)
    }

    async fn attack(&self, mode: Mode) {
        let before = self.acts.load(Ordering::Relaxed);
        self.mode.send_replace(mode);
        if mode != Mode::Honest {
            until_async(&format!("{mode:?} has begun"), || async {
                (self.acts.load(Ordering::Relaxed) > before).then_some(())
            })
            .await;
        }
    }
}

/// From the node to the network.
async fn up(mut line: Line, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut bytes = [0; 4_096];
    loop {
        if line.mode.wait_for(|mode| *mode != Mode::Deaf).await.is_err() {
            return;
        }
        tokio::select! {
            _ = line.mode.changed() => {}
            read = from.read(&mut bytes) => {
                let Ok(read @ 1..) = read else { return };
                if to.write_all(&bytes[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// From the network to the node, whole frames.
async fn down(line: Line, mut from: OwnedReadHalf) {
    let mut bytes = Vec::new();
    loop {
        while let Ok(Some((used, found))) = frame::split_cups(&bytes, FRAME_MAX) {
            let whole: Vec<u8> = bytes[..used].to_vec();
            if let CupsFrame::Message(payload) = found
                && let Ok((_, body)) = frame::parse_cups(payload)
                && CUPS.parse(body).is_ok_and(|message| message.mti().value() == 210)
            {
                *line.answer.lock().await = whole.clone();
            }
            bytes.drain(..used);
            let mode = *line.mode.borrow();
            let mut to = line.to_node.lock().await;
            let piece = if mode == Mode::Drip { 1 } else { whole.len() };
            for piece in whole.chunks(piece) {
                if to.write_all(piece).await.is_err() {
                    return;
                }
                if mode == Mode::Drip {
                    line.acts.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        }
        if !matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

/// Another message's numbers on a real answer.
fn unknown(answer: &[u8], trace: u64) -> Vec<u8> {
    let Ok(Some((_, CupsFrame::Message(payload)))) = frame::split_cups(answer, FRAME_MAX) else { panic!() };
    let (header, body) = frame::parse_cups(payload).unwrap();
    let message = CUPS.parse(body).unwrap();
    let mut draft = Draft::new();
    draft.start(&CUPS, message.mti());
    for field in message.fields() {
        draft.put_field(&field).unwrap();
    }
    draft.put_number(11, trace).unwrap();
    let mut out = Vec::new();
    let mark = frame::begin_cups(&mut out, &header);
    draft.write(&mut out).unwrap();
    frame::finish_cups(&mut out, mark).unwrap();
    out
}

/// What is sent beside the honest frames, or instead of them. Ends when the line does.
async fn attack(mut line: Line) {
    let noise: Vec<u8> = (0..2_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    loop {
        let mode = *line.mode.borrow_and_update();
        let mut held = None;
        let burst: Vec<u8> = match mode {
            Mode::Honest | Mode::Drip => {
                if line.mode.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Mode::Unknown => {
                let answer = line.answer.lock().await.clone();
                let first = line.acts.load(Ordering::Relaxed) * BURST as u64;
                (first..first + BURST as u64).flat_map(|n| unknown(&answer, n % 999_999 + 1)).collect()
            }
            Mode::Replay => line.answer.lock().await.repeat(BURST),
            Mode::Noise => [b"0200", &noise[..200]].concat().repeat(BURST),
            Mode::Garbage => noise.clone(),
            Mode::TooLong => b"9999".to_vec(),
            Mode::Half => {
                held = Some(Arc::clone(&line.to_node).lock_owned().await);
                b"0300 half of a frame".to_vec()
            }
            Mode::Deaf => frame::CUPS_HEARTBEAT.to_vec(),
        };
        let written = match &mut held {
            Some(to) => to.write_all(&burst).await,
            None => line.to_node.lock().await.write_all(&burst).await,
        };
        line.acts.fetch_add(1, Ordering::Relaxed);
        if written.is_err() {
            return;
        }
        match mode {
            // Nothing passes until the mode or the line ends.
            Mode::Half if line.mode.changed().await.is_err() => return,
            // The line is broken for good.
            Mode::Half | Mode::Garbage | Mode::TooLong => return,
            Mode::Deaf => tokio::time::sleep(Duration::from_millis(100)).await, // poll: the pace of heartbeats
            // poll: the pace of the flood. What stands in the line's own stream before an honest answer delays it, and
            // no receiver can help that.
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A number of `/proc/PID/status`, bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1_024
}

struct Scene {
    lab: Lab,
    relay: Relay,
    terminal: RawTerminal,
    calm: u64,
    fen: u64,
}

impl Scene {
    async fn set() -> Scene {
        let setup = Setup { network_patience_ms: 6_000, log: "info", ..Setup::default() };
        let mut lab = Lab::prepare(&setup);
        lab.start_network();
        let (relay, address) = Relay::start(lab.network_address).await;
        let config = std::fs::read_to_string(lab.config()).unwrap();
        let network = format!("network = '{}'", lab.network_address);
        assert!(config.contains(&network));
        std::fs::write(lab.config(), config.replace(&network, &format!("network = '{address}'"))).unwrap();
        lab.start_node().await;
        lab.ready().await;
        let terminal = RawTerminal::signed_in(lab.pos).await;
        let mut scene = Scene { lab, relay, terminal, calm: 0, fen: 100 };
        for _ in 0..20 {
            assert_eq!(scene.sell().await, "00");
        }
        scene.calm = resident(scene.pid());
        scene
    }

    fn pid(&self) -> u32 {
        self.lab.node.as_ref().unwrap().id()
    }

    async fn sell(&mut self) -> String {
        // Small, so that the card's money lasts.
        self.fen = self.fen % 40 + 1;
        let request = self.terminal.sale(self.fen);
        let frame = self.terminal.signed(&request);
        tokio::time::timeout(PATIENCE, self.terminal.send(&frame)).await.expect("an answer").code()
    }

    /// The node answers its operator, and has not grown beyond its bounds.
    async fn is_well(&self, what: &str) {
        let (status, _) = support::get(&format!("http://{}/healthz", self.lab.ops)).await.expect("healthz");
        let grown = resident(self.pid()).saturating_sub(self.calm);
        let acts = self.relay.acts.load(Ordering::Relaxed);
        println!("{what}: grown by {} kB, healthz {status}, {acts} acts so far", grown / 1_024);
        assert!(grown < GROWTH_MAX, "{what}: grown by {grown} bytes");
    }

    /// Honest again: the line comes back by itself, and everything that is open comes to its end.
    async fn recovers(&mut self) {
        self.relay.attack(Mode::Honest).await;
        until("nothing waits for the network", || {
            self.lab.good(&["forward", "list"]).contains("Nothing to show").then_some(())
        })
        .await;
        self.lab.ready().await;
        assert_eq!(self.sell().await, "00");
        let open = ["pending", "reversing", "unresolved"];
        for payment in self.lab.payments(&[]) {
            assert!(!open.contains(&payment["state"].as_str().unwrap()), "{payment}");
        }
    }

    /// Both sides have moved the same money.
    async fn agrees(&self) {
        let sold = self.lab.payments(&["--state", "approved"]);
        let ours: i64 = sold.iter().map(|payment| payment["amount_fen"].as_i64().unwrap()).sum();
        let totals = self.lab.network_says("/api/totals").await;
        let theirs: i64 = totals.as_object().unwrap().values().map(|day| day["net"].as_i64().unwrap()).sum();
        assert_eq!(ours, theirs);
        let log = std::fs::metadata(self.lab.log_file()).unwrap().len();
        assert!(log < LOG_MAX, "{log} bytes of log");
    }
}

/// Floods beside honest answers: every sale is approved, and the journal does not swallow the flood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_floods_of_the_network_disturb_no_payment() {
    let mut scene = Scene::set().await;
    for mode in [Mode::Drip, Mode::Unknown, Mode::Noise, Mode::Replay] {
        // A byte drips only where an answer is on its way.
        match mode {
            Mode::Drip => drop(scene.relay.mode.send_replace(mode)),
            _ => scene.relay.attack(mode).await,
        }
        let (mut sold, before) = (0, scene.relay.acts.load(Ordering::Relaxed));
        while sold < 20 || scene.relay.acts.load(Ordering::Relaxed) < before + BURSTS {
            assert_eq!(scene.sell().await, "00", "{mode:?}");
            sold += 1;
        }
        if mode == Mode::Replay {
            // What a line plays back is recorded up to a limit, and then only counted.
            until_async("old answers are no longer recorded", || async {
                let labels = [("matched", "over the limit")];
                let metrics = scene.lab.metrics().await;
                (support::metric(&metrics, "posp_unexpected_answers_total", &labels) > 0).then_some(())
            })
            .await;
        }
        scene.is_well(&format!("{mode:?}")).await;
    }
    scene.recovers().await;
    let metrics = scene.lab.metrics().await;
    let count = |matched| support::metric(&metrics, "posp_unexpected_answers_total", &[("matched", matched)]);
    let recorded = count("yes") + count("no");
    assert!((1..=1_200).contains(&recorded), "{recorded} recorded");
    assert!(support::metric(&metrics, "posp_line_dropped_answers_total", &[("reason", "wrong MAC")]) > 0);
    scene.agrees().await;
}

/// Lines that are broken while they are up: every terminal is answered, nothing hangs, and when the network is back
/// every payment that it may have taken is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_a_broken_line_hangs_nobody_and_heals() {
    let mut scene = Scene::set().await;
    for mode in [Mode::Garbage, Mode::TooLong, Mode::Half, Mode::Deaf] {
        scene.relay.attack(mode).await;
        for _ in 0..2 {
            let code = scene.sell().await;
            assert!(["00", "68", "91", "92", "96"].contains(&code.as_str()), "{mode:?}: {code}");
        }
        scene.is_well(&format!("{mode:?}")).await;
        scene.recovers().await;
    }
    scene.agrees().await;
}

/// Where the node listens for the network.
fn listener_of(scene: &Scene) -> SocketAddr {
    let config = std::fs::read_to_string(scene.lab.config()).unwrap();
    let unionpay = config.split("[unionpay]").nth(1).unwrap();
    let listen = unionpay.lines().find_map(|line| line.strip_prefix("listen = '")).unwrap();
    listen.trim_end_matches('\'').parse().unwrap()
}

/// A stranger at the listener tells a new settlement date, one that could be and some that could not: none counts, the
/// operator hears of it, and the network's own cut-over counts afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_change_the_day() {
    let mut scene = Scene::set().await;
    assert_eq!(scene.sell().await, "00");
    let mut stranger = TcpStream::connect(listener_of(&scene)).await.unwrap();
    let tomorrow = acquiring::Clock::now(&acquiring::SystemClock) + Duration::from_secs(86_400);
    for date in [acquiring::Beijing::of(tomorrow).mmdd(), 101, 1231] {
        let mut draft = Draft::new();
        draft.start(&CUPS, Mti::new(820));
        draft.put_digits(7, "1124230000").unwrap();
        draft.put_number(11, 1).unwrap();
        draft.put_digits(15, &format!("{date:04}")).unwrap();
        draft.put_number(70, 201).unwrap();
        let mut out = Vec::new();
        let mark = frame::begin_cups(&mut out, &CupsHeader::new("48029999", "00010000"));
        draft.write(&mut out).unwrap();
        frame::finish_cups(&mut out, mark).unwrap();
        stranger.write_all(&out).await.unwrap();
        let mut answer = Vec::new();
        let code = loop {
            if let Ok(Some((_, CupsFrame::Message(payload)))) = frame::split_cups(&answer, FRAME_MAX) {
                let (_, body) = frame::parse_cups(payload).unwrap();
                break CUPS.parse(body).unwrap().text(39).unwrap().to_owned();
            }
            assert!(stranger.read_buf(&mut answer).await.unwrap() > 0, "no answer");
        };
        assert_eq!(code, "12", "{date}");
    }
    let refused = |metrics: &str| support::metric(metrics, "posp_cut_over_refused_total", &[]);
    assert_eq!(refused(&scene.lab.metrics().await), 3);
    assert!(scene.lab.log().contains("ALARM: a cut-over of the network was refused"));
    scene.lab.network_does("/api/cutover").await;
    assert_eq!(refused(&scene.lab.metrics().await), 3, "the network's own is taken");
    assert_eq!(scene.sell().await, "00");
    scene.agrees().await;
}

/// Strangers hold every place of the listener that the network connects to, and storm it: the network, which starts
/// anew, still brings its keys through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_listener_do_not_keep_the_network_out() {
    let mut scene = Scene::set().await;
    let listen = listener_of(&scene);
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(listen).await.unwrap());
    }
    let storm = tokio::spawn(async move {
        loop {
            if let Ok(mut stream) = TcpStream::connect(listen).await {
                let _ = stream.write_all(b"0300 half of a frame").await;
                let _ = stream.write_all(b"\xff\xfe").await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // poll: the pace of the storm
        }
    });
    scene.lab.network.take().unwrap().kill();
    until_async("the line is down", || async {
        (support::metric(&scene.lab.metrics().await, "posp_line_ready", &[]) == 0).then_some(())
    })
    .await;
    scene.lab.start_network();
    scene.lab.ready().await;
    assert_eq!(scene.sell().await, "00");
    scene.is_well("strangers at the listener").await;
    storm.abort();
    drop(silent);
    scene.recovers().await;
    scene.agrees().await;
}
