//! Terminals as models: they make real frames and keep the rules of a terminal. Before anything else moves money an open
//! reversal must be answered; it has the numbers of what it undoes; a refund without an outcome is sent again as it was.

use std::sync::Arc;

use acquiring::master::{Merchant, Terminal as Master, TerminalCipher, TerminalSession};
use acquiring::{MerchantId, TerminalId};
use hsm::{Hsm, KeyAlgorithm, KeyBlobLayout, KeyUsage, MacAlgorithm, WorkingKeys, WrappedKey};
use iso8583::frame::{self, PosHeader, Tpdu};
use iso8583::subfield::{Totals48, TotalsBlock};
use iso8583::{BuildError, CUP_POS, Draft, Message, Mti};
use store::simulation::{Fate, Pace, Wait};

use crate::door::{HEAD, exchange};
use crate::guarantees::Guarantee;
use crate::network::{CARDS, PIN_CARD};
use crate::random::Random;
use crate::world::{World, pause};

mod further;

const MERCHANT: &str = "898100000000001";
/// How often a reversal is sent before the terminal looks at its other work; it stays open all the same.
const REVERSAL_TRIES: u32 = 3;

/// What a transaction is made of: type, field 3, field 25, field 60.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct What(u16, u64, u64, &'static str);

const SALE: What = What(200, 0, 0, "22");
const VOID: What = What(200, 200_000, 0, "23");
const REFUND: What = What(220, 200_000, 0, "25");
const BALANCE: What = What(200, 310_000, 0, "01");
const PREAUTH: What = What(100, 30_000, 6, "10");
const PREAUTH_VOID: What = What(100, 200_000, 6, "11");
const COMPLETION: What = What(200, 0, 6, "20");
const COMPLETION_VOID: What = What(200, 200_000, 6, "21");
const OFFLINE_SALE: What = What(220, 0, 0, "30");
const INSTALMENT: What = What(200, 0, 64, "22");
const INSTALMENT_VOID: What = What(200, 200_000, 64, "23");
const CASH_LOAD: What = What(200, 630_000, 91, "46");
const CASH_LOAD_VOID: What = What(200, 170_000, 91, "51");
const TIP: What = What(220, 0, 0, "34");

/// A transaction that the terminal holds to be approved.
#[derive(Clone, Debug)]
struct Slip {
    what: What,
    batch: u32,
    trace: u64,
    /// What it comes to now.
    amount: u64,
    /// What it was before any tip.
    base: u64,
    card: usize,
    rrn: String,
    auth: Option<String>,
    date: String,
    /// Voided or refunded: nothing more is done with it.
    used: bool,
}

/// What is open: sent, and its outcome not known.
#[derive(Clone, Debug)]
struct Open {
    frame: Vec<u8>,
    trace: u64,
    amount: u64,
    what: What,
}

/// A terminal.
pub struct Terminal {
    id: String,
    hsm: Arc<dyn Hsm>,
    master: WrappedKey,
    keys: Option<WorkingKeys>,
    batch: u32,
    trace: u64,
    random: Random,
    slips: Vec<Slip>,
    reversal: Option<Open>,
    signed_in: bool,
}

/// What came back.
struct Reply {
    code: String,
    rrn: String,
    auth: Option<String>,
    date: String,
    field_48: String,
    field_60: String,
    field_62: Vec<u8>,
}

/// Writes the master data of a world: one merchant and its terminals.
pub async fn furnish(world: &Arc<World>, hsm: Arc<dyn Hsm>, count: u64) -> Vec<Terminal> {
    struct Quick;
    impl Pace for Quick {
        fn before_commit(&self, _: usize) -> Wait<'_, Fate> {
            Box::pin(std::future::ready(Fate::Commit))
        }
        fn after_commit(&self) -> Wait<'_, ()> {
            Box::pin(std::future::ready(()))
        }
        fn before_read(&self) -> Wait<'_, ()> {
            Box::pin(std::future::ready(()))
        }
        fn after_read(&self) -> Wait<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }
    let store = world.disk.open(world.clock.clone(), Arc::new(Quick), 16, 16, false);
    let merchant = MerchantId::new(MERCHANT).expect("an id");
    let row = Merchant {
        id: merchant,
        name: "仿真商户".to_owned(),
        mcc: 5411,
        active: true,
        limit_single: None,
        profile: None,
    };
    store.put_merchant(&row).await.expect("a merchant");
    let mut terminals = Vec::new();
    for number in 1..=count {
        let id = format!("{number:08}");
        let master = hsm.generate(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2).expect("a key");
        let row = Master {
            merchant,
            id: TerminalId::new(&id).expect("an id"),
            active: true,
            cipher: TerminalCipher::TripleDes,
            master_key: master.to_string(),
            session: TerminalSession::NEW,
        };
        store.put_terminal(&row).await.expect("a terminal");
        let random = Random::of(world.options.seed, &id);
        terminals.push(Terminal {
            id,
            hsm: Arc::clone(&hsm),
            master,
            keys: None,
            batch: 1,
            trace: 0,
            random,
            slips: Vec::new(),
            reversal: None,
            signed_in: false,
        });
    }
    store.close().await;
    terminals
}

