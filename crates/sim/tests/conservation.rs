//! The books under random histories: whatever sequence of sales, voids, refunds, completions, reversals and
//! repeats arrives, the sum of all accounts is zero and each card has exactly what the approved answers say. The
//! expectation is computed here from the answers alone, not from the simulator's state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use proptest::prelude::*;
use sim::deck::lab_deck;
use sim::issuer::{ChipFact, PinFact, Policy, TrackFact};
use sim::network::{ClassKey, Event, Network, Request, TraceKey};
use sim::time::{Moment, SettleDate};

const AT: Moment = Moment(1_795_486_530_000);
const CARDS: [&str; 3] = ["M01", "L12", "L04"];

#[derive(Clone, Debug)]
enum Op {
    Sale {
        card: usize,
        amount: u64,
    },
    Preauth {
        card: usize,
        amount: u64,
    },
    Void {
        of: usize,
    },
    Refund {
        of: usize,
        amount: u64,
    },
    Complete {
        of: usize,
        percent: u64,
    },
    Reverse {
        of: usize,
    },
    /// A reversal that overtakes: the original's key has not been used, and is used afterwards.
    Overtake {
        card: usize,
        amount: u64,
    },
    Repeat {
        of: usize,
    },
    Cutover,
}

fn op() -> impl Strategy<Value = Op> {
    let any = 0_usize..64;
    prop_oneof![
        4 => (0..3_usize, 1..400_000_u64).prop_map(|(card, amount)| Op::Sale { card, amount }),
        2 => (0..3_usize, 1..400_000_u64).prop_map(|(card, amount)| Op::Preauth { card, amount }),
        4 => any.clone().prop_map(|of| Op::Void { of }),
        4 => (any.clone(), 1..300_000_u64).prop_map(|(of, amount)| Op::Refund { of, amount }),
        3 => (any.clone(), 50..120_u64).prop_map(|(of, percent)| Op::Complete { of, percent }),
        5 => any.clone().prop_map(|of| Op::Reverse { of }),
        1 => (0..3_usize, 1..400_000_u64).prop_map(|(card, amount)| Op::Overtake { card, amount }),
        2 => any.prop_map(|of| Op::Repeat { of }),
        1 => Just(Op::Cutover),
    ]
}

/// A transaction as the member remembers it.
#[derive(Clone)]
struct Sent {
    request: Request,
    approved: bool,
    reversed: bool,
    auth: Option<String>,
    of: Option<usize>,
}

struct World {
    network: Network,
    sent: Vec<Sent>,
    trace: u32,
}

impl World {
    fn new() -> Self {
        let day = SettleDate::of(AT);
        World { network: Network::new(lab_deck(), Policy::default(), day, AT), sent: Vec::new(), trace: 0 }
    }

    fn request(&mut self, mti: u16, processing: u32, card: &str, amount: u64) -> Request {
        self.trace += 1;
        let key = TraceKey {
            transmission: "1124101530".to_owned(),
            trace: self.trace,
            acquirer: "1".to_owned(),
            forwarder: "1".to_owned(),
        };
        Request {
            mti,
            key,
            processing,
            condition: 0,
            other: None,
            card: Some(card.to_owned()),
            issuer_known: true,
            pan: card.to_owned(),
            amount,
            entry: 801,
            expiry: None,
            terminal: "00000001".to_owned(),
            merchant: "898000000000001".to_owned(),
            rrn: format!("{:012}", self.trace),
            auth_code: None,
            original: None,
            track: TrackFact::Matches,
            pin: PinFact::Right,
            chip: ChipFact::Absent,
            private: None,
            chip_tags: None,
            takes_part: false,
            bad_field: None,
            mac_good: true,
            forced: None,
        }
    }

    fn key_of(request: &Request) -> ClassKey {
        (sim::kinds::class_of(request.mti), request.key.clone())
    }

    fn send(&mut self, request: Request, of: Option<usize>) -> String {
        let answer = self.network.apply(&Event::Request(Box::new(request.clone())), AT).unwrap();
        let approved = answer.code == "00";
        if let (true, Some(of), 420) = (approved, of, request.mti) {
            self.sent[of].reversed = true;
        }
        self.sent.push(Sent { request, approved, reversed: false, auth: answer.auth_code, of });
        answer.code
    }

    fn alive(&self, index: usize) -> bool {
        let txn = &self.sent[index];
        txn.approved && !txn.reversed && txn.request.mti != 420
    }

    fn acting_on(&self, index: usize, mti: u16, processing: u32) -> Vec<usize> {
        (0..self.sent.len())
            .filter(|&i| {
                let txn = &self.sent[i];
                txn.of == Some(index) && txn.request.mti == mti && txn.request.processing == processing
            })
            .filter(|&i| self.alive(i))
            .collect()
    }

    fn voided(&self, index: usize) -> bool {
        let mti = if self.sent[index].request.mti == 100 { 100 } else { 200 };
        !self.acting_on(index, mti, 200_000).is_empty()
    }

