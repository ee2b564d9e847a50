//! The guarantees, as functions that look at what is durable, what leaves and what is told. They know the rules of the
//! field and nothing of the code under test: the rows of the disk are read as an auditor reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use store::simulation::Cell;

/// A guarantee by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// A request leaves only after its intent is durable.
    G1,
    /// Unknown means reversed until acknowledged, on each hop.
    G2,
    /// A late answer never flips a reversed payment.
    G3,
    /// Repeats are harmless.
    G4,
    /// A reversal that overtakes or crosses its sale ends right.
    G5,
    /// Store-and-forward keeps its order within a family of payments, is bounded, and parks for an operator, never drops.
    G6,
    /// A durable "approved" survives; a failed flush stops the node and is never tried again.
    G7,
    /// Journal, network's record and settlement agree.
    G8,
    /// Nothing crashes or hangs.
    G9,
    /// Numbers are unique, gaps explained.
    G11,
}

impl Guarantee {
    /// Its sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Guarantee::G1 => "a request leaves only after its intent is durable",
            Guarantee::G2 => "unknown means reversed until acknowledged, on each hop",
            Guarantee::G3 => "a late answer never flips a reversed payment",
            Guarantee::G4 => "repeats are harmless",
            Guarantee::G5 => "a reversal that overtakes or crosses its sale ends right",
            Guarantee::G6 => "store-and-forward keeps its order, is bounded, and parks, never drops",
            Guarantee::G7 => "a durable approved survives; a failed flush stops the node",
            Guarantee::G8 => "journal, network's record and settlement agree",
            Guarantee::G9 => "nothing crashes or hangs",
            Guarantee::G11 => "numbers are unique, gaps explained",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.sentence())
    }
}

/// What was broken, and how it showed.
pub type Broken = (Guarantee, String);

/// Numbers by which a terminal knows a payment: terminal, batch, trace.
pub type Key = (String, i64, i64);

/// A payment as it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The terminal's numbers.
    pub key: Key,
    /// Its kind's code.
    pub kind: String,
    /// Its state's code.
    pub state: String,
    /// Fen.
    pub amount: i64,
    /// Field 11 and field 7 toward the network.
    pub network: (i64, i64),
    /// Field 37.
    pub rrn: String,
    /// The payment on which it stands, 0 for none.
    pub original: i64,
}

impl Durable {
    /// Approved at the terminal and told afterwards.
    pub fn is_told(&self) -> bool {
        matches!(self.kind.as_str(), "offline_sale" | "tip")
    }

    /// Moves money between card and merchant when it stands, as fen toward the merchant.
    pub fn money(&self) -> i64 {
        match self.kind.as_str() {
            "sale" | "completion" | "offline_sale" | "instalment" | "cash_load_void" => self.amount,
            "sale_void" | "completion_void" | "refund" | "instalment_void" | "cash_load" => -self.amount,
            _ => 0,
        }
    }
}

/// A queued message as it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The payment.
    pub payment: i64,
    /// Reversal or repeat.
    pub action: String,
    /// waiting, parked, done.
    pub status: String,
}

/// A message of a node to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its type.
    pub mti: u16,
    /// Field 11.
    pub trace: i64,
    /// Field 7.
    pub transmission: i64,
    /// Field 4.
    pub amount: i64,
    /// Place of the node that it leaves.
    pub node: usize,
}

/// What a terminal asked, of what concerns the guarantees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its type.
    pub mti: u16,
    /// The numbers of the transaction that it is about.
    pub key: Key,
    /// Moves money (not a balance inquiry).
    pub money: bool,
}

/// What a guarantee is judged by.
#[derive(Debug, Default)]
pub struct Books {
    /// Payments by our number.
    pub payments: BTreeMap<i64, Durable>,
    by_network: BTreeMap<i64, i64>,
    by_key: BTreeMap<Key, i64>,
    rrns: BTreeSet<String>,
    /// The queue of the line, by its order.
    pub queue: BTreeMap<i64, Queued>,
    /// Originals that terminals reversed, and those whose reversal was answered 00.
    asked_back: BTreeSet<Key>,
    taken_back: BTreeSet<Key>,
    /// What the network answered that settles a reversal or a repeated request: class and field 11.
    settled: BTreeSet<(u16, i64)>,
    sent: BTreeSet<(i64, i64)>,
    /// Which node has sent a message of the queue and has not written down yet what came of it, by payment.
    at_work: BTreeMap<i64, usize>,
    told: BTreeMap<Key, String>,
}

