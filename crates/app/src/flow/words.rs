//! What the flow and its shell say to one another: orders, steps, events, as data. Nothing here holds a card number, a
//! key or a device.

use receipt::Part;
use serde::{Deserialize, Serialize};

use super::{Points, Trade};
use crate::view::{Input, View};

/// How an earlier transaction is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// There is none.
    Nothing,
    /// By its voucher number (凭证号), within the batch.
    Trace,
    /// By reference number (参考号) and date.
    Reference,
    /// By authorisation code (授权码) and date.
    Authorisation,
}

/// The transaction that an order refers to, as far as it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Voucher number, field 11.
    pub trace: Option<u32>,
    /// Reference number, field 37.
    pub reference: Option<String>,
    /// Authorisation code, field 38.
    pub auth_code: Option<String>,
    /// Its date, MMDD.
    pub date: Option<String>,
}

impl Original {
    /// Whether it says what `names` asks for.
    pub fn is_named(&self, names: Names) -> bool {
        match names {
            Names::Nothing => true,
            Names::Trace => self.trace.is_some(),
            Names::Reference => self.reference.is_some() && self.date.is_some(),
            Names::Authorisation => self.auth_code.is_some() && self.date.is_some(),
        }
    }
}

/// Which slips the terminal prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Print {
    /// Both copies.
    #[default]
    Both,
    /// The merchant's.
    Merchant,
    /// The cardholder's.
    Cardholder,
    /// Nothing: the caller prints, or nobody does.
    Nothing,
}

impl Print {
    /// The first copy, and what comes after `part`.
    pub const fn after(self, part: Option<Part>) -> Option<Part> {
        match (self, part) {
            (Self::Both | Self::Merchant, None) => Some(Part::Merchant),
            (Self::Cardholder, None) | (Self::Both, Some(Part::Merchant)) => Some(Part::Cardholder),
            _ => None,
        }
    }
}

/// One order to the terminal: by the cashier at its keys, or by another app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who orders: the package of an app, `till:…`, or [`Order::CASHIER`].
    pub caller: String,
    /// The caller's number for it, unique with this caller.
    pub request_id: String,
    /// What.
    pub trade: Trade,
    /// In fen, when it is given.
    pub amount: Option<u64>,
    /// What it refers to.
    pub original: Original,
    /// Number of instalments.
    pub periods: Option<u8>,
    /// Whose points pay.
    #[serde(default)]
    pub points: Option<Points>,
    /// Which slips.
    pub print: Print,
    /// The result is not shown: the caller goes on with it.
    pub skip_result: bool,
    /// What else the caller wants people to see.
    #[serde(default)]
    pub wishes: Wishes,
}

/// What another app wants people to see of its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// The language of its screens and texts.
    pub lang: Option<Lang>,
    /// What is bought, in one line, beside the amount.
    pub note: Option<String>,
    /// How long its result stays, in milliseconds.
    pub result_ms: Option<u32>,
    /// Who sells, in the caller's own numbers.
    pub operator: Option<String>,
}

/// A language of screens and texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lang {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Order {
    /// The caller of what the cashier orders.
    pub const CASHIER: &'static str = "cashier";

    /// An order of the cashier's.
    pub fn by_cashier(trade: Trade, request_id: String) -> Self {
        Self {
            caller: Self::CASHIER.to_owned(),
            request_id,
            trade,
            amount: None,
            original: Original::default(),
            periods: None,
            points: None,
            print: Print::Both,
            skip_result: false,
            wishes: Wishes::default(),
        }
    }

    /// Whether the cashier ordered it.
    pub fn is_cashiers(&self) -> bool {
        self.caller == Self::CASHIER
    }
}

/// How far an order has come, for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Taken on, before the card is read.
    Accepted(Box<Order>),
    /// About to be sent (or done, where the host is not asked) with these numbers: from here on its outcome is not known
    /// before host or protocol have told it.
    Online {
        /// Batch, 60.2.
        batch: u32,
        /// Trace, field 11.
        trace: u32,
    },
    /// Over, with this result; before anybody is told.
    Ended(Box<Ending>),
    /// A copy is on paper.
    Printed(Part),
    /// Whoever ordered it knows.
    Returned,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It stands.
    Approved,
    /// It does not.
    Declined,
    /// Not known yet.
    Unknown,
}

/// The end of an order, for screen, journal and caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Approved, declined, or not known.
    pub outcome: Outcome,
    /// Why, when no host said it.
    pub why: Why,
    /// What the host said, when it was asked.
    pub host: Option<HostSays>,
}

impl Ending {
    /// Without a host's word.
    pub fn here(why: Why) -> Self {
        Self { outcome: Outcome::Declined, why, host: None }
    }
}