impl Terminal {
    /// Does so many transactions, in whatever weather.
    pub async fn work(&mut self, world: &Arc<World>, transactions: u64) {
        for _ in 0..transactions {
            pause(self.random.between(10, 4_000)).await;
            if !self.sign_in(world, 3).await || !self.undo(world, REVERSAL_TRIES).await {
                continue;
            }
            match self.random.below(112) {
                0..=44 => self.new_one(world, SALE).await,
                45..=54 => self.new_one(world, PREAUTH).await,
                55..=64 => self.standing_on(world, SALE, VOID).await,
                65..=67 => self.standing_on(world, PREAUTH, PREAUTH_VOID).await,
                68..=74 => self.standing_on(world, PREAUTH, COMPLETION).await,
                75..=77 => self.standing_on(world, COMPLETION, COMPLETION_VOID).await,
                78..=85 => self.refund(world).await,
                86..=90 => self.offline(world).await,
                91..=93 => self.balance(world).await,
                94..=96 => self.signed_in = false,
                97..=99 => self.instalment(world).await,
                100 => self.standing_on(world, INSTALMENT, INSTALMENT_VOID).await,
                101..=103 => self.cash_load(world).await,
                104 => self.cash_load_void(world).await,
                105..=107 => self.tip(world).await,
                108..=109 => self.script_result(world).await,
                _ => self.settle(world).await,
            }
        }
    }

    /// Ends what is open, when everything works again.
    pub async fn clear(&mut self, world: &Arc<World>) {
        for _ in 0..200 {
            if self.sign_in(world, 20).await && self.undo(world, REVERSAL_TRIES).await {
                return;
            }
            pause(2_000).await;
        }
        world.broken(Guarantee::G9, format!("terminal {} cannot come to an end", self.id));
    }

    fn head(&mut self, mti: u16) -> Result<Draft, BuildError> {
        self.trace = self.trace % 999_999 + 1;
        let mut draft = Draft::new();
        draft.start(&CUP_POS, Mti::new(mti));
        draft.put_number(11, self.trace)?;
        draft.put_text(41, &self.id)?;
        draft.put_text(42, MERCHANT)?;
        Ok(draft)
    }

    fn frame(&self, draft: &Draft, signed: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(300);
        let header = Some(PosHeader::new([0x60, 0x32, 0x00, 0x32, 0x00, 0x01]));
        let mark = frame::begin_pos(&mut out, Tpdu::new([0x60, 0, 0x03, 0, 0]), header);
        match (&self.keys, signed) {
            (Some(keys), true) => draft
                .write_with_mac::<BuildError>(&mut out, |block| {
                    Ok(self.hsm.mac(&keys.mac, MacAlgorithm::CupEcb, block).expect("a MAC"))
                })
                .expect("a message"),
            _ => draft.write(&mut out).expect("a message"),
        }
        frame::finish_pos(&mut out, mark).expect("a frame");
        out
    }

    /// Sends and waits; an answer whose MAC is wrong is none.
    async fn send(&mut self, world: &Arc<World>, frame: &[u8], patience_ms: u64) -> Option<Reply> {
        let bytes = exchange(world, frame, patience_ms).await?;
        let message = CUP_POS.parse(bytes.get(HEAD..)?).ok()?;
        let code = message.text(39)?.to_owned();
        if let (Some(block), Some(mac), Some(keys)) = (message.mac_block(), message.bytes_of(64), &self.keys)
        {
            let good = self.hsm.verify_mac(&keys.mac, MacAlgorithm::CupEcb, block, mac).unwrap_or(false);
            if !good && code == "00" {
                return None;
            }
        }
        if matches!(code.as_str(), "77" | "A0") {
            self.signed_in = false;
        }
        Some(read(&message, code))
    }

