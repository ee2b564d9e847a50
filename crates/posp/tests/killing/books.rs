//! The comparison: the network's record, the node's journal, and what the terminals printed.

use std::collections::{BTreeMap, HashMap, HashSet};

use acquiring::kind::Kind;
use acquiring::payment::{PaymentRecord, PaymentState};
use sim::{FinalState, RecordLine};
use store::{ForwardItem, SettlementRecord};

use super::teller::{Heard, Seen};

/// How many findings of one rule are printed; all of them are in the report file.
const SHOWN: usize = 8;

/// A rule and what breaks it.
pub struct Check {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// How many things were looked at.
    pub examined: usize,
    /// What breaks it.
    pub broken: Vec<String>,
}

impl Check {
    /// The line of the report, with the first findings.
    pub fn lines(&self, all: bool) -> Vec<String> {
        let word = if self.broken.is_empty() { "PASS" } else { "FAIL" };
        let mut lines = vec![format!("{word}  {} ({} examined)", self.rule, self.examined)];
        let shown = if all { self.broken.len() } else { SHOWN };
        lines.extend(self.broken.iter().take(shown).map(|found| format!("      {found}")));
        if let Some(more) = self.broken.len().checked_sub(shown).filter(|more| *more > 0) {
            lines.push(format!("      and {more} more"));
        }
        lines
    }
}

/// Everything that is compared.
pub struct Books {
    /// The network's record.
    pub record: Vec<RecordLine>,
    /// What the network's ledger says it owes, fen.
    pub network_net: i64,
    /// The journal.
    pub journal: Vec<PaymentRecord>,
    /// What still waits for the network, parked items included.
    pub forwards: Vec<ForwardItem>,
    /// Messages of the network that fit no payment.
    pub unmatched: u64,
    /// What each terminal saw, by terminal number, then batch and trace.
    pub slips: BTreeMap<String, BTreeMap<(u32, u32), Seen>>,
}

/// Class of message, time and trace number: how the network tells requests apart.
type NetworkKey = (u16, String, u32);

fn key_of_line(line: &RecordLine) -> NetworkKey {
    let mti: u16 = line.mti.parse().unwrap_or(0);
    (mti - mti % 10, line.transmission.clone(), line.trace)
}

fn key_of_payment(payment: &PaymentRecord) -> NetworkKey {
    let class = payment.kind.spec().network.map_or(0, |form| form.mti);
    (class, format!("{:010}", payment.network.transmission), payment.network.trace)
}

fn same_kind(line: &RecordLine, payment: &PaymentRecord) -> bool {
    matches!(
        (line.kind, payment.kind),
        (sim::Kind::Balance, Kind::Balance)
            | (sim::Kind::Sale, Kind::Sale)
            | (sim::Kind::Void, Kind::SaleVoid)
            | (sim::Kind::Refund, Kind::Refund)
            | (sim::Kind::Preauth, Kind::Preauth)
            | (sim::Kind::PreauthVoid, Kind::PreauthVoid)
            | (sim::Kind::CompletionRequest, Kind::Completion)
            | (sim::Kind::CompletionAdvice, Kind::CompletionAdvice)
            | (sim::Kind::CompletionVoid, Kind::CompletionVoid)
    )
}

/// Whether both sides agree on what became of a payment.
fn agree(network: FinalState, here: PaymentState) -> bool {
    use FinalState as N;
    match here {
        PaymentState::Approved => matches!(network, N::Approved | N::PartlyRefunded | N::Refunded),
        PaymentState::Voided => network == N::Voided,
        PaymentState::Completed => network == N::Completed,
        PaymentState::Declined => network == N::Declined,
        // A reversal of what the network had declined changes nothing there.
        PaymentState::Reversed => matches!(network, N::Reversed | N::Declined),
        PaymentState::Pending | PaymentState::Unresolved | PaymentState::Reversing => false,
    }
}

fn of_line(line: &RecordLine) -> String {
    format!(
        "network no. {} {:?} {} terminal {} trace {:06} at {} code {} {:?}",
        line.id, line.kind, line.amount, line.terminal, line.trace, line.transmission, line.code, line.state
    )
}