/// Triggers that keep a list of what commits change. It is emptied by every look.
pub const TRIGGERS: &str = "
CREATE TEMP TABLE seen (at INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, id BIGINT, before TEXT, after TEXT,
    terminal TEXT, batch BIGINT, trace BIGINT, kind TEXT, amount BIGINT, network_trace BIGINT, transmission BIGINT,
    rrn TEXT, original BIGINT);
CREATE TEMP TRIGGER payment_new AFTER INSERT ON main.payment BEGIN
    INSERT INTO seen (what, id, before, after, terminal, batch, trace, kind, amount, network_trace, transmission, rrn,
        original)
    VALUES ('payment', NEW.id, '', NEW.state, NEW.terminal, NEW.batch, NEW.trace, NEW.kind, NEW.amount,
        NEW.network_trace, NEW.transmission, NEW.rrn, COALESCE(NEW.original, 0)); END;
CREATE TEMP TRIGGER payment_change AFTER UPDATE ON main.payment
    WHEN OLD.state <> NEW.state OR OLD.amount <> NEW.amount OR OLD.rrn <> NEW.rrn OR OLD.trace <> NEW.trace
        OR OLD.network_trace <> NEW.network_trace OR OLD.transmission <> NEW.transmission BEGIN
    INSERT INTO seen (what, id, before, after, terminal, batch, trace, kind, amount, network_trace, transmission, rrn,
        original)
    VALUES ('payment', NEW.id, OLD.state, NEW.state, NEW.terminal, NEW.batch, NEW.trace, NEW.kind, NEW.amount,
        NEW.network_trace, NEW.transmission, NEW.rrn, COALESCE(NEW.original, 0)); END;
CREATE TEMP TRIGGER payment_gone AFTER DELETE ON main.payment BEGIN
    INSERT INTO seen (what, id, before, after) VALUES ('payment gone', OLD.id, OLD.state, ''); END;
CREATE TEMP TRIGGER forward_new AFTER INSERT ON main.forward BEGIN
    INSERT INTO seen (what, id, before, after, kind, amount)
    VALUES ('forward', NEW.sequence, '', NEW.status, NEW.action, NEW.payment); END;
CREATE TEMP TRIGGER forward_change AFTER UPDATE ON main.forward
    WHEN OLD.status <> NEW.status OR OLD.sequence <> NEW.sequence OR OLD.payment <> NEW.payment
        OR OLD.attempts <> NEW.attempts BEGIN
    INSERT INTO seen (what, id, before, after, kind, amount)
    VALUES ('forward', NEW.sequence, OLD.status, NEW.status, NEW.action, NEW.payment); END;
CREATE TEMP TRIGGER forward_gone AFTER DELETE ON main.forward BEGIN
    INSERT INTO seen (what, id, before, after) VALUES ('forward gone', OLD.sequence, OLD.status, ''); END;
";

/// Reads that list.
pub const SEEN: &str = "SELECT what, id, before, after, terminal, batch, trace, kind, amount, network_trace, \
     transmission, rrn, original FROM temp.seen ORDER BY at";

/// Empties it.
pub const FORGET: &str = "DELETE FROM temp.seen";

/// Which state may follow which. Reversed and declined are ends; what is being reversed only becomes reversed.
fn may_follow(before: &str, after: &str) -> bool {
    matches!(
        (before, after),
        ("", "pending" | "declined" | "approved")
            | ("pending", "approved" | "declined" | "reversing" | "unresolved")
            | ("unresolved", "approved" | "declined")
            | ("approved", "reversing" | "voided" | "completed")
            | ("voided" | "completed", "approved")
            | ("reversing", "reversed")
    )
}