    async fn sign_in(&mut self, world: &Arc<World>, tries: u32) -> bool {
        for _ in 0..tries {
            if self.signed_in {
                return true;
            }
            let mut draft = self.head(800).expect("a message");
            draft.put_digits(60, &format!("00{:06}003", self.batch)).expect("field 60");
            draft.put_text(63, "01 ").expect("field 63");
            let frame = self.frame(&draft, false);
            if let Some(reply) = self.send(world, &frame, world.weather().terminal_patience_ms).await
                && reply.code == "00"
            {
                let layout = KeyBlobLayout::Double40;
                match WorkingKeys::from_blob(self.hsm.as_ref(), layout, &reply.field_62, &self.master) {
                    Ok(keys) => self.keys = Some(keys),
                    Err(error) => {
                        world.broken(Guarantee::G9, format!("terminal {} gets no keys: {error}", self.id));
                        return false;
                    }
                }
                let batch = reply.field_60.get(2..8).and_then(|digits| digits.parse().ok());
                // The host may have closed a batch whose last answer was lost.
                if let Some(batch) = batch
                    && batch != self.batch
                {
                    self.batch = batch;
                    self.slips.retain(|slip| slip.what == PREAUTH);
                }
                self.signed_in = true;
                world.note(format!("terminal {} is signed in, batch {}", self.id, self.batch));
                return true;
            }
            pause(self.random.between(200, 2_000)).await;
        }
        false
    }

    fn money(&mut self, what: What, amount: u64, card: usize) -> Draft {
        let batch = self.batch;
        let What(mti, processing, condition, kind) = what;
        let mut make = || -> Result<Draft, BuildError> {
            let mut draft = self.head(mti)?;
            draft.put_number(3, processing)?;
            if amount > 0 {
                draft.put_number(4, amount)?;
            }
            draft.put_digits(22, "022")?;
            draft.put_number(25, condition)?;
            draft.put_digits(35, CARDS[card].1)?;
            draft.put_text(49, "156")?;
            draft.put_digits(60, &format!("{kind}{batch:06}000500"))?;
            Ok(draft)
        };
        make().expect("a message")
    }

    /// Sends what would have to be reversed; anything but an answer leaves it open.
    async fn reversible(
        &mut self,
        world: &Arc<World>,
        draft: &Draft,
        amount: u64,
        what: What,
    ) -> Option<Reply> {
        let frame = self.frame(draft, true);
        self.reversal = Some(Open { frame: frame.clone(), trace: self.trace, amount, what });
        let reply = self.send(world, &frame, world.weather().terminal_patience_ms).await?;
        // "In work" is the answer to a copy of it, and so may "wrong MAC" be, which nobody vouches for: no outcome.
        if matches!(reply.code.as_str(), "09" | "A0") {
            return None;
        }
        self.reversal = None;
        Some(reply)
    }

    /// A sale or a pre-authorisation.
    async fn new_one(&mut self, world: &Arc<World>, what: What) {
        let card = match self.random.below(10) {
            0 => self.random.between(1, 2) as usize,
            1 | 2 => PIN_CARD,
            _ => 0,
        };
        let amount = self.random.between(1, 150_000);
        let mut draft = self.money(what, amount, card);
        self.with_pin(&mut draft, card);
        let trace = self.trace;
        let Some(reply) = self.reversible(world, &draft, amount, what).await else { return };
        if reply.code == "00" {
            self.keep(what, trace, amount, card, reply);
        }
    }

    fn keep(&mut self, what: What, trace: u64, amount: u64, card: usize, reply: Reply) {
        let Reply { rrn, auth, date, .. } = reply;
        let batch = self.batch;
        self.slips.push(Slip {
            what,
            batch,
            trace,
            amount,
            base: amount,
            card,
            rrn,
            auth,
            date,
            used: false,
        });
    }

    /// A slip of this kind on which nothing stands yet; of this batch, unless it is a pre-authorisation.
    fn any_slip(&mut self, what: What) -> Option<usize> {
        let fits = |slip: &Slip| slip.what == what && !slip.used;
        let open: Vec<usize> =
            self.slips.iter().enumerate().filter(|(_, slip)| fits(slip)).map(|(at, _)| at).collect();
        open.get(self.random.below(open.len() as u64) as usize).copied()
    }

