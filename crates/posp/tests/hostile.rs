//! Strangers and broken terminals beside honest ones (G9, G6 of the line): while floods, slow readers, half-open
//! lines, endless frames and storms of connections go on, every honest sale is answered, none is refused, they take no
//! longer than beside nobody, by the terminal's clock and by the node's, and the node's memory stays within bounds.
//! Nothing here depends on how fast the machine is but a wide margin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::float_arithmetic, clippy::print_stdout)] // times are compared and told, no money

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::raw::{Line, RawTerminal, Reply};
use support::{FIRST, Lab, PATIENCE, SECOND, Setup, metric, until_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Honest sales beside each kind of attacker.
const SALES: u64 = 60;

/// Bytes by which the node may be larger at any moment of one attack than before it, and at the end of all of them than
/// before the first. An attacker's address may have 100 frames of 2 kB in work and its connections their buffers of
/// the system, which do not count here; the rest is the caches of the journal, which 60 sales fill a little.
const GROWTH_MAX: u64 = 16 << 20;

/// Where attackers come from: another loopback address, since limits are kept by address.
const STRANGER: [u8; 4] = [127, 0, 0, 66];

/// An attacker that goes on until it is told to stop, and counts what it did.
struct Attack {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    done: Arc<AtomicU64>,
}

impl Attack {
    /// Starts `many` attackers; each runs `act` again and again.
    fn start<F, A>(many: usize, act: A) -> Attack
    where
        A: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let (stop, done, act) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)), Arc::new(act));
        let tasks = (0..many)
            .map(|place| {
                let (stop, done, act) = (stop.clone(), Arc::clone(&done), Arc::clone(&act));
                tokio::spawn(async move {
                    while !stop.is_cancelled() {
                        tokio::select! {
                            () = act(place) => { done.fetch_add(1, Ordering::Relaxed); }
                            () = stop.cancelled() => {}
                        }
                    }
                })
            })
            .collect();
        Attack { stop, tasks, done }
    }

    async fn end(self) -> u64 {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

async fn dial_from(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // What the attackers do not read shall stand in the node's way soon.
    socket.set_recv_buffer_size(4_096)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

/// Reads until the node closes or nothing more comes for a while.
async fn drain(stream: &mut TcpStream) {
    let mut bytes = [0; 4_096];
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut bytes)).await {}
}

/// Honest sales, one after the other, each on a connection of its own and on one that is kept. Gives the seconds that
/// nine of ten took at most, as the terminal saw it: with the connection, and until the answer was read.
async fn honest_sales(terminal: &mut RawTerminal) -> f64 {
    let mut kept = Line::dial(terminal.address).await;
    let mut took = Vec::new();
    for sale in 0..SALES {
        let request = terminal.sale(100 + sale);
        let frame = terminal.signed(&request);
        let began = Instant::now();
        let reply = if sale % 2 == 0 {
            terminal.send(&frame).await
        } else {
            kept.send(&frame).await;
            kept.receive().await
        };
        took.push(began.elapsed().as_secs_f64());
        assert_eq!(reply.code(), "00", "sale {sale}");
    }
    took.sort_by(f64::total_cmp);
    took[took.len() * 9 / 10]
}

/// Count and sum of the seconds of sales by the node's own clock.
async fn sale_seconds(lab: &Lab) -> (f64, f64) {
    let metrics = lab.metrics().await;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("kind=\"sale\""));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
    };
    (value("posp_payment_seconds_count"), value("posp_payment_seconds_sum"))
}

/// Seconds of honest sales.
#[derive(Clone, Copy, Default)]
struct Sold {
    /// The mean by the node's clock.
    node: f64,
    /// What nine of ten took at most by the terminal's.
    terminal: f64,
}

struct Bench {
    lab: Lab,
    terminal: RawTerminal,
    /// Beside nobody.
    calm: Sold,
    /// Resident bytes of the node beside nobody.
    size: u64,
}

/// The most that a process had resident while this was kept.
struct Watch {
    stop: CancellationToken,
    most: JoinHandle<u64>,
}

impl Watch {
    fn start(pid: u32) -> Watch {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let most = tokio::spawn(async move {
            let mut most = resident(pid);
            while !stopped.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(10)).await; // poll: memory has no event
                most = most.max(resident(pid));
            }
            most
        });
        Watch { stop, most }
    }

    async fn end(self) -> u64 {
        self.stop.cancel();
        self.most.await.unwrap()
    }
}

impl Bench {
    async fn start(door: &'static str) -> Bench {
        let lab = Lab::start(Setup { door, ..Setup::default() }).await;
        let terminal = RawTerminal::signed_in(lab.pos).await;
        let mut bench = Bench { lab, terminal, calm: Sold::default(), size: 0 };
        bench.calm = bench.sell().await;
        bench.size = resident(bench.pid());
        bench
    }