fn of_payment(payment: &PaymentRecord) -> String {
    format!(
        "payment {} {} {} terminal {} {}/{} {} code {}",
        payment.id,
        payment.kind.code(),
        payment.amount.fen(),
        payment.terminal,
        payment.batch,
        payment.trace,
        payment.state.code(),
        payment.answer.as_ref().map_or("--".to_owned(), |answer| answer.code.to_string())
    )
}

fn signed(fen: u64) -> i64 {
    i64::try_from(fen).unwrap_or(i64::MAX)
}

/// What the journal says the network owes, fen.
pub fn journal_net(journal: &[PaymentRecord]) -> i64 {
    let counts = journal.iter().filter(|payment| payment.state.counts());
    counts
        .map(|payment| match payment.kind {
            Kind::Sale => signed(payment.amount.fen()),
            Kind::SaleVoid | Kind::Refund => -signed(payment.amount.fen()),
            _ => 0,
        })
        .sum()
}

fn record_net(record: &[RecordLine]) -> i64 {
    let in_force = record.iter().filter(|line| {
        matches!(
            line.state,
            FinalState::Approved | FinalState::PartlyRefunded | FinalState::Refunded | FinalState::Voided
        )
    });
    in_force
        .map(|line| match line.kind {
            sim::Kind::Sale => signed(line.amount),
            sim::Kind::Void | sim::Kind::Refund => -signed(line.amount),
            _ => 0,
        })
        .sum()
}

/// What the printed slips add up to, fen.
fn slips_net(slips: &BTreeMap<String, BTreeMap<(u32, u32), Seen>>) -> i64 {
    let approved = slips.values().flat_map(BTreeMap::values).filter(|seen| seen.heard == Heard::Approved);
    approved
        .map(|seen| match seen.kind {
            pos::Kind::Sale => signed(seen.amount),
            pos::Kind::Void | pos::Kind::Refund => -signed(seen.amount),
            _ => 0,
        })
        .sum()
}

/// Compares everything with everything.
pub fn compare(books: &Books) -> Vec<Check> {
    vec![
        open(books),
        known_here(books),
        held_there(books),
        doubles(books),
        totals(books),
        slips(books),
        slips_backwards(books),
    ]
}

/// What the node owes without any terminal's help: after the last kill, and before a terminal has spoken again.
/// A terminal may never come back, and then nobody but the node can undo what it left.
pub fn alone(books: &Books) -> Check {
    let mut broken = Vec::new();
    for check in [open(books), known_here(books), held_there(books)] {
        broken.extend(check.broken);
    }
    let (here, there) = (journal_net(&books.journal), books.network_net);
    if here != there {
        broken.push(format!("net here {here}, at the network {there}"));
    }
    Check {
        rule: "after the last kill the node alone brought every payment to its end, equal on both sides",
        examined: books.journal.len(),
        broken,
    }
}

fn open(books: &Books) -> Check {
    let mut broken: Vec<String> = books
        .forwards
        .iter()
        .map(|item| {
            let state = if item.parked { "parked" } else { "waiting" };
            format!("{} of payment {} {state}: {}", item.action.code(), item.payment, item.last_note)
        })
        .collect();
    let unfinished = books.journal.iter().filter(|payment| {
        matches!(payment.state, PaymentState::Pending | PaymentState::Unresolved | PaymentState::Reversing)
    });
    broken.extend(unfinished.map(of_payment));
    if books.unmatched > 0 {
        broken.push(format!("{} answers of the network fit no payment", books.unmatched));
    }
    Check {
        rule: "every outcome became known: nothing pending, nothing waiting, nothing parked",
        examined: books.journal.len(),
        broken,
    }
}

/// A request whose MAC the network refused (A0) is no transaction: it comes again under its own numbers, and is taken then.
fn was_taken(line: &RecordLine) -> bool {
    line.code != "A0"
}