    /// What each card should have lost, and what should be held, by the answers.
    fn expected(&self, card: &str) -> (i64, i64) {
        let (mut taken, mut held) = (0, 0);
        for (index, txn) in self.sent.iter().enumerate() {
            if txn.request.card.as_deref() != Some(card) || !self.alive(index) || self.voided(index) {
                continue;
            }
            let amount = txn.request.amount as i64;
            match (txn.request.mti, txn.request.processing) {
                (200, 0) => {
                    let refunds = self.acting_on(index, 220, 200_000);
                    let back: u64 = refunds.iter().map(|&i| self.sent[i].request.amount).sum();
                    assert!(back <= txn.request.amount, "more refunded than sold");
                    taken += amount - back as i64;
                }
                (100, 30_000) => {
                    let completions = self.acting_on(index, 200, 0);
                    let open = completions.iter().filter(|&&i| !self.voided(i)).count();
                    assert!(open <= 1, "completed twice");
                    held += if open == 0 { amount } else { 0 };
                }
                _ => {}
            }
        }
        (taken, held)
    }

    fn check(&self, opening: &[(i64, i64)]) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.network.ledger().trial_balance(), 0);
        for (card, (start, _)) in CARDS.iter().zip(opening) {
            let (taken, held) = self.expected(card);
            let balances = self.network.balances(card).unwrap();
            prop_assert_eq!(balances.ledger, start - taken, "{}", card);
            let view = sim::record::cards(&self.network);
            let view = view.iter().find(|c| c.id == *card).unwrap();
            prop_assert_eq!(view.held, held, "{} held", card);
        }
        Ok(())
    }

    fn run(&mut self, op: &Op) {
        let count = self.sent.len();
        let pick = |of: usize| (count > 0).then(|| of % count.max(1));
        match *op {
            Op::Sale { card, amount } => {
                let request = self.request(200, 0, CARDS[card], amount);
                self.send(request, None);
            }
            Op::Preauth { card, amount } => {
                let mut request = self.request(100, 30_000, CARDS[card], amount);
                request.condition = 6;
                self.send(request, None);
            }
            Op::Void { of } => {
                let Some(of) = pick(of) else { return };
                let original = self.sent[of].request.clone();
                let mti = if original.mti == 100 { 100 } else { 200 };
                let card = original.card.clone().unwrap();
                let mut request = self.request(mti, 200_000, &card, original.amount);
                request.condition = original.condition;
                request.rrn = original.rrn.clone();
                request.original = Some(Self::key_of(&original));
                self.send(request, Some(of));
            }
            Op::Refund { of, amount } => {
                let Some(of) = pick(of) else { return };
                let original = self.sent[of].request.clone();
                let card = original.card.clone().unwrap();
                let mut request = self.request(220, 200_000, &card, amount);
                request.original = Some(Self::key_of(&original));
                self.send(request, Some(of));
            }
            Op::Complete { of, percent } => {
                let Some(of) = pick(of) else { return };
                let (original, auth) = (self.sent[of].request.clone(), self.sent[of].auth.clone());
                let card = original.card.clone().unwrap();
                let amount = (original.amount * percent / 100).max(1);
                let mut request = self.request(200, 0, &card, amount);
                request.condition = 6;
                request.auth_code = Some(auth.unwrap_or_else(|| "none".to_owned()));
                self.send(request, Some(of));
            }
            Op::Reverse { of } => {
                let Some(of) = pick(of) else { return };
                let original = self.sent[of].request.clone();
                let card = original.card.clone().unwrap();
                let mut request = self.request(420, original.processing, &card, original.amount);
                request.condition = original.condition;
                request.original = Some(Self::key_of(&original));
                self.send(request, Some(of));
            }
            Op::Overtake { card, amount } => {
                let sale = self.request(200, 0, CARDS[card], amount);
                let mut reversal = self.request(420, 0, CARDS[card], amount);
                reversal.original = Some(Self::key_of(&sale));
                assert_eq!(self.send(reversal, None), "25");
                assert_eq!(self.send(sale, None), "25");
            }
            Op::Repeat { of } => {
                let Some(of) = pick(of) else { return };
                let before = self.network.ledger().entries().len();
                let request = self.sent[of].request.clone();
                self.network.apply(&Event::Request(Box::new(request)), AT).unwrap();
                assert_eq!(self.network.ledger().entries().len(), before, "a repeat moved money");
            }
            Op::Cutover => {
                let day = self.network.day().next();
                self.network.apply(&Event::Cutover { day }, AT);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_or_loses_money(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        let opening: Vec<(i64, i64)> = CARDS
            .iter()
            .map(|card| world.network.balances(card).map(|b| (b.ledger, 0)).unwrap())
            .collect();
        for op in &ops {
            world.run(op);
            world.check(&opening)?;
        }
        let again = sim::record::lines(&world.network, 0, usize::MAX);
        prop_assert_eq!(again.len(), world.network.txns().len());
        let net: i64 = sim::record::totals(&world.network).values().map(|day| day.net).sum();
        let taken: i64 = CARDS.iter().map(|card| world.expected(card).0).sum();
        // A day without a transaction of its own is in no total, but then nothing was booked to it either.
        prop_assert_eq!(net, taken);
    }
}