    fn pid(&self) -> u32 {
        self.lab.node.as_ref().unwrap().id()
    }

    async fn sell(&mut self) -> Sold {
        let (count, sum) = sale_seconds(&self.lab).await;
        let terminal = honest_sales(&mut self.terminal).await;
        let (count_after, sum_after) = sale_seconds(&self.lab).await;
        assert_eq!(count_after - count, SALES as f64, "every sale, and no other, was answered as one");
        Sold { node: (sum_after - sum) / SALES as f64, terminal }
    }

    /// Sells beside `attack`, which must have done something meanwhile.
    async fn beside(&mut self, what: &str, attack: Attack) -> u64 {
        let before = resident(self.pid());
        let watch = Watch::start(self.pid());
        let done = Arc::clone(&attack.done);
        until_async(&format!("{what} has begun"), || {
            let begun = done.load(Ordering::Relaxed) > 0;
            async move { begun.then_some(()) }
        })
        .await;
        let sold = self.sell().await;
        let acts = attack.end().await;
        let most = watch.end().await.saturating_sub(before);
        assert!(most < GROWTH_MAX, "{what}: {most} bytes more than before");
        let all = resident(self.pid()).saturating_sub(self.size);
        assert!(all < GROWTH_MAX, "{what}: after it {all} bytes more than before the first attack");
        println!("{what}: {} kB more at most, {} kB since the first", most >> 10, all >> 10);
        // A starved sale waits for its turn behind thousands of frames, or for a time-out; a busy machine makes it
        // a few times slower at most.
        for (clock, took, calm) in
            [("node", sold.node, self.calm.node), ("terminal", sold.terminal, self.calm.terminal)]
        {
            let bound = calm * 10.0 + 0.25;
            assert!(
                took < bound,
                "{what}, by the {clock}'s clock: {took:.4} s, {calm:.4} beside nobody, {acts} acts"
            );
            println!("{what}, {clock}: {:.1} ms, {:.1} beside nobody; {acts} acts", took * 1e3, calm * 1e3);
        }
        acts
    }
}