impl Books {
    fn by_network(&self, trace: i64) -> Option<&Durable> {
        self.payments.get(self.by_network.get(&trace)?)
    }

    /// The payment that a terminal knows by these numbers.
    pub fn by_key(&self, key: &Key) -> Option<&Durable> {
        self.payments.get(self.by_key.get(key)?)
    }

    /// The payment on which another stands in the end.
    fn family(&self, mut id: i64) -> i64 {
        while let Some(original) =
            self.payments.get(&id).map(|p| p.original).filter(|original| *original != 0)
        {
            id = original;
        }
        id
    }

    /// After each commit: what it changed may be changed so.
    pub fn committed(&mut self, rows: &[Vec<Cell>]) -> Result<Vec<String>, Broken> {
        let mut notes = Vec::new();
        let mut moved = Vec::new();
        for row in rows {
            let [
                what,
                id,
                before,
                after,
                terminal,
                batch,
                trace,
                kind,
                amount,
                network,
                transmission,
                rrn,
                original,
            ] = row.as_slice()
            else {
                continue;
            };
            let (id, before, after) = (id.int(), before.text(), after.text());
            notes.push(format!("durable {} {id} {before}>{after}", what.text()));
            match what.text() {
                "payment" => {
                    let key = (terminal.text().to_owned(), batch.int(), trace.int());
                    let durable = Durable {
                        key,
                        kind: kind.text().to_owned(),
                        state: after.to_owned(),
                        amount: amount.int(),
                        network: (network.int(), transmission.int()),
                        rrn: rrn.text().to_owned(),
                        original: original.int(),
                    };
                    g11_numbers_are_unique_and_stay(self, id, before, &durable)?;
                    g3_states_follow_the_rules(id, before, &durable)?;
                    g7_an_approval_ends_only_by_the_terminal(self, id, before, &durable)?;
                    self.by_network.insert(durable.network.0, id);
                    self.by_key.insert(durable.key.clone(), id);
                    self.rrns.insert(durable.rrn.clone());
                    self.payments.insert(id, durable);
                    moved.push(id);
                }
                "forward" => {
                    let queued = Queued {
                        payment: amount.int(),
                        action: kind.text().to_owned(),
                        status: after.to_owned(),
                    };
                    g6_the_queue_only_grows_and_ends_by_acknowledgement(self, id, before, &queued)?;
                    self.at_work.remove(&queued.payment);
                    self.queue.insert(id, queued);
                }
                gone => return Err((Guarantee::G6, format!("{gone}: {id}, which was {before}"))),
            }
        }
        for id in moved {
            g2_what_is_unknown_is_queued(self, id)?;
        }
        Ok(notes)
    }

    /// A message leaves a node.
    pub fn leaves(&mut self, message: Leaving) -> Result<(), Broken> {
        g1_the_intent_is_durable(self, message)?;
        // What was approved at the terminal goes out from the queue, the first time too.
        let told = self.by_network(message.trace).is_some_and(Durable::is_told);
        match message.mti {
            100 | 200 | 220 if !told => g4_a_request_leaves_once(self, message),
            _ => {
                g6_nodes_do_not_both_work_the_queue(self, message)?;
                g6_a_family_keeps_its_order(self, message)
            }
        }
    }

    /// A node is dead: nothing comes of what it had sent.
    pub fn node_died(&mut self, place: usize) {
        self.at_work.retain(|_, node| *node != place);
    }

    /// The network has answered a message with this code.
    pub fn network_answered(&mut self, mti: u16, trace: i64, code: &str) {
        let class = mti / 10 * 10;
        let settles = match class {
            420 => matches!(code, "00" | "10" | "11" | "12" | "25"),
            _ => true,
        };
        if settles {
            self.settled.insert((class, trace));
        }
    }

    /// A terminal's message reaches a node.
    pub fn asked(&mut self, asked: &Asked) {
        if asked.mti == 400 {
            self.asked_back.insert(asked.key.clone());
        }
    }

