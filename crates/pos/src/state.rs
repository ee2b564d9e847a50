//! What a terminal remembers: one document, replaced as a whole.
//!
//! Trace, keys, journal, pending reversal and settlement progress change together, so they live in one file that is
//! written aside, flushed and renamed over the old one. Whatever moment the power goes, the file holds either all
//! of a step or none of it. It is written before a request leaves and again when its answer has been judged.
//! Card numbers and pending messages are sealed under the terminal's own master key; keys are wrapped by it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use receipt::slip::SettlementSlip;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::card::Entry;
use crate::download::Downloaded;
use crate::error::PosError;
use crate::message::{Kind, Side};
use crate::offline::{Queued, Upload};
use crate::rules::Reason;
use crate::script_result::PendingScript;
use crate::security::{KeyRef, MasterKeys, Security, WorkingKeys};
use crate::signature::PendingSignature;

/// Format of the state file; another number is refused.
pub const STATE_VERSION: u32 = 1;

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub version: u32,
    /// The trace number the next request gets.
    pub trace: u32,
    /// 60.2 of the running batch.
    pub batch: u32,
    pub keys: Keys,
    /// The terminal-local day of the last good sign-in; none after a sign-off.
    pub signed_in: Option<String>,
    /// The host demanded a new sign-in.
    pub sign_in_forced: bool,
    /// The host's clock minus the machine's, in seconds.
    pub clock_offset: i64,
    pub reversal: Option<PendingReversal>,
    pub refund: Option<OpenRefund>,
    pub settlement: Option<Progress>,
    pub journal: Vec<Record>,
    pub notices: Vec<Notice>,
    #[serde(default, deserialize_with = "readable")]
    pub last_slip: Option<LastSlip>,
    /// What was downloaded.
    #[serde(default)]
    pub downloaded: Downloaded,
    /// The last chip that could not be read: its card may be swiped for a while.
    #[serde(default)]
    pub chip_failure: Option<ChipFailure>,
    /// What the terminal approved by itself and the host does not have yet, in order.
    #[serde(default)]
    pub queue: Vec<Queued>,
    /// What became of commands for a chip, until the host has heard it.
    #[serde(default)]
    pub script: Option<PendingScript>,
    /// E-signatures that wait.
    #[serde(default)]
    pub signatures: Vec<PendingSignature>,
    /// Chips that refused, for the notices of the batch upload.
    #[serde(default)]
    pub refusals: Vec<ChipRefusal>,
}

/// A chip that refused: offline, or after the host had approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChipRefusal {
    pub trace: u32,
    pub amount_fen: u64,
    pub pan_sealed: String,
    pub entry: Entry,
    pub with_pin: bool,
    pub sequence: u8,
    /// Field 55 of the notice, hexadecimal.
    pub field55: String,
    /// The host had approved and the chip did not accept its answer.
    pub after_answer: bool,
    /// A foreign card.
    #[serde(default)]
    pub foreign: bool,
}

/// A chip that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChipFailure {
    /// The card, masked.
    pub card: String,
    /// Until when its stripe is accepted, in seconds of the machine's clock.
    pub until: i64,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            version: STATE_VERSION,
            trace: 1,
            batch: 1,
            keys: Keys::default(),
            signed_in: None,
            sign_in_forced: false,
            clock_offset: 0,
            reversal: None,
            refund: None,
            settlement: None,
            journal: Vec::new(),
            notices: Vec::new(),
            last_slip: None,
            downloaded: Downloaded::default(),
            chip_failure: None,
            queue: Vec::new(),
            script: None,
            signatures: Vec::new(),
            refusals: Vec::new(),
        }
    }
}

/// Names of the keys; in the software vault they are the keys, wrapped by the terminal's master key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// The terminal master key in its two forms: it is one injected value, used as 3DES or as SM4 key.
    pub master: Option<KeyRef>,
    pub master_sm4: Option<KeyRef>,
    pub working: Option<WorkingKeys>,
}

