//! Screens as data: what is shown, in no language. Whoever draws the screen has the words.

use receipt::Part;
use serde::{Deserialize, Serialize};

use crate::flow::{Desk, Ending, Lang, Names, Points, Reading, Trade, Trouble};

/// A hint about the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// None.
    Nothing,
    /// The card has a chip: insert it.
    Insert,
    /// Tap it.
    Tap,
    /// It left the antenna too early: tap the same card again.
    TapSame,
    /// Swipe it.
    Swipe,
    /// The chip cannot be read: take it out and try again.
    TryAgain,
    /// The chip cannot be read: swipe it.
    Fallback,
    /// One card only.
    OneCard,
    /// The stripe was not read.
    SwipeAgain,
    /// The number is mistyped, or its expiry is.
    KeyAgain,
}

/// What the terminal is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Busy {
    /// Starting.
    Starting,
    /// Something short.
    Working,
    /// Getting ready: signing in, clearing a reversal.
    Preparing,
    /// Reading the chip.
    Reading,
    /// With the host.
    Online,
    /// Reversing.
    Reversing,
    /// Printing.
    Printing,
    /// A desk function.
    Desk,
}

/// A transaction in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Voucher number.
    pub trace: u32,
    /// Batch.
    pub batch: u32,
    /// Name, Chinese.
    pub zh: String,
    /// Name, English.
    pub en: String,
    /// In fen.
    pub amount: u64,
    /// Money goes back to the card.
    pub credit: bool,
    /// Card, masked.
    pub card: String,
    /// Terminal-local date and time.
    pub at: String,
    /// Voided since.
    pub voided: bool,
    /// It is in the running batch of this terminal.
    pub here: bool,
    /// What can be done with it.
    pub offers: Vec<Trade>,
    /// Reference number.
    pub reference: Option<String>,
    /// Authorisation code.
    pub auth_code: Option<String>,
    /// Date, MMDD.
    pub date: String,
    /// How often it was printed again.
    pub reprints: u32,
}

/// Something that waits to go to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Name, Chinese.
    pub zh: String,
    /// Name, English.
    pub en: String,
    /// Voucher number of what it is about.
    pub trace: u32,
    /// In fen, when it moves money.
    pub amount: Option<u64>,
    /// How often it was sent without an answer that settles it.
    pub attempts: u32,
}

/// A page of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// From 0.
    pub page: usize,
    /// How many there are.
    pub pages: usize,
    /// Newest first.
    pub lines: Vec<Line>,
    /// Totals of the batch, in fen: debits and credits with their counts.
    pub debit: (u64, u32),
    /// Credits.
    pub credit: (u64, u32),
}

/// How the terminal is, for the top of the menu.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Signed in today.
    pub signed_in: bool,
    /// It may sell without asking the host.
    pub sells_offline: bool,
    /// Operator's number.
    pub operator: String,
    /// The operator is a supervisor.
    pub supervisor: bool,
    /// Running batch.
    pub batch: u32,
    /// Transactions in it.
    pub count: usize,
    /// A reversal waits.
    pub reversal: bool,
    /// A refund's outcome is not known.
    pub refund_open: bool,
    /// A settlement was cut off.
    pub settlement_open: bool,
    /// Uploads that wait.
    pub waiting: usize,
    /// Merchant's name.
    pub merchant_name: String,
    /// Merchant number.
    pub merchant: String,
    /// Terminal number.
    pub terminal: String,
    /// The language of the order under way, when whoever ordered it has named one.
    #[serde(default)]
    pub lang: Option<Lang>,
    /// What is bought, in the words of whoever ordered it.
    #[serde(default)]
    pub note: Option<String>,
    /// Its card, masked, once it is known.
    #[serde(default)]
    pub card: Option<String>,
}