/// From the network to us: what it approved we know, and what stands there stands here.
fn known_here(books: &Books) -> Check {
    let mut journal: HashMap<NetworkKey, &PaymentRecord> = HashMap::new();
    for payment in &books.journal {
        journal.insert(key_of_payment(payment), payment);
    }
    // A script result tells of a payment and is none.
    let told = [sim::Kind::Reversal, sim::Kind::ScriptResult];
    let payments = books.record.iter().filter(|line| !told.contains(&line.kind) && was_taken(line));
    let mut broken = Vec::new();
    let mut examined = 0;
    for line in payments {
        examined += 1;
        let Some(payment) = journal.get(&key_of_line(line)) else {
            broken.push(format!("unknown here: {}", of_line(line)));
            continue;
        };
        if !same_kind(line, payment)
            || line.amount != payment.amount.fen()
            || line.terminal != payment.terminal.as_str()
            || line.merchant != payment.merchant.as_str()
            || payment.card.as_ref().map(|card| card.masked.to_string()) != Some(line.pan.clone())
        {
            broken.push(format!("differs: {}; here {}", of_line(line), of_payment(payment)));
        } else if line.kind == sim::Kind::Balance && payment.state == PaymentState::Declined {
            // An inquiry moves no money: when its answer is lost it is forgotten here.
        } else if !agree(line.state, payment.state) {
            broken.push(format!("other state: {}; here {}", of_line(line), of_payment(payment)));
        } else if payment.state.counts()
            && payment.answer.as_ref().and_then(|answer| answer.auth_code).map(|code| code.to_string())
                != line.auth_code
        {
            broken.push(format!("other authorisation code: {}; here {}", of_line(line), of_payment(payment)));
        }
    }
    Check {
        rule: "what the network approved is known here and stands or is undone alike, amounts equal",
        examined,
        broken,
    }
}

/// From us to the network: what we call approved it holds as approved.
fn held_there(books: &Books) -> Check {
    let record: HashMap<NetworkKey, &RecordLine> =
        books.record.iter().filter(|line| was_taken(line)).map(|line| (key_of_line(line), line)).collect();
    let approved: Vec<&PaymentRecord> =
        books.journal.iter().filter(|payment| payment.state.counts()).collect();
    let mut broken = Vec::new();
    for payment in &approved {
        match record.get(&key_of_payment(payment)) {
            None => broken.push(format!("not at the network: {}", of_payment(payment))),
            Some(line) if !agree(line.state, payment.state) => {
                broken.push(format!("{}; there {}", of_payment(payment), of_line(line)));
            }
            Some(_) => {}
        }
    }
    Check { rule: "what is approved here the network holds as approved", examined: approved.len(), broken }
}

fn doubles(books: &Books) -> Check {
    let mut broken = Vec::new();
    let (mut keys, mut network, mut references) = (HashSet::new(), HashSet::new(), HashSet::new());
    for payment in &books.journal {
        if !keys.insert((payment.terminal, payment.batch, payment.trace)) {
            broken.push(format!("terminal, batch and trace twice: {}", of_payment(payment)));
        }
        if !network.insert(key_of_payment(payment)) {
            broken.push(format!("network key twice: {}", of_payment(payment)));
        }
        if !references.insert(payment.rrn) {
            broken.push(format!("reference number twice: {}", of_payment(payment)));
        }
    }
    let mut lines = HashSet::new();
    for line in books.record.iter().filter(|line| was_taken(line)) {
        if !lines.insert(key_of_line(line)) {
            broken.push(format!("twice at the network: {}", of_line(line)));
        }
    }
    Check {
        rule: "nothing is doubled, here or at the network",
        examined: books.journal.len() + books.record.len(),
        broken,
    }
}

fn totals(books: &Books) -> Check {
    let sides = [
        ("journal", journal_net(&books.journal)),
        ("network's record", record_net(&books.record)),
        ("network's ledger", books.network_net),
        ("terminals' slips", slips_net(&books.slips)),
    ];
    let mut broken = Vec::new();
    if sides.iter().any(|(_, net)| *net != sides[0].1) {
        // A reversal that a terminal gave up may stand on both sides; the slips alone do not have it then.
        broken.push(sides.iter().map(|(name, net)| format!("{name} {net}")).collect::<Vec<_>>().join(", "));
    }
    Check { rule: "the net totals of all sides are equal, in fen", examined: sides.len(), broken }
}