/// Why an order ended as it did, apart from field 39.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Why {
    /// The host's word.
    Host,
    /// Cashier or customer broke it off.
    Cancelled,
    /// Nobody did anything.
    TimedOut,
    /// A supervisor did not agree.
    Supervisor,
    /// The card declined, or its kernel.
    Card {
        /// The kernel's reason.
        reason: String,
    },
    /// The host approved, the card refused, and the payment was or will be reversed.
    CardRefused,
    /// Sent, no usable answer; reversed since.
    Reversed,
    /// Sent, no usable answer, and not reversed yet.
    NoAnswer,
    /// The terminal lost power before anything was sent.
    Interrupted,
    /// A device.
    Device {
        /// Kind of the error.
        kind: String,
        /// Its text.
        text: String,
    },
    /// The terminal may not, or cannot.
    Terminal(Trouble),
}

/// What stood in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// In words, for people.
    pub text: String,
}

/// Kinds of trouble, as far as the flow treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// No terminal master key.
    NoMasterKey,
    /// The terminal must sign in.
    MustSignIn,
    /// No connection: nothing was sent.
    NoConnection,
    /// A reversal is pending and cannot be delivered.
    ReversalPending,
    /// A refund's outcome is not known.
    RefundOpen,
    /// A settlement is under way.
    SettlementOpen,
    /// The batch is full.
    BatchFull,
    /// The original is not in this batch.
    NotFound,
    /// The original cannot be voided or adjusted.
    NotPossible,
    /// Something keyed is wrong.
    Input,
    /// A device of the terminal.
    Device,
    /// Anything else.
    Other,
}

/// What the host said, or did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSays {
    /// What became of it.
    pub status: Option<HostStatus>,
    /// Field 39.
    pub code: Option<String>,
    /// Text in Chinese.
    pub text_zh: String,
    /// Text in English.
    pub text_en: String,
    /// Trace, field 11.
    pub trace: u32,
    /// Batch, 60.2.
    pub batch: u32,
    /// In fen, as approved.
    pub amount: Option<u64>,
    /// Card number, masked.
    pub card: Option<String>,
    /// Reference number, field 37.
    pub reference: Option<String>,
    /// Authorisation code, field 38.
    pub auth_code: Option<String>,
    /// Settlement date, MMDD.
    pub settle_date: Option<String>,
    /// Balance in fen; below zero when it is owed.
    pub balance: Option<i64>,
    /// A reversal is pending now.
    pub reversal: bool,
    /// The holder is to sign for it: the transaction feature code (交易特征码) that belongs behind the signature.
    #[serde(default)]
    pub sign: Option<String>,
    /// What the operator must know besides.
    pub notices: Vec<String>,
}

/// How a request to the host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// Approved, by the card too.
    Approved,
    /// Declined by the host.
    Declined,
    /// Declined by the card before anything was sent.
    DeclinedByCard,
    /// Approved by the host, refused by the card.
    CardRefused,
    /// No answer, or one that cannot be used.
    NoAnswer,
}

/// A card was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Card {
    /// Swiped.
    Swiped {
        /// First six and last four.
        masked: String,
    },
    /// Swiped, and it has a chip.
    UseChip,
    /// In the slot.
    Inserted,
    /// In the field.
    Tapped,
    /// Its number was keyed.
    Keyed {
        /// First six and last four.
        masked: String,
    },
}

/// How the card is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Stripe.
    Swipe,
    /// Stripe after the chip failed.
    Fallback,
    /// Chip in the slot.
    Chip,
    /// Contactless.
    Tap,
    /// Keyed.
    Keyed,
}

/// What a kernel wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelSays {
    /// The holder chooses.
    Select(Vec<String>),
    /// The holder confirms the application.
    Confirm(String),
    /// The PIN for the host.
    Pin {
        /// First six and last four.
        masked: String,
        /// Confirming without digits is allowed.
        bypass: bool,
    },
    /// The PIN for the card.
    OfflinePin {
        /// Tries left.
        tries: Option<u8>,
    },
    /// To the host.
    Online {
        /// First six and last four.
        masked: String,
    },
    /// Declined here, or the card was only read.
    Declined(String),
    /// The card approved without the host.
    ApprovedOffline,
    /// The chip cannot be read: the stripe may be swiped.
    Fallback,
    /// Present it in another way.
    Other(crate::view::Hint),
    /// It left the antenna after it had approved and before that could be read (闪卡): whether it has counted the payment
    /// is not known, so the same card is asked for.
    Torn,
    /// After that another card came. Nothing was done with it.
    OtherCard,
    /// It broke off.
    Terminated(String),
}

/// What to do with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelCall {
    /// Begin with the card that was presented.
    Start,
    /// This application.
    Choose(usize),
    /// The application is right.
    Confirmed,
    /// The PIN is in its block.
    PinEntered,
    /// Confirmed without a PIN.
    PinBypassed,
    /// Break off.
    Abort,
}

/// What became of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinSays {
    /// In its block.
    Entered,
    /// Confirmed without digits.
    Bypassed,
}

/// What became of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignSays {
    /// It is kept, and goes to the host.
    Taken,
    /// Next to nothing was drawn.
    Empty,
    /// On paper, then: the holder would not, nobody came, or it could not be kept.
    OnPaper,
}