    /// A node answers a terminal.
    pub fn told(&mut self, asked: &Asked, code: &str) -> Result<(), Broken> {
        if asked.mti == 400 {
            return g5_a_reversal_that_is_answered_holds(self, asked, code);
        }
        if matches!(asked.mti, 100 | 200 | 220) {
            if asked.money {
                g7_what_is_told_is_durable(self, asked, code)?;
            }
            g4_a_repeat_is_told_the_same(self, asked, code)?;
        }
        Ok(())
    }

    /// A node starts: the disk still has what it had.
    pub fn restarted(&self, rows: &[Vec<Cell>]) -> Result<(), Broken> {
        g7_nothing_durable_is_lost(self, rows)
    }

    /// Payments under way, and messages that wait.
    pub fn open(&self) -> (usize, usize) {
        let open = |p: &&Durable| matches!(p.state.as_str(), "pending" | "reversing" | "unresolved");
        (
            self.payments.values().filter(open).count(),
            self.queue.values().filter(|q| q.status != "done").count(),
        )
    }
}

/// G1: the journal has the payment, with these numbers and this amount, before its message leaves.
pub fn g1_the_intent_is_durable(books: &Books, message: Leaving) -> Result<(), Broken> {
    let broken = |why: &str| Err((Guarantee::G1, format!("{message:?} leaves, but {why}")));
    let Some(payment) = books.by_network(message.trace) else { return broken("no such payment is durable") };
    if payment.amount != message.amount {
        return broken("the payment's amount is another");
    }
    match message.mti {
        100 | 200 | 220 if payment.network.1 != message.transmission => {
            broken("the payment's time is another")
        }
        100 | 200 | 220 if payment.state == "declined" => broken("the payment is declined"),
        221 if payment.state != "unresolved" && !payment.is_told() => broken("its outcome is known"),
        420 | 421 if payment.state != "reversing" => broken("the payment is not being reversed"),
        _ => Ok(()),
    }
}

/// G2: whatever is being reversed or has no outcome has its message in the queue, in the same commit; it is reversed
/// only once the network has said so.
pub fn g2_what_is_unknown_is_queued(books: &Books, id: i64) -> Result<(), Broken> {
    let Some(payment) = books.payments.get(&id) else { return Ok(()) };
    let queued = |action: &str| {
        books.queue.values().any(|q| q.payment == id && q.action == action && q.status != "done")
    };
    let acknowledged = books.settled.contains(&(420, payment.network.0));
    match payment.state.as_str() {
        "reversing" if !queued("reversal") => {
            Err((Guarantee::G2, format!("payment {id} is being reversed, but no reversal is queued")))
        }
        "approved" if payment.is_told() && !books.queue.values().any(|q| q.payment == id) => Err((
            Guarantee::G2,
            format!("payment {id} was approved at the terminal, and nothing tells the network"),
        )),
        "unresolved" if !queued("repeat") => {
            Err((Guarantee::G2, format!("payment {id} has no outcome, but no repeat is queued")))
        }
        "reversed" if !acknowledged => {
            Err((Guarantee::G2, format!("payment {id} is reversed, but the network never acknowledged it")))
        }
        _ => Ok(()),
    }
}

/// G3: what is reversed stays so, whatever comes late.
pub fn g3_states_follow_the_rules(id: i64, before: &str, now: &Durable) -> Result<(), Broken> {
    if before == now.state || may_follow(before, &now.state) {
        return Ok(());
    }
    Err((Guarantee::G3, format!("payment {id} went from {before} to {}", now.state)))
}

/// G4: the same request never leaves a second time.
pub fn g4_a_request_leaves_once(books: &mut Books, message: Leaving) -> Result<(), Broken> {
    if books.sent.insert((message.trace, message.transmission)) {
        return Ok(());
    }
    Err((Guarantee::G4, format!("{message:?} leaves a second time")))
}