/// From the slips to the journal.
fn slips(books: &Books) -> Check {
    let journal: HashMap<(String, u32, u32), &PaymentRecord> =
        books.journal.iter().map(|p| ((p.terminal.to_string(), p.batch.get(), p.trace.get()), p)).collect();
    let mut broken = Vec::new();
    let mut examined = 0;
    for (terminal, seen) in &books.slips {
        for (&(batch, trace), seen) in seen {
            examined += 1;
            let name = format!("terminal {terminal} {batch:06}/{trace:06} {:?} {:?}", seen.kind, seen.heard);
            let payment = journal.get(&(terminal.clone(), batch, trace)).copied();
            let found = match (seen.heard, payment) {
                (Heard::Approved, None) => Some("is not in the journal".to_owned()),
                (Heard::Approved, Some(payment)) => approved_alike(seen, payment),
                // A decline may be one of a rule before the journal, or of the chip before anything was sent.
                (Heard::Declined, Some(p)) if p.state.counts() => {
                    Some(format!("heard {:?}, here {}", seen.code, of_payment(p)))
                }
                (Heard::Undone, Some(p)) if p.state.counts() => Some(format!("here {}", of_payment(p))),
                (Heard::Unknown, _) if seen.kind != pos::Kind::Balance => Some("is left unknown".to_owned()),
                (Heard::GivenUp, _) => Some(format!(
                    "its reversal was given up after {:?}, here {}",
                    seen.code,
                    payment.map_or("unknown".to_owned(), of_payment)
                )),
                _ => None,
            };
            broken.extend(found.map(|found| format!("{name}: {found}")));
        }
    }
    Check { rule: "what a terminal heard is so here: approved, declined or undone", examined, broken }
}

fn approved_alike(seen: &Seen, payment: &PaymentRecord) -> Option<String> {
    let code = payment.answer.as_ref().and_then(|answer| answer.auth_code);
    // A void's slip names the sale's reference number or its own; its amount and code must be its own.
    let alike = match seen.kind {
        pos::Kind::Balance => true,
        _ => {
            seen.amount == payment.amount.fen()
                && seen.auth_code.as_deref().map(str::trim) == code.as_ref().map(|code| code.as_str().trim())
        }
    };
    let rrn = seen.rrn.as_deref() == Some(payment.rrn.as_str());
    if payment.state.counts() && alike && rrn {
        None
    } else {
        Some(format!("slip {} fen rrn {:?}; here {}", seen.amount, seen.rrn, of_payment(payment)))
    }
}

/// From the journal to the slips: nobody is charged without a slip.
fn slips_backwards(books: &Books) -> Check {
    let mut broken = Vec::new();
    let counted: Vec<&PaymentRecord> =
        books.journal.iter().filter(|p| p.state.counts() && p.kind != Kind::Balance).collect();
    for payment in &counted {
        let seen = books
            .slips
            .get(payment.terminal.as_str())
            .and_then(|seen| seen.get(&(payment.batch.get(), payment.trace.get())));
        if seen.map(|seen| seen.heard) != Some(Heard::Approved) {
            broken.push(format!("{}; its terminal heard {:?}", of_payment(payment), seen.map(|s| s.heard)));
        }
    }
    Check { rule: "what is approved here has its slip at the terminal", examined: counted.len(), broken }
}

/// Every batch was settled once and balanced.
pub fn settlements(settlements: &[SettlementRecord], differences: u64) -> Check {
    let mut broken = Vec::new();
    for settled in settlements {
        let name = format!("terminal {} batch {}", settled.terminal, settled.batch);
        if settled.domestic.digit() != 1 || settled.foreign.digit() != 1 {
            broken.push(format!(
                "{name}: terminal {:?}, journal {:?}",
                settled.terminal_totals.domestic, settled.host_totals.domestic
            ));
        }
        if settled.end.is_none() {
            broken.push(format!("{name}: never ended"));
        }
    }
    if differences > 0 {
        broken.push(format!("{differences} differences found by uploaded details"));
    }
    Check { rule: "every batch is settled, balanced and ended", examined: settlements.len(), broken }
}