    /// A void or a completion.
    async fn standing_on(&mut self, world: &Arc<World>, original: What, what: What) {
        let Some(at) = self.any_slip(original) else { return };
        let slip = self.slips[at].clone();
        let amount = match what {
            COMPLETION => self.random.between(1, slip.amount * 115 / 100),
            _ => slip.amount,
        };
        let mut draft = self.money(what, amount, slip.card);
        if original != PREAUTH {
            draft.put_text(37, &slip.rrn).expect("field 37");
        }
        if let Some(auth) = &slip.auth {
            draft.put_text(38, auth).expect("field 38");
        }
        let numbers = format!("{:06}{:06}", slip.batch, slip.trace);
        let numbers = if original == PREAUTH { numbers + &slip.date } else { numbers };
        draft.put_digits(61, &numbers).expect("field 61");
        let trace = self.trace;
        let Some(reply) = self.reversible(world, &draft, amount, what).await else { return };
        if reply.code == "00" {
            self.slips[at].used = true;
            self.keep(what, trace, amount, slip.card, reply);
        }
    }

    /// Approved here; told until the host has it.
    async fn offline(&mut self, world: &Arc<World>) {
        let amount = self.random.between(1, 20_000);
        let draft = self.money(OFFLINE_SALE, amount, 0);
        let trace = self.trace;
        if let Some(reply) = self.tell(world, &draft, &[], "an offline sale").await {
            self.keep(OFFLINE_SALE, trace, amount, 0, reply);
        }
    }

    async fn refund(&mut self, world: &Arc<World>) {
        let original = if self.random.below(4) == 0 { COMPLETION } else { SALE };
        let Some(at) = self.any_slip(original) else { return };
        let slip = self.slips[at].clone();
        let amount = self.random.between(1, slip.amount);
        let mut draft = self.money(REFUND, amount, slip.card);
        draft.put_text(37, &slip.rrn).expect("field 37");
        draft.put_digits(61, &format!("000000000000{}", slip.date)).expect("field 61");
        draft.put_text(63, "CUP").expect("field 63");
        let trace = self.trace;
        // The same message until its outcome is known; a refund has no reversal.
        for _ in 0..10_000 {
            let frame = self.frame(&draft, true);
            let reply = self.send(world, &frame, world.weather().terminal_patience_ms).await;
            match reply {
                Some(reply) if reply.code == "00" => {
                    self.slips[at].used = true;
                    return self.keep(REFUND, trace, amount, slip.card, reply);
                }
                Some(reply) if !matches!(reply.code.as_str(), "09" | "77" | "A0") => {
                    // Some of the sale may have been given back before; it stays as it is.
                    return;
                }
                _ => {}
            }
            pause(self.random.between(500, 5_000)).await;
            if !self.sign_in(world, 3).await {
                continue;
            }
        }
        world.broken(Guarantee::G9, format!("a refund of terminal {} never has an outcome", self.id));
    }

    async fn balance(&mut self, world: &Arc<World>) {
        let draft = self.money(BALANCE, 0, 0);
        let frame = self.frame(&draft, true);
        let _ = self.send(world, &frame, world.weather().terminal_patience_ms).await;
    }

    /// Reverses what is open. Whether nothing is any more.
    async fn undo(&mut self, world: &Arc<World>, tries: u32) -> bool {
        for _ in 0..tries {
            let Some(open) = self.reversal.clone() else { return true };
            let batch = self.batch;
            let make = || -> Result<Draft, BuildError> {
                let mut draft = Draft::new();
                draft.start(&CUP_POS, Mti::new(400));
                draft.put_number(3, open.what.1)?;
                draft.put_number(4, open.amount)?;
                draft.put_number(11, open.trace)?;
                draft.put_digits(22, "022")?;
                draft.put_number(25, open.what.2)?;
                draft.put_text(39, "98")?;
                draft.put_text(41, &self.id)?;
                draft.put_text(42, MERCHANT)?;
                draft.put_text(49, "156")?;
                draft.put_digits(60, &format!("{}{batch:06}000500", open.what.3))?;
                Ok(draft)
            };
            let frame = self.frame(&make().expect("a message"), true);
            // A copy of the request itself may cross its reversal: an impatient concentrator sends it again.
            if self.random.below(20) == 0 {
                let (world, frame) = (Arc::clone(world), open.frame.clone());
                tokio::spawn(async move {
                    let _ = exchange(&world, &frame, 60_000).await;
                });
            }
            match self.send(world, &frame, world.weather().terminal_patience_ms).await {
                Some(reply) if matches!(reply.code.as_str(), "77" | "A0") => {
                    if !self.sign_in(world, 3).await {
                        return false;
                    }
                }
                Some(reply) if matches!(reply.code.as_str(), "00" | "25") => {
                    self.reversal = None;
                }
                Some(reply) if matches!(reply.code.as_str(), "12" | "64") => {
                    let text = format!("a reversal of terminal {} is refused {}", self.id, reply.code);
                    return {
                        world.broken(Guarantee::G5, text);
                        false
                    };
                }
                _ => pause(self.random.between(200, 3_000)).await,
            }
        }
        self.reversal.is_none()
    }

