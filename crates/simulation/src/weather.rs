//! What goes wrong in a world, and how often: drawn from its seed. Every seed leaves some kinds of trouble out and
//! has much of others, so that rare combinations are met too.

use crate::random::Random;

/// How often things go wrong, each in ten thousand, and how slow the parts are, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Terminals of the world.
    pub terminals: u64,
    /// Transactions each of them begins.
    pub transactions: u64,
    /// Nodes on the one store.
    pub nodes: usize,
    /// How long a terminal waits for an answer.
    pub terminal_patience_ms: u64,
    /// A terminal's request never arrives.
    pub request_lost: u64,
    /// It arrives after a long time, perhaps after its reversal.
    pub request_late: u64,
    /// It arrives twice.
    pub request_doubled: u64,
    /// The answer to the terminal is lost.
    pub reply_lost: u64,
    /// A message for the network is lost on its side.
    pub network_lost: u64,
    /// The network takes long to look at it.
    pub network_late: u64,
    /// It arrives at the network twice.
    pub network_doubled: u64,
    /// The network refuses it with 96.
    pub network_refuses: u64,
    /// The network's answer is lost.
    pub answer_lost: u64,
    /// It comes late.
    pub answer_late: u64,
    /// It comes twice.
    pub answer_doubled: u64,
    /// The line drops at a message.
    pub line_drops: u64,
    /// The line hangs at a message: up, but silent.
    pub line_hangs: u64,
    /// A new connection is refused.
    pub dial_refused: u64,
    /// The network's own messages (keys) are lost.
    pub key_lost: u64,
    /// Longest that a late thing takes.
    pub late_ms: u64,
    /// Longest that a commit takes.
    pub disk_ms: u64,
    /// A commit fails.
    pub commit_fails: u64,
    /// A read takes as long as if its node had been stopped meanwhile.
    pub stalls: u64,
    /// A node dies at a commit, a message or an answer.
    pub dies: u64,
    /// Most deaths of the world.
    pub deaths_max: u64,
    /// Where the clock stands at the start, seconds after a Beijing noon.
    pub starts_after_noon_s: u64,
}

impl Weather {
    /// The weather of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::of(seed, "weather");
        let mut often = |most: u64| match random.below(4) {
            0 | 1 => 0,
            2 => random.between(1, most.div_ceil(8)),
            _ => random.between(1, most),
        };
        let mut weather = Weather {
            terminals: 0,
            transactions: 0,
            nodes: 1,
            terminal_patience_ms: 0,
            request_lost: often(1_500),
            request_late: often(1_500),
            request_doubled: often(2_000),
            reply_lost: often(2_000),
            network_lost: often(1_500),
            network_late: often(1_500),
            network_doubled: often(1_500),
            network_refuses: often(2_000),
            answer_lost: often(2_000),
            answer_late: often(2_000),
            answer_doubled: often(1_500),
            line_drops: often(500),
            line_hangs: often(100),
            dial_refused: often(5_000),
            key_lost: often(3_000),
            late_ms: 0,
            disk_ms: often(40),
            commit_fails: often(60),
            stalls: 0,
            dies: often(150),
            deaths_max: 6,
            starts_after_noon_s: 0,
        };
        weather.terminals = random.between(1, 4);
        weather.transactions = random.between(10, 45);
        weather.terminal_patience_ms = [2_000, 8_000, 15_000, 60_000][random.below(4) as usize & 3];
        weather.late_ms = [500, 5_000, 15_000, 70_000][random.below(4) as usize & 3];
        // One world in four has two nodes on one store.
        weather.nodes = if Random::of(seed, "nodes").below(4) == 0 { 2 } else { 1 };
        // Where there is another node that goes on meanwhile, nodes stall in every second world; elsewhere in one of eight.
        let mut random_stalls = Random::of(seed, "stalls");
        if random_stalls.below(if weather.nodes > 1 { 2 } else { 8 }) == 0 {
            weather.stalls = random_stalls.between(1, 60);
        }
        // One world in four lives through midnight, where dates and sign-ins change.
        weather.starts_after_noon_s =
            if random.below(4) == 0 { random.between(42_600, 43_200) } else { random.below(20_000) };
        weather
    }

    /// The same world when nothing goes wrong any more.
    pub fn calm(self) -> Self {
        Weather {
            request_lost: 0,
            request_late: 0,
            request_doubled: 0,
            reply_lost: 0,
            network_lost: 0,
            network_late: 0,
            network_doubled: 0,
            network_refuses: 0,
            answer_lost: 0,
            answer_late: 0,
            answer_doubled: 0,
            line_drops: 0,
            line_hangs: 0,
            dial_refused: 0,
            key_lost: 0,
            commit_fails: 0,
            stalls: 0,
            dies: 0,
            ..self
        }
    }
}