/// A comparison that cannot fail proves nothing: each rule is shown what it must find.
#[cfg(test)]
mod tests {
    use acquiring::payment::{Answer, CardRecord, NetworkKey};
    use acquiring::{
        Amount, AuthCode, BatchNo, EntryMode, MerchantId, Pan, PaymentId, ResponseCode, Rrn, TerminalId,
        Trace,
    };
    use jiff::Timestamp;
    use pos::Entry;

    use super::super::cards::Presented;
    use super::*;

    const TERMINAL: &str = "20000000";

    fn line() -> RecordLine {
        serde_json::from_value(serde_json::json!({
            "id": 1, "mti": "0200", "kind": "sale", "transmission": "1124101500", "trace": 8,
            "acquirer": "48029999", "forwarder": "48029999", "pan": "622424******0021", "card": "L02",
            "amount": 5_000, "terminal": TERMINAL, "merchant": "898100000000001", "rrn": "112400000007",
            "auth_code": "007919", "code": "00", "state": "approved", "refunded": 0, "original": null,
            "day": "2026-11-24", "at": 0, "changed": 0, "arrivals": 1, "bad_field": null,
        }))
        .unwrap()
    }

    fn payment() -> PaymentRecord {
        let at = Timestamp::UNIX_EPOCH;
        let mut answer = Answer::own(ResponseCode::APPROVED, at);
        answer.auth_code = Some(AuthCode::new("007919").unwrap());
        PaymentRecord {
            id: PaymentId(7),
            merchant: MerchantId::new("898100000000001").unwrap(),
            terminal: TerminalId::new(TERMINAL).unwrap(),
            batch: BatchNo::FIRST,
            trace: Trace::new(3).unwrap(),
            kind: Kind::Sale,
            state: PaymentState::Approved,
            amount: Amount::from_fen(5_000).unwrap(),
            adjusted: None,
            currency: 156,
            card: Some(CardRecord {
                masked: Pan::new("6224242000000021").unwrap().masked(),
                digest: [0; 32],
                sealed: Vec::new(),
            }),
            expiry: None,
            entry_mode: EntryMode::new(51).unwrap(),
            card_sequence: None,
            condition: 0,
            terminal_traits: [6, 0, 0],
            request_digest: [0; 32],
            line: "unionpay".to_owned(),
            network: NetworkKey { trace: 8, transmission: 1_124_101_500 },
            rrn: Rrn::new("112400000007").unwrap(),
            original: None,
            claimed_by: None,
            refunded: Amount::ZERO,
            answer: Some(answer),
            reversal_reason: None,
            reversed_on: None,
            limited: false,
            foreign: false,
            created: at,
        }
    }

    fn slip() -> Seen {
        Seen {
            kind: pos::Kind::Sale,
            amount: 5_000,
            heard: Heard::Approved,
            code: Some("00".to_owned()),
            rrn: Some("112400000007".to_owned()),
            auth_code: Some("007919".to_owned()),
            card: Presented { id: "L02".to_owned(), entry: Entry::Chip, pin: None },
        }
    }