/// G4: who asks again hears the same: never an approval after a decline, nor a decline after an approval that it has
/// not taken back itself.
pub fn g4_a_repeat_is_told_the_same(books: &mut Books, asked: &Asked, code: &str) -> Result<(), Broken> {
    // These say nothing about the payment: in work, session, MAC, other content, our own trouble.
    if matches!(code, "09" | "77" | "A0" | "94" | "96" | "97" | "03" | "30") {
        return Ok(());
    }
    let taken_back = books.asked_back.contains(&asked.key);
    let first = books.told.entry(asked.key.clone()).or_insert_with(|| code.to_owned());
    if first == code || (taken_back && code == "25") {
        return Ok(());
    }
    if taken_back && first == "25" && code != "00" {
        return Ok(());
    }
    Err((Guarantee::G4, format!("{:?} was told {first} and is now told {code}", asked.key)))
}

/// G5: a reversal that is answered 00 has taken hold: the payment is not approved, and never will be.
pub fn g5_a_reversal_that_is_answered_holds(
    books: &mut Books,
    asked: &Asked,
    code: &str,
) -> Result<(), Broken> {
    if code != "00" {
        return Ok(());
    }
    books.taken_back.insert(asked.key.clone());
    match books.by_key(&asked.key).map(|payment| payment.state.as_str()) {
        None | Some("reversing" | "reversed" | "declined") => Ok(()),
        Some(state) => {
            Err((Guarantee::G5, format!("the reversal of {:?} is answered 00, but it is {state}", asked.key)))
        }
    }
}

/// G6: items are queued in order without gaps, none disappears, and one ends only when the network has answered.
pub fn g6_the_queue_only_grows_and_ends_by_acknowledgement(
    books: &Books,
    sequence: i64,
    before: &str,
    now: &Queued,
) -> Result<(), Broken> {
    let broken = |why: &str| Err((Guarantee::G6, format!("item {sequence} ({now:?}) {why}")));
    if before.is_empty() {
        let last = books.queue.keys().next_back().copied().unwrap_or(0);
        return if sequence == last + 1 { Ok(()) } else { broken("is queued out of order") };
    }
    let Some(known) = books.queue.get(&sequence) else { return broken("was never queued") };
    if (known.payment, &known.action) != (now.payment, &now.action) {
        return broken("is about something else now");
    }
    let trace = books.payments.get(&now.payment).map_or(0, |payment| payment.network.0);
    let class = match now.action.as_str() {
        "reversal" => 420,
        "script" => 620,
        _ => 220,
    };
    match now.status.as_str() {
        "done" if !books.settled.contains(&(class, trace)) => {
            broken("is finished, but the network never acknowledged it")
        }
        "waiting" if before == "done" => broken("was finished and waits again"),
        _ => Ok(()),
    }
}

/// G6: nodes that share a queue do not both work it: what one has sent no other sends before the first has written
/// down what came of it, or is dead.
pub fn g6_nodes_do_not_both_work_the_queue(books: &mut Books, message: Leaving) -> Result<(), Broken> {
    let Some(id) = books.by_network.get(&message.trace) else { return Ok(()) };
    match books.at_work.insert(*id, message.node) {
        Some(other) if other != message.node => {
            Err((Guarantee::G6, format!("{message:?} of payment {id} leaves while node {other} is at it")))
        }
        _ => Ok(()),
    }
}

/// G6: what is sent is the first that waits of its family: of the payments that stand on one another.
pub fn g6_a_family_keeps_its_order(books: &Books, message: Leaving) -> Result<(), Broken> {
    let Some(id) = books.by_network.get(&message.trace) else { return Ok(()) };
    let family = books.family(*id);
    let head = books.queue.iter().find(|(_, q)| q.status == "waiting" && books.family(q.payment) == family);
    match head {
        Some((_, queued)) if queued.payment == *id => Ok(()),
        _ => Err((Guarantee::G6, format!("{message:?} of payment {id} leaves before {head:?}"))),
    }
}