impl Keys {
    /// Of a master key; what was signed in under another is forgotten.
    pub(crate) fn of(master: MasterKeys) -> Self {
        Self { master: master.des, master_sm4: master.sm4, working: None }
    }

    /// The master key's forms.
    pub(crate) fn masters(&self) -> MasterKeys {
        MasterKeys { des: self.master.clone(), sm4: self.master_sm4.clone() }
    }
}

/// A reversal that waits for its turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingReversal {
    pub kind: Kind,
    pub trace: u32,
    pub amount_fen: u64,
    pub reason: Reason,
    pub attempts: u32,
    /// The 0400 without its reason, sealed.
    pub sealed: String,
    /// Field 38, when an answer had come.
    pub auth_code: Option<String>,
}

/// A refund or completion advice that was sent and whose outcome is not known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenRefund {
    pub trace: u32,
    pub amount_fen: u64,
    /// The 0220, sealed.
    pub sealed: String,
    /// The journal line it becomes when approved.
    pub record: Record,
}

/// An approved transaction of the running batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it was.
    pub kind: Kind,
    /// Its batch, 60.2.
    pub batch: u32,
    /// Its trace, field 11.
    pub trace: u32,
    /// Its amount in fen, as approved.
    pub amount_fen: u64,
    /// First six and last four digits of the card.
    pub pan: String,
    /// The whole number, sealed; batch-up needs it.
    pub(crate) pan_sealed: String,
    /// Expiry, YYMM.
    pub expiry: Option<String>,
    /// How the card was read.
    pub entry: Entry,
    /// Whether a PIN was sent.
    pub with_pin: bool,
    /// Field 37.
    pub rrn: Option<String>,
    /// Field 38.
    pub auth_code: Option<String>,
    /// Terminal-local date and time, `YYYY/MM/DD hh:mm:ss`.
    pub at: String,
    /// Field 15, MMDD.
    pub settle_date: Option<String>,
    /// 44.1.
    pub issuer: Option<String>,
    /// 44.2.
    pub acquirer: Option<String>,
    /// 63.1.
    pub card_org: Option<String>,
    /// 63.2, text for the slip.
    pub remark: Option<String>,
    /// A void of this one was approved.
    pub voided: bool,
    /// Void, refund and completion: what they refer to.
    pub original: Option<Original>,
    /// What a chip added.
    pub chip: Option<ChipRecord>,
    /// How often the slip was printed again.
    pub reprints: u32,
    /// Field 62 of the answer to an instalment sale (periods, item code, first part, fee) or points sale (item code,
    /// points, own part, points left).
    #[serde(default)]
    pub plan: Option<String>,
    /// Of a load from another card's account: the masked number of the card that was loaded.
    #[serde(default)]
    pub purse: Option<String>,
    /// The holder has signed on a screen: the transaction feature code (交易特征码). The image is in a file of its own.
    #[serde(default)]
    pub signed: Option<String>,
    /// What an adjustment or tip made of the amount, in fen.
    #[serde(default)]
    pub adjusted_fen: Option<u64>,
    /// Of what the terminal approved by itself: where its upload stands.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// What was asked for, where the host approved a part of it.
    #[serde(default)]
    pub requested_fen: Option<u64>,
    /// The card of an international organisation (外卡): it counts in the second block of the settlement.
    #[serde(default)]
    pub foreign: bool,
}

impl Record {
    /// What it comes to: the amount, or what an adjustment made of it.
    pub fn total_fen(&self) -> u64 {
        self.adjusted_fen.unwrap_or(self.amount_fen)
    }

    /// Its terminal-local date, MMDD.
    pub fn date(&self) -> String {
        self.at.get(5..10).map(|date| date.replace('/', "")).unwrap_or_default()
    }

    /// Whether it counts in the totals of the batch.
    pub fn counts(&self) -> bool {
        self.kind.side() != Side::None && self.upload != Some(Upload::Cancelled)
    }