    /// Settles the batch and begins the next. The host's result must say that both sides agree.
    pub async fn settle(&mut self, world: &Arc<World>) {
        if self.reversal.is_some() {
            return;
        }
        let mut block = TotalsBlock::default();
        for slip in self.slips.iter().filter(|slip| slip.batch == self.batch) {
            match Self::pays_out(slip.what) {
                Some(true) => {
                    block.credit_fen += slip.amount;
                    block.credit_count += 1;
                }
                Some(false) => {
                    block.debit_fen += slip.amount;
                    block.debit_count += 1;
                }
                None => {}
            }
        }
        let totals = Totals48 { domestic: block, ..Totals48::default() };
        for _ in 0..20 {
            if !self.sign_in(world, 3).await {
                continue;
            }
            let make = |terminal: &mut Terminal| -> Result<Draft, BuildError> {
                let mut draft = terminal.head(500)?;
                draft.put_digits(48, totals.to_digits().as_str())?;
                draft.put_text(49, "156")?;
                draft.put_digits(60, &format!("00{:06}201", terminal.batch))?;
                draft.put_text(63, "01 ")?;
                Ok(draft)
            };
            let batch = self.batch;
            let draft = make(self).expect("a message");
            let frame = self.frame(&draft, true);
            let reply = self.send(world, &frame, world.weather().terminal_patience_ms).await;
            if self.batch != batch {
                return;
            }
            match reply {
                Some(reply) if reply.code == "00" => {
                    let result = reply.field_48.as_bytes().get(30).copied().unwrap_or(0);
                    world.note(format!("terminal {} settles batch {batch}: {}", self.id, result as char));
                    if result != b'1' {
                        let text = format!(
                            "batch {batch} of terminal {} does not balance: {block:?}, {}",
                            self.id, reply.field_48
                        );
                        return world.broken(Guarantee::G8, text);
                    }
                    return self.end_batch(world).await;
                }
                _ => pause(self.random.between(200, 2_000)).await,
            }
        }
    }

    async fn end_batch(&mut self, world: &Arc<World>) {
        let batch = self.batch;
        for _ in 0..20 {
            if !self.sign_in(world, 3).await {
                continue;
            }
            if self.batch != batch {
                return;
            }
            let make = |terminal: &mut Terminal| -> Result<Draft, BuildError> {
                let mut draft = terminal.head(320)?;
                draft.put_digits(48, "0000")?;
                draft.put_digits(60, &format!("00{batch:06}207"))?;
                Ok(draft)
            };
            let draft = make(self).expect("a message");
            let frame = self.frame(&draft, true);
            let reply = self.send(world, &frame, world.weather().terminal_patience_ms).await;
            if reply.is_some_and(|reply| reply.code == "00") {
                self.batch = if batch == 999_999 { 1 } else { batch + 1 };
                self.slips.retain(|slip| slip.what == PREAUTH);
                return;
            }
            pause(self.random.between(200, 2_000)).await;
        }
    }
}

fn read(message: &Message<'_>, code: String) -> Reply {
    let text = |field| message.text(field).unwrap_or_default().to_owned();
    let digits = |field| message.digits(field).map(|digits| digits.as_str().to_owned()).unwrap_or_default();
    Reply {
        code,
        rrn: text(37),
        auth: message.text(38).map(str::to_owned),
        date: digits(13),
        field_48: digits(48),
        field_60: digits(60),
        field_62: message.bytes_of(62).unwrap_or_default().to_vec(),
    }
}