/// One node, one kind of attacker after the other.
#[tokio::test(flavor = "multi_thread")]
async fn honest_terminals_do_not_notice_the_others() {
    let mut bench = Bench::start("write_seconds = 1\n").await;
    let pos = bench.lab.pos;

    // Frames of 2,000 bytes, byte by byte: each ends by the frame's deadline of one second.
    let slow = Attack::start(50, move |_| async move {
        let Ok(mut stream) = dial_from(STRANGER, pos).await else { return };
        let mut frame = vec![0x07, 0xd0];
        frame.resize(2_002, 0x60);
        for byte in frame.chunks(1) {
            if stream.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // poll: the pace of the sender
            if stream.try_read(&mut [0; 16]).is_ok() {
                return;
            }
        }
    });
    bench.beside("2,000-byte frames byte by byte", slow).await;

    // Garbage, as fast as it goes: a length that cannot be, and whole frames of noise.
    let garbage = Attack::start(4, move |place| async move {
        let Ok(mut stream) = dial_from(STRANGER, pos).await else { return };
        let noise: Vec<u8> = (0..2_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let _ = match place % 2 {
            0 => stream.write_all(&noise).await,
            _ => stream.write_all(&[&[0x00, 0xff][..], &noise[..255]].concat()).await,
        };
        drain(&mut stream).await;
    });
    bench.beside("garbage", garbage).await;

    // Terminals that ask and do not read: the answers fill the system's buffers, and the write deadline ends it.
    // An unknown transaction of a real terminal is answered 40 at little cost to anybody.
    let ask = {
        let mut terminal = RawTerminal::new(pos, FIRST);
        let mut request = terminal.head(820);
        request.draft.put_digits(60, "00000001301").unwrap();
        terminal.unsigned(&request)
    };
    let pipelined = Arc::new(ask.repeat(64));
    let bytes = Arc::clone(&pipelined);
    let readers = Attack::start(8, move |_| {
        let bytes = Arc::clone(&bytes);
        async move {
            let Ok(mut stream) = dial_from(STRANGER, pos).await else { return };
            while let Ok(Ok(())) = tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await {}
        }
    });
    bench.beside("readers that do not read", readers).await;
    until_async("slow readers are closed, and counted", || async {
        let closed = metric(
            &bench.lab.metrics().await,
            "posp_link_closed_total",
            &[("reason", "answer not taken in time")],
        );
        (closed > 0).then_some(())
    })
    .await;

    // A flood of good frames on a few connections, pipelined and read.
    let flood = Attack::start(4, move |_| {
        let bytes = Arc::clone(&pipelined);
        async move {
            let Ok(stream) = dial_from(STRANGER, pos).await else { return };
            let (mut read, mut write) = stream.into_split();
            let reader = async {
                let mut sink = [0; 16_384];
                while let Ok(1..) = read.read(&mut sink).await {}
            };
            let writer = async {
                for _ in 0..16 {
                    if write.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                let _ = write.shutdown().await;
            };
            tokio::join!(reader, writer);
        }
    });
    bench.beside("a flood of frames from one address", flood).await;

    // Connections, made and dropped as fast as it goes.
    let storm = Attack::start(4, move |place| async move {
        if let Ok(mut stream) = dial_from(STRANGER, pos).await
            && place % 2 == 0
        {
            let _ = stream.write_all(&[0x00]).await;
        }
    });
    bench.beside("a storm of connections", storm).await;

    // Half a frame, and then the end, or silence until the node has enough of it.
    let halves = Attack::start(40, move |place| async move {
        let Ok(mut stream) = dial_from(STRANGER, pos).await else { return };
        let _ = stream.write_all(&[0x01, 0x00, 0x60, 0x00]).await;
        if place % 4 != 0 {
            let _ = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await;
        }
    });
    bench.beside("half a frame", halves).await;
}

/// Frames of 2,000 bytes that come byte by byte within their time are read whole, many at once, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn long_frames_are_read_byte_by_byte() {
    let mut bench = Bench::start("frame_seconds = 60\n").await;
    let pos = bench.lab.pos;
    let read = async |bench: &Bench| metric(&bench.lab.metrics().await, "posp_link_frames_total", &[]);
    let before = read(&bench).await;
    // Whole, it is no message, and the node ends the connection.
    let slow = Attack::start(50, move |_| async move {
        let Ok(mut stream) = dial_from(STRANGER, pos).await else { return };
        stream.set_nodelay(true).unwrap();
        let mut frame = vec![0x07, 0xd0];
        frame.resize(2_002, 0x60);
        for byte in frame.chunks(1) {
            if stream.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await; // poll: the pace of the sender
        }
        drain(&mut stream).await;
    });
    let acts = bench.beside("whole frames byte by byte", slow).await;
    let frames = read(&bench).await - before;
    assert!(frames >= SALES + acts, "{acts} were sent whole, and {frames} read with the {SALES} sales");
}

/// Connections that say nothing, thousands of them, cost little memory, and the idle limit ends them; what is over
/// the limit of an address is refused at once, which others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_cheap_and_limited() {
    /// A terminal's memory is measured over so many.
    const MANY: usize = 4_000;
    /// Bytes of the node's own memory that an idle connection may cost. What was promised is 10 kB.
    const EACH_MAX: u64 = 4_096;
    let mut bench = Bench::start(
        "connections_per_address_max = 4000\nconnects_per_second_max = 100000\nidle_seconds = 60\n",
    )
    .await;
    let pid = bench.lab.node.as_ref().unwrap().id();
    let before = resident(pid);
    let mut silent = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        silent.push(dial_from(STRANGER, bench.lab.pos).await.unwrap());
    }
    until_async("all are connected", || async {
        let now = metric(&bench.lab.metrics().await, "posp_link_connections", &[]);
        (now >= MANY as u64).then_some(())
    })
    .await;
    let each = resident(pid).saturating_sub(before) / MANY as u64;
    println!("an idle connection costs {each} bytes");
    assert!(each <= EACH_MAX, "{each} bytes");

    // Each has said something once, and is idle again: what it borrowed is given back.
    let mut terminal = RawTerminal::new(bench.lab.pos, SECOND);
    let mut echo = terminal.head(820);
    echo.draft.put_digits(60, "00000001301").unwrap();
    let frame = terminal.unsigned(&echo);
    for stream in &mut silent {
        stream.write_all(&frame).await.unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).await.unwrap();
    }
    let each = resident(pid).saturating_sub(before) / MANY as u64;
    println!("an idle connection that has spoken costs {each} bytes");
    assert!(each <= EACH_MAX, "{each} bytes once they have spoken");

    let mut refused = dial_from(STRANGER, bench.lab.pos).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "one more of this address is closed");
    let labels = [("reason", "too many connections of one address")];
    assert_eq!(metric(&bench.lab.metrics().await, "posp_link_refused_total", &labels), 1);
    bench.sell().await;
    drop(silent);
    until_async("those that left are forgotten", || async {
        let now = metric(&bench.lab.metrics().await, "posp_link_connections", &[]);
        (now < 10).then_some(())
    })
    .await;
}

/// A connection that is idle too long is closed, whatever it said before.
#[tokio::test(flavor = "multi_thread")]
async fn the_idle_limit_ends_silent_lines() {
    let lab = Lab::start(Setup { door: "idle_seconds = 1\n", ..Setup::default() }).await;
    let mut silent = Line::dial(lab.pos).await;
    assert_eq!(silent.receive().await, Reply::Closed);
    let labels = [("reason", "idle")];
    assert_eq!(metric(&lab.metrics().await, "posp_link_closed_total", &labels), 1);
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1_024
}