/// G7: an approval that is told is durable (or was taken back by the terminal itself meanwhile).
pub fn g7_what_is_told_is_durable(books: &Books, asked: &Asked, code: &str) -> Result<(), Broken> {
    if code != "00" {
        return Ok(());
    }
    let state = books.by_key(&asked.key).map(|payment| payment.state.as_str());
    match state {
        Some("approved" | "voided" | "completed") => Ok(()),
        Some("reversing" | "reversed") if books.asked_back.contains(&asked.key) => Ok(()),
        _ => Err((Guarantee::G7, format!("{:?} is told 00, but it is {state:?}", asked.key))),
    }
}

/// G7: an approval ends by a reversal of its own terminal or by a void, and by nothing else.
pub fn g7_an_approval_ends_only_by_the_terminal(
    books: &Books,
    id: i64,
    before: &str,
    now: &Durable,
) -> Result<(), Broken> {
    if before == "approved" && now.state == "reversing" && !books.asked_back.contains(&now.key) {
        return Err((Guarantee::G7, format!("payment {id} was approved and is reversed, and nobody asked")));
    }
    if now.state == "approved"
        && !matches!(before, "voided" | "completed")
        && books.taken_back.contains(&now.key)
    {
        return Err((Guarantee::G5, format!("payment {id} is approved after its reversal was answered")));
    }
    Ok(())
}

/// G7: a node whose commit has failed does not know what is on its disk. It must not say "not done" (96) of a payment that
/// may live on after the next start.
pub fn g7_a_failed_node_promises_nothing(books: &Books, asked: &Asked, code: &str) -> Result<(), Broken> {
    if code == "96" && asked.money && asked.mti != 400 && books.by_key(&asked.key).is_none() {
        return Err((Guarantee::G7, format!("{:?} is told 96 after a failed commit", asked.key)));
    }
    Ok(())
}

/// G7: after a restart the disk has what was durable before, no more and no less.
pub fn g7_nothing_durable_is_lost(books: &Books, rows: &[Vec<Cell>]) -> Result<(), Broken> {
    if rows.len() != books.payments.len() {
        let text = format!("{} payments were durable, {} are there", books.payments.len(), rows.len());
        return Err((Guarantee::G7, text));
    }
    for row in rows {
        let [id, state] = row.as_slice() else { continue };
        let known = books.payments.get(&id.int()).map_or("", |payment| payment.state.as_str());
        if known != state.text() {
            return Err((Guarantee::G7, format!("payment {} was {known}, is {}", id.int(), state.text())));
        }
    }
    Ok(())
}

/// G11: no two payments share a number, and a payment's numbers never change.
pub fn g11_numbers_are_unique_and_stay(
    books: &Books,
    id: i64,
    before: &str,
    now: &Durable,
) -> Result<(), Broken> {
    let broken = |why: &str| Err((Guarantee::G11, format!("payment {id} ({now:?}) {why}")));
    let Some(known) = books.payments.get(&id) else {
        if !before.is_empty() {
            return broken("was never made");
        }
        if books.rrns.contains(&now.rrn) {
            return broken("has the reference number of another");
        }
        if books.by_network.contains_key(&now.network.0) {
            return broken("has the trace number of another toward the network");
        }
        if books.by_key.contains_key(&now.key) {
            return broken("has the numbers of another at its terminal");
        }
        return Ok(());
    };
    // What was told may get another time toward the network when an operator sends it anew.
    let renewed = now.is_told() && known.network.0 == now.network.0;
    if known.key != now.key || known.rrn != now.rrn || (known.network != now.network && !renewed) {
        return broken("has other numbers now");
    }
    if known.amount != now.amount {
        return Err((Guarantee::G8, format!("payment {id} was {} fen and is {}", known.amount, now.amount)));
    }
    Ok(())
}

/// G11: every number that was used lies in a block that was reserved, and blocks do not overlap.
pub fn g11_gaps_are_explained(books: &Books, blocks: &[Vec<Cell>]) -> Result<(), Broken> {
    let mut reserved: Vec<(i64, i64)> = Vec::new();
    for row in blocks {
        let [first, size] = row.as_slice() else { continue };
        let (first, end) = (first.int(), first.int() + size.int());
        if reserved.last().is_some_and(|(_, before)| first != *before) {
            return Err((
                Guarantee::G11,
                format!("the block from {first} does not follow the one before it"),
            ));
        }
        reserved.push((first, end));
    }
    for id in books.payments.keys() {
        if !reserved.iter().any(|(first, end)| (first..end).contains(&id)) {
            return Err((Guarantee::G11, format!("payment {id} is in no reserved block")));
        }
    }
    Ok(())
}