    /// Whether the terminal approved it by itself.
    pub fn is_offline(&self) -> bool {
        matches!(self.kind, Kind::OfflineSale | Kind::OfflineChip)
    }
}

/// The transaction that a void or refund refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Its batch, when it is known.
    pub batch: Option<u32>,
    /// Its trace, when it is known.
    pub trace: Option<u32>,
    /// Its reference number.
    pub rrn: Option<String>,
    /// Its date, MMDD.
    pub date: Option<String>,
    /// Its authorisation code, of a pre-authorisation.
    #[serde(default)]
    pub auth_code: Option<String>,
}

/// What a chip transaction leaves for the slip and for batch-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipRecord {
    /// Field 55 of the batch upload, hexadecimal.
    pub field55: String,
    /// Card sequence number.
    pub sequence: u8,
    /// `TC`, or `ARQC` for a tap whose card left before a second cryptogram.
    pub cryptogram_name: String,
    /// The cryptogram, hexadecimal.
    pub cryptogram: String,
    /// Application identifier.
    pub aid: String,
    /// Application label.
    pub label: String,
    /// Terminal verification results.
    pub tvr: String,
    /// Transaction status information.
    pub tsi: String,
    /// Application transaction counter.
    pub atc: String,
    /// Unpredictable number.
    pub un: String,
    /// Application interchange profile.
    pub aip: String,
    /// Issuer application data.
    pub iad: String,
    /// Result of issuer scripts (DF31), when there were any.
    pub script_result: Option<String>,
    /// The holder was verified on a device of theirs (CDCVM).
    #[serde(default)]
    pub on_device: bool,
}

/// Something the operator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When, terminal-local.
    pub at: String,
    /// What.
    pub text: String,
}

/// How far settlement has come: the flags it resumes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Trace of the 0500.
    pub trace: u32,
    /// Field 48 of the 0500.
    pub totals: String,
    /// The host's result for domestic and foreign cards: 1 balanced, 2 not, 3 error.
    pub domestic: u8,
    pub foreign: u8,
    /// Field 15 of the 0510.
    pub settle_date: Option<String>,
    /// Offline details uploaded, as journal indices passed.
    #[serde(default)]
    pub offline_next: usize,
    /// Notices of refused chips uploaded.
    #[serde(default)]
    pub refusal_next: usize,
    /// Stripe details uploaded, as journal indices passed.
    pub stripe_next: usize,
    /// Chip details uploaded, as journal indices passed.
    pub chip_next: usize,
    /// Items the host confirmed.
    pub uploaded: u32,
    /// Items given up after their resends.
    pub skipped: u32,
    /// How often the item at hand was refused.
    pub refusals: u32,
    /// The end message was confirmed.
    pub ended: bool,
}

/// What was printed last.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LastSlip {
    Transaction(Box<Record>),
    Settlement(Box<SettlementSlip>),
}