    /// The rules that the books break when one thing about them is changed; the net total is the ledger's.
    fn broken(change: impl FnOnce(&mut RecordLine, &mut PaymentRecord, &mut Seen)) -> Vec<&'static str> {
        let (mut line, mut payment, mut slip) = (line(), payment(), slip());
        change(&mut line, &mut payment, &mut slip);
        let slips = BTreeMap::from([(TERMINAL.to_owned(), BTreeMap::from([((1, 3), slip)]))]);
        let books = Books {
            network_net: record_net(std::slice::from_ref(&line)),
            record: vec![line],
            journal: vec![payment],
            forwards: Vec::new(),
            unmatched: 0,
            slips,
        };
        names(&compare(&books))
    }

    /// The first word of each broken rule that tells it from the others.
    fn names(checks: &[Check]) -> Vec<&'static str> {
        let keys = ["outcome", "known here", "holds", "doubled", "totals", "heard", "has its slip"];
        let found = checks.iter().zip(keys).filter(|(check, _)| !check.broken.is_empty());
        assert!(checks.iter().zip(keys).all(|(check, key)| check.rule.contains(key)));
        found.map(|(_, key)| key).collect()
    }

    #[test]
    fn equal_books_pass() {
        assert!(broken(|_, _, _| {}).is_empty());
        let reversed = broken(|line, payment, slip| {
            line.state = FinalState::Reversed;
            payment.state = PaymentState::Reversed;
            slip.heard = Heard::Undone;
        });
        assert!(reversed.is_empty(), "{reversed:?}");
    }

    #[test]
    fn each_kind_of_loss_is_found() {
        // Approved there, declined here: the customer paid for nothing.
        let lost = broken(|_, payment, slip| {
            payment.state = PaymentState::Declined;
            slip.heard = Heard::Declined;
        });
        assert_eq!(lost, ["known here", "totals"]);
        // Approved there, reversed here without the network having heard of it.
        let not_reversed = broken(|_, payment, slip| {
            payment.state = PaymentState::Reversed;
            slip.heard = Heard::Undone;
        });
        assert_eq!(not_reversed, ["known here", "totals"]);
        // Unknown here.
        let unknown = broken(|line, _, _| line.trace = 9);
        assert_eq!(unknown, ["known here", "holds"]);
        // Approved here and on the slip, reversed there: goods for nothing.
        let gone = broken(|line, _, _| line.state = FinalState::Reversed);
        assert_eq!(gone, ["known here", "holds", "totals"]);
        // Another amount.
        assert_eq!(broken(|line, _, _| line.amount = 5_001), ["known here", "totals"]);
        // Left open.
        let open = broken(|line, payment, slip| {
            line.state = FinalState::Reversed;
            payment.state = PaymentState::Reversing;
            slip.heard = Heard::Undone;
        });
        assert_eq!(open, ["outcome", "known here"]);
    }

    #[test]
    fn each_lie_of_a_slip_is_found() {
        let charged = broken(|_, _, slip| slip.heard = Heard::Declined);
        assert_eq!(charged, ["totals", "heard", "has its slip"]);
        let printed = broken(|line, payment, _| {
            line.state = FinalState::Reversed;
            payment.state = PaymentState::Reversed;
        });
        assert_eq!(printed, ["totals", "heard"]);
        assert_eq!(broken(|_, _, slip| slip.auth_code = None), ["heard"]);
        assert_eq!(broken(|_, _, slip| slip.heard = Heard::GivenUp), ["totals", "heard", "has its slip"]);
    }

    /// Found by a run on two nodes (seed 4701): a refund that met a change of the network's keys was refused with A0, sent
    /// again under its own numbers and approved, which looked like a double.
    #[test]
    fn a_request_that_the_network_did_not_take_is_no_transaction() {
        let refused = RecordLine { code: "A0".to_owned(), state: FinalState::Declined, ..line() };
        let slips = BTreeMap::from([(TERMINAL.to_owned(), BTreeMap::from([((1, 3), slip())]))]);
        let books = Books {
            network_net: record_net(&[line()]),
            record: vec![refused, line()],
            journal: vec![payment()],
            forwards: Vec::new(),
            unmatched: 0,
            slips,
        };
        assert!(names(&compare(&books)).is_empty());
    }

    #[test]
    fn doubles_are_found_on_both_sides() {
        let slips = BTreeMap::from([(TERMINAL.to_owned(), BTreeMap::from([((1, 3), slip())]))]);
        let books = Books {
            record: vec![line(), line()],
            network_net: 10_000,
            journal: vec![payment(), payment()],
            forwards: Vec::new(),
            unmatched: 0,
            slips,
        };
        let doubled = doubles(&books).broken;
        assert_eq!(doubled.len(), 4, "{doubled:?}");
        assert!(names(&compare(&books)).contains(&"totals"));
    }
}