/// A screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "view", rename_all = "snake_case")]
pub enum View {
    /// Who works here?
    Login {
        /// Wrong password last time.
        wrong: bool,
    },
    /// The menu.
    Menu {
        /// A notice, once.
        notice: Option<String>,
    },
    /// How much?
    Amount {
        /// Of what.
        trade: Trade,
        /// What was wrong with the last one.
        wrong: Option<String>,
    },
    /// Which transaction?
    Original {
        /// Of what.
        trade: Trade,
        /// How it is named.
        names: Names,
        /// What was wrong with the last one.
        wrong: Option<String>,
    },
    /// This one?
    ConfirmOriginal {
        /// What is done.
        trade: Trade,
        /// To this.
        line: Line,
    },
    /// How many instalments?
    Periods {
        /// In fen.
        amount: u64,
        /// What was wrong with the last one.
        wrong: Option<String>,
    },
    /// Whose points?
    Points {
        /// In fen.
        amount: u64,
    },
    /// The code that the issuer gave by telephone?
    Voice {
        /// In fen.
        amount: u64,
        /// The amount is above the limit: without a code it cannot be.
        needed: bool,
        /// The limit, in fen.
        limit: u64,
        /// What was wrong with the last one.
        wrong: Option<String>,
    },
    /// A supervisor, please.
    Supervisor {
        /// For what.
        trade: Option<Trade>,
        /// Wrong password last time.
        wrong: bool,
    },
    /// Present a card.
    Card {
        /// For what.
        trade: Trade,
        /// In fen.
        amount: Option<u64>,
        /// Which ways.
        stripe: bool,
        /// Slot.
        slot: bool,
        /// Field.
        field: bool,
        /// What was wrong.
        hint: Hint,
        /// The number may be keyed.
        keyed: bool,
        /// It is the card that is loaded; the one that pays was read.
        second: bool,
    },
    /// Which application?
    Select {
        /// By priority.
        candidates: Vec<String>,
    },
    /// PIN, please; the pad draws itself over this.
    Pin {
        /// For what.
        trade: Trade,
        /// In fen.
        amount: Option<u64>,
        /// Card, masked.
        card: String,
        /// Without digits is allowed.
        bypass: bool,
    },
    /// Wait.
    Busy {
        /// With what.
        with: Busy,
        /// For what.
        trade: Option<Trade>,
        /// Which desk function.
        desk: Option<Desk>,
        /// In fen.
        amount: Option<u64>,
    },
    /// Take your card.
    RemoveCard,
    /// The end.
    Result {
        /// Of what.
        trade: Trade,
        /// In fen, as ordered.
        amount: Option<u64>,
        /// How it was read.
        reading: Option<Reading>,
        /// How it ended.
        ending: Ending,
    },
    /// Please sign; the pad draws itself over this.
    Sign {
        /// For what.
        trade: Trade,
        /// In fen.
        amount: Option<u64>,
        /// What stands behind the signature.
        code: String,
        /// Next to nothing was drawn the last time.
        again: bool,
    },
    /// Hold a slip before the scanner.
    Scan {
        /// For what; nothing: to see what can be done with it.
        trade: Option<Trade>,
    },
    /// Tear the first copy off; the second comes then.
    Tear {
        /// Printed.
        part: Part,
    },
    /// The printer cannot.
    Paper {
        /// Kind of the error.
        problem: String,
        /// Which copy.
        part: Part,
    },
    /// The batch.
    List {
        /// A page.
        page: Page,
    },
    /// One of the batch.
    Detail {
        /// Which.
        line: Line,
    },
    /// What waits to go to the host.
    Waiting {
        /// In the order in which it goes.
        items: Vec<Waiting>,
    },
    /// Settle this?
    ConfirmSettle {
        /// Totals.
        page: Page,
    },
    /// A desk function is done.
    Told {
        /// Which.
        desk: Desk,
        /// What was said.
        says: crate::flow::HostSays,
    },
    /// It cannot be.
    Trouble {
        /// What stood in the way.
        trouble: Trouble,
    },
}

/// What a person does at the screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Input {
    /// Operator number and password.
    Login {
        /// Number.
        operator: String,
        /// Password.
        password: String,
    },
    /// From the menu: a trade.
    Trade {
        /// Which.
        trade: Trade,
    },
    /// From the menu: a desk function.
    Desk {
        /// Which.
        desk: Desk,
    },
    /// From the menu: the batch.
    List {
        /// Page, from 0.
        #[serde(default)]
        page: usize,
    },
    /// One of the list.
    Pick {
        /// Voucher number.
        trace: u32,
    },
    /// An amount in fen.
    Amount {
        /// In fen.
        amount: u64,
    },
    /// The original.
    Original {
        /// Voucher number.
        #[serde(default)]
        trace: Option<u32>,
        /// Reference number.
        #[serde(default)]
        reference: Option<String>,
        /// Authorisation code.
        #[serde(default)]
        auth_code: Option<String>,
        /// MMDD.
        #[serde(default)]
        date: Option<String>,
    },
    /// Number of instalments.
    Periods {
        /// How many.
        periods: u8,
    },
    /// Whose points pay.
    Points {
        /// Whose.
        points: Points,
    },
    /// The code of a telephone; none below the limit.
    Voice {
        /// Six characters.
        #[serde(default)]
        code: Option<String>,
    },
    /// Read the code of a slip: instead of keying its numbers, or from the menu.
    Scan,
    /// From the menu: what waits to go to the host.
    Waiting,
    /// One of the list shown.
    Choose {
        /// Place, from 0.
        index: usize,
    },
    /// A keyed card number.
    Keyed {
        /// The number.
        pan: KeyedPan,
        /// Expiry, YYMM.
        #[serde(default)]
        expiry: Option<String>,
    },
    /// Print the one that is shown again; from the menu the last slip.
    Reprint,
    /// Lock: the next operator logs in.
    LogOut,
    /// The green key.
    Confirm,
    /// The red key.
    Cancel,
}

/// A card number on its way from the keys. `Debug` shows its mask.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyedPan(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for KeyedPan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&pos::mask(&self.0))
    }
}