/// What was printed last, when it can be read; a slip in an older form is let go, everything else stays.
fn readable<'de, D: Deserializer<'de>>(document: D) -> Result<Option<LastSlip>, D::Error> {
    let value = serde_json::Value::deserialize(document)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The terminal's directory: paths, and the lock that keeps a second process out.
#[derive(Debug)]
pub(crate) struct Directory {
    pub path: PathBuf,
    _lock: File,
    /// After the lock, since fields go in their order: whoever hears of it finds the lock free.
    held: Held,
}

/// Says that a directory was let go.
#[derive(Debug, Default)]
struct Held(Released);

impl Drop for Held {
    fn drop(&mut self) {
        let (gone, told) = &*self.0.0;
        *gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_all();
    }
}

/// The end of a terminal's hold on its directory. A terminal that is dropped while it writes holds it until the write has
/// ended: the disk cannot be interrupted, and two may not write.
#[derive(Clone, Debug, Default)]
pub struct Released(Arc<(Mutex<bool>, Condvar)>);

impl Released {
    /// Waits until the directory can be opened again. Blocks for as long as a write takes.
    pub fn wait(&self) {
        let (gone, told) = &*self.0;
        let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        while !*gone {
            gone = told.wait(gone).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Directory {
    /// Takes the directory for this process, creating it when `create`.
    pub(crate) fn take(path: &Path, create: bool) -> Result<Self, PosError> {
        if create {
            fs::create_dir_all(path).map_err(|e| storage("creating", path, e))?;
        } else if !path.join(CONFIG).is_file() {
            return Err(PosError::NotEnrolled(path.to_owned()));
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| storage("opening", &lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock, held: Held::default() }),
            Err(fs::TryLockError::WouldBlock) => Err(PosError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(e)) => Err(storage("locking", &lock_path, e)),
        }
    }

    /// When it is let go.
    pub(crate) fn released(&self) -> Released {
        self.held.0.clone()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The state as it goes to the disk, sealed when there is something to seal it with.
    pub(crate) fn state_bytes(
        &self,
        state: &State,
        sealing: Option<&dyn Security>,
    ) -> Result<Vec<u8>, PosError> {
        let damaged = |reason| PosError::Damaged { path: self.file(STATE), reason };
        let text = Zeroizing::new(serde_json::to_vec(state).map_err(|error| damaged(error.to_string()))?);
        match sealing {
            Some(security) => security.seal(SEALED_STATE, &text),
            None => Ok(text.to_vec()),
        }
    }

    pub(crate) fn write_state(&self, state: &State, sealing: Option<&dyn Security>) -> Result<(), PosError> {
        write_atomic(&self.file(STATE), &self.state_bytes(state, sealing)?)
    }

    pub(crate) fn load_state(&self, sealing: Option<&dyn Security>) -> Result<State, PosError> {
        let path = self.file(STATE);
        let state: State = match sealing {
            None => read_json(&path)?,
            Some(security) => {
                let sealed = fs::read(&path).map_err(|e| storage("reading", &path, e))?;
                let text = security.open(SEALED_STATE, &sealed)?;
                serde_json::from_slice(&text)
                    .map_err(|e| PosError::Damaged { path: path.clone(), reason: e.to_string() })?
            }
        };
        if state.version != STATE_VERSION {
            return Err(PosError::Damaged { path, reason: format!("format {} is not known", state.version) });
        }
        Ok(state)
    }
}

const SEALED_STATE: &[u8] = b"pos/state";

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const MASTER_KEY: &str = "master.key";

fn storage(what: &'static str, path: &Path, source: std::io::Error) -> PosError {
    PosError::Storage { what, path: path.to_owned(), source }
}

/// Reads a JSON document.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PosError> {
    let text = fs::read(path).map_err(|e| storage("reading", path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| PosError::Damaged { path: path.to_owned(), reason: e.to_string() })
}

/// Replaces a file as a whole: written aside, flushed, renamed, and the rename flushed. It can be read by its owner alone.
///
/// # Errors
/// The disk. The file is as it was, or as it should be.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), PosError> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&aside)
        .map_err(|e| storage("writing", &aside, e))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| storage("writing", &aside, e))?;
    fs::rename(&aside, path).map_err(|e| storage("replacing", path, e))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|e| storage("flushing", parent, e))
}

/// Writes a JSON document, durably.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), PosError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| PosError::Damaged { path: path.to_owned(), reason: e.to_string() })?;
    write_atomic(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_kept_out_and_a_torn_write_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::take(dir.path(), true).unwrap();
        write_json(&first.file(STATE), &State::new()).unwrap();
        std::fs::write(first.file(STATE).with_extension("new"), b"{ half").unwrap();
        assert_eq!(first.load_state(None).unwrap().trace, 1);
        assert!(matches!(Directory::take(dir.path(), true), Err(PosError::InUse(_))));
        drop(first);
        Directory::take(dir.path(), true).unwrap();
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Directory::take(empty.path(), false), Err(PosError::NotEnrolled(_))));
    }
}