/// What the network has of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkLine {
    /// Field 11 and field 7.
    pub key: (i64, i64),
    /// Approved and in force, by itself.
    pub stands: bool,
    /// Undone by a void that stands.
    pub voided: bool,
    /// Fen.
    pub amount: i64,
}

/// G8: what stands in the journal stands at the network with the same amount, and the other way round.
pub fn g8_journal_and_network_agree(books: &Books, network: &[NetworkLine]) -> Result<(), Broken> {
    let mut standing: BTreeMap<(i64, i64), &NetworkLine> = BTreeMap::new();
    for line in network.iter().filter(|line| line.stands) {
        if standing.insert(line.key, line).is_some() {
            return Err((Guarantee::G8, format!("the network has {:?} twice", line.key)));
        }
    }
    for (id, payment) in &books.payments {
        let line = standing.remove(&payment.network);
        let counts = matches!(payment.state.as_str(), "approved" | "voided" | "completed");
        let money = payment.kind != "balance";
        match line {
            None if counts && money => {
                let text = format!("payment {id} ({}) is {} here and not there", payment.kind, payment.state);
                return Err((Guarantee::G8, text));
            }
            Some(line) if !counts && money => {
                let text =
                    format!("payment {id} ({}) is {} here and {line:?} there", payment.kind, payment.state);
                return Err((Guarantee::G8, text));
            }
            Some(line) if money && line.amount != payment.amount => {
                return Err((Guarantee::G8, format!("payment {id} has another amount there: {line:?}")));
            }
            Some(line) if money && line.voided != (payment.state == "voided") => {
                return Err((Guarantee::G8, format!("payment {id} is {} here, {line:?}", payment.state)));
            }
            _ => {}
        }
    }
    match standing.into_values().next() {
        None => Ok(()),
        Some(line) => Err((Guarantee::G8, format!("the network has {line:?}, the journal does not"))),
    }
}

/// What a tip adds to its sale: the payments that count with another amount, and that amount.
pub const ADJUSTED: &str = "SELECT id, adjusted FROM payment WHERE adjusted IS NOT NULL";

/// G8: money is neither made nor lost: the books of the network close, and what it owes us is what the journal says.
pub fn g8_money_is_conserved(
    books: &Books,
    adjusted: &[Vec<Cell>],
    trial_balance: i64,
    owed: i64,
) -> Result<(), Broken> {
    if trial_balance != 0 {
        return Err((Guarantee::G8, format!("the network's books do not close: {trial_balance}")));
    }
    let ours: i64 = books
        .payments
        .values()
        .filter(|payment| matches!(payment.state.as_str(), "approved" | "voided"))
        .map(Durable::money)
        .sum();
    let mut added = 0;
    for row in adjusted {
        let [id, total] = row.as_slice() else { continue };
        let counts = |p: &&Durable| matches!(p.state.as_str(), "approved" | "voided");
        added += books.payments.get(&id.int()).filter(counts).map_or(0, |sale| total.int() - sale.amount);
    }
    let ours = ours + added;
    if ours == owed {
        return Ok(());
    }
    Err((Guarantee::G8, format!("the journal says {ours} fen are owed, the network {owed}")))
}

/// G2: at the end, with everything healed and time enough, nothing is left open.
pub fn g2_everything_becomes_known(books: &Books) -> Result<(), Broken> {
    let (payments, queued) = books.open();
    if payments == 0 && queued == 0 {
        return Ok(());
    }
    let open = books.payments.iter().find(|(_, p)| p.state != "approved" && p.state.ends_with("ing"));
    Err((Guarantee::G2, format!("{payments} payments and {queued} messages are still open, as {open:?}")))
}