/// A thing to be done that asks the host about more than one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desk {
    /// 签到
    SignIn,
    /// 签退
    SignOff,
    /// 结算
    Settle,
    /// 参数下载
    Download,
    /// 回响测试
    Echo,
    /// What waits (offline sales, tips, signatures, script results) goes up.
    Upload,
    /// The pending reversal, or the open refund, is sent again.
    Repeat,
}

/// What another app asks for that is no trade. The counter stays where it is; the terminal is busy meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Who asks.
    pub caller: String,
    /// The caller's number for it.
    pub request_id: String,
    /// What.
    pub what: Chore,
    /// Which slips of a reprint; of a settlement, whether its own is printed.
    pub print: Print,
    /// The language of what the caller is told.
    pub lang: Option<Lang>,
}

/// Kinds of errands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// What the cashier would do at the menu.
    Desk(Desk),
    /// Print a transaction of this batch again.
    Reprint {
        /// Its voucher number.
        trace: u32,
    },
}

/// What the shell does next, and comes back with an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Wait for a person, or for an order.
    Wait,
    /// After a start: settle what was under way when the power went.
    Recover,
    /// Write down how far the order is: durable when it is done.
    Journal(Mark),
    /// Look at operator number and password.
    Login {
        /// Number.
        operator: String,
        /// Password.
        password: String,
        /// Must be a supervisor's.
        supervisor: bool,
    },
    /// Send what must go before a new transaction, signing in first when that is needed.
    Prepare,
    /// Tell the numbers of the next transaction, which the terminal approves by itself: the host is not asked.
    Number,
    /// Look up the original in the batch.
    Find(u32),
    /// Wait for a card.
    Detect {
        /// The stripe of a chip card is accepted.
        fallback: bool,
        /// Stripe, slot and field; which of them.
        stripe: bool,
        /// The slot.
        slot: bool,
        /// The field.
        field: bool,
        /// The card read before it stays at hand: it pays, and this one is loaded.
        second: bool,
    },
    /// Work the kernel.
    Kernel(KernelCall),
    /// Take the PIN.
    Pin {
        /// Without digits is allowed.
        bypass: bool,
    },
    /// Send the order.
    Send(Reading),
    /// Send the pending reversal.
    Reverse,
    /// Switch the antenna off, or wait until the slot is empty.
    RemoveCard,
    /// Print a copy of the last transaction; `again` marks it as a reprint.
    Print {
        /// Which.
        part: Part,
        /// An earlier try may have left a part of it on paper.
        again: bool,
    },
    /// Print an earlier transaction, or the last slip.
    Reprint(Option<u32>),
    /// Do it.
    Desk(Desk),
    /// Tell the caller, and let the order go.
    Return,
    /// A list of the batch: which page.
    List(usize),
    /// What waits to go to the host.
    Waiting,
    /// Take the holder's signature for a transaction.
    Sign {
        /// Its trace.
        trace: u32,
        /// What belongs behind it.
        code: String,
    },
    /// Read the code of a slip.
    Scan,
}

/// What the screen shows, and what is done meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The screen.
    pub view: View,
    /// What to do.
    pub effect: Effect,
}

/// An order that was under way when the power went, settled since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What was ordered.
    pub order: Order,
    /// Its end.
    pub ending: Ending,
    /// The copy that should be on paper and is not.
    pub unprinted: Option<Part>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A person did something.
    Input(Input),
    /// Nobody did anything in the time that the screen had.
    Idle,
    /// What was under way is settled.
    Recovered {
        /// An order that people have to hear of, and what became of it.
        order: Option<Box<Recovered>>,
        /// A settlement was cut off, and has to go on.
        settling: bool,
    },
    /// Nobody is at the counter, and a settlement that was cut off waits.
    Unsettled,
    /// Another app orders.
    Order(Box<Order>),
    /// It is done.
    Done,
    /// It is not.
    Failed(Trouble),
    /// The operator is known.
    Operator(crate::operators::Operator),
    /// Ready for the next transaction, which has these numbers.
    Ready {
        /// Batch.
        batch: u32,
        /// Trace.
        trace: u32,
        /// What went before it.
        preceding: Vec<HostSays>,
    },
    /// The original.
    Found(Box<crate::view::Line>),
    /// A card came.
    Card(Card),
    /// The card shall be presented once more.
    Again(crate::view::Hint),
    /// No card (or no PIN) came in time, or somebody cancelled.
    NoCard(Why),
    /// The kernel.
    Kernel(KernelSays),
    /// The PIN pad.
    Pin(PinSays),
    /// The host.
    Host(Box<HostSays>),
    /// A page of the batch.
    Page(Box<crate::view::Page>),
    /// What waits to go to the host.
    Waiting(Vec<crate::view::Waiting>),
    /// The signature.
    Signed(SignSays),
    /// The transaction whose slip was scanned.
    Scanned(Box<crate::view::Line>),
    /// Something printed, or done, worth telling.
    Told(Box<HostSays>),
}
