//! The terminal: one directory, one state, one line to the host.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::receipt::{ReceiptDoc, slip};
use hsm::SoftVault;
use jiff::civil::DateTime;

use crate::clock::{self, Clock, SystemClock};
use crate::config::{ConnectionMode, TerminalConfig};
use crate::connection::{Dial, Link};
use crate::error::PosError;
use crate::keys::{KeyLayout, MasterKeyChecks, TmkComponent};
use crate::message::{Kind, Request, field60_management, next_in_ring};
use crate::outcome::{Outcome, Status};
use crate::receipt;
use crate::security::{MasterKeys, Security, WorkingKeys};
use crate::state::{
    CONFIG, Directory, Keys, LastSlip, MASTER_KEY, Notice, Record, Released, STATE, State, read_json,
    write_atomic, write_json,
};
use crate::wire::{self, Answer, Judged};

/// Digit 6 of the header that demands a new sign-in.
const REQUIRES_SIGN_IN: u8 = 3;

/// What surrounds a terminal and can be replaced in tests and stories.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The line; TCP to the configured host when none is given.
    pub dial: Option<Arc<dyn Dial>>,
    /// The unpredictable number of chip transactions; random when none is given.
    pub unpredictable: Option<[u8; 4]>,
    /// The security module; a software vault in the terminal's directory when none is given.
    pub security: Option<Arc<dyn Security>>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), dial: None, unpredictable: None, security: None }
    }
}

/// A terminal, held by one process.
pub struct Terminal {
    /// Shared with a write under way, so that nobody else takes the directory before it has ended.
    pub(crate) directory: Arc<Directory>,
    pub(crate) config: TerminalConfig,
    pub(crate) state: State,
    pub(crate) security: Arc<dyn Security>,
    pub(crate) surroundings: Surroundings,
    link: Option<Box<dyn Link>>,
    /// Number of the last state handed to the disk, and of the last one that is on it.
    version: u64,
    written: Arc<Mutex<u64>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("terminal", &self.config.terminal)
            .field("trace", &self.state.trace)
            .field("batch", &self.state.batch)
            .finish_non_exhaustive()
    }
}

/// The security module that surrounds the terminal, or its own vault.
fn secured(
    surroundings: &Surroundings,
    own: impl FnOnce() -> Result<SoftVault, hsm::VaultError>,
) -> Result<Arc<dyn Security>, PosError> {
    match &surroundings.security {
        Some(security) => Ok(Arc::clone(security)),
        None => Ok(Arc::new(own().map_err(|error| PosError::Vault(error.to_string()))?)),
    }
}

/// What the whole state is sealed with: the device's module, where there is one. A lab terminal's state can be read, since
/// its keys lie beside it.
fn sealing(surroundings: &Surroundings) -> Option<&dyn Security> {
    surroundings.security.as_deref()
}

/// What became of a frame on the line.
pub(crate) enum Exchange {
    /// No connection.
    NotSent(std::io::Error),
    /// Sent, and nothing came back; the text says why.
    NoAnswer(String),
    /// A frame came back.
    Received(Vec<u8>),
}

/// A request that was sent and judged, or not.
pub(crate) enum Reply {
    NotSent(std::io::Error),
    NoAnswer(String),
    Judged(Judged, Vec<u8>),
}

impl Terminal {
    /// Makes a terminal in `dir` with its own new master key file.
    ///
    /// # Errors
    /// When the directory holds one already, the configuration is wrong, or files cannot be written.
    pub fn enrol(dir: impl AsRef<Path>, config: TerminalConfig) -> Result<Self, PosError> {
        Self::enrol_in(dir, config, Surroundings::default())
    }

    /// As [`Terminal::enrol`], in other surroundings.
    ///
    /// # Errors
    /// As [`Terminal::enrol`].
    pub fn enrol_in(
        dir: impl AsRef<Path>,
        config: TerminalConfig,
        surroundings: Surroundings,
    ) -> Result<Self, PosError> {
        config.check()?;
        let directory = Directory::take(dir.as_ref(), true)?;
        if directory.file(CONFIG).exists() {
            return Err(PosError::AlreadyEnrolled(directory.path.clone()));
        }
        let key_file = directory.file(MASTER_KEY);
        // A key file without a configuration is what an enrolment cut off half way leaves: nothing depends on it.
        let open = if key_file.exists() { SoftVault::open_file } else { SoftVault::create_file };
        let security = secured(&surroundings, || open(key_file.as_path()))?;
        let state = State::new();
        directory.write_state(&state, sealing(&surroundings))?;
        write_json(&directory.file(CONFIG), &config)?;
        Ok(Self::assemble(directory, config, state, security, surroundings))
    }

    /// Opens the terminal in `dir`, with everything it remembered.
    ///
    /// # Errors
    /// When there is none, another process holds it, or a file is damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, PosError> {
        Self::open_in(dir, Surroundings::default())
    }

    /// As [`Terminal::open`], in other surroundings.
    ///
    /// # Errors
    /// As [`Terminal::open`].
    pub fn open_in(dir: impl AsRef<Path>, surroundings: Surroundings) -> Result<Self, PosError> {
        let directory = Directory::take(dir.as_ref(), false)?;
        let config: TerminalConfig = read_json(&directory.file(CONFIG))?;
        config.check()?;
        let state = directory.load_state(sealing(&surroundings))?;
        let security = secured(&surroundings, || SoftVault::open_file(directory.file(MASTER_KEY)))?;
        Ok(Self::assemble(directory, config, state, security, surroundings))
    }

    fn assemble(
        directory: Directory,
        config: TerminalConfig,
        state: State,
        security: Arc<dyn Security>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            directory: Arc::new(directory),
            config,
            state,
            security,
            surroundings,
            link: None,
            version: 0,
            written: Arc::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &TerminalConfig {
        &self.config
    }

    /// Where the terminal lives.
    pub fn directory(&self) -> &Path {
        &self.directory.path
    }

    /// Its hold on the directory: whoever opens it after this one was dropped in the middle waits for that first.
    pub fn released(&self) -> Released {
        self.directory.released()
    }

    /// Changes the configuration (a new host address, say) and keeps it.
    ///
    /// # Errors
    /// When the new one is wrong or cannot be written.
    pub fn configure(&mut self, config: TerminalConfig) -> Result<(), PosError> {
        config.check()?;
        write_json(&self.directory.file(CONFIG), &config)?;
        self.config = config;
        self.link = None;
        Ok(())
    }

    /// The number of the running batch.
    pub fn batch(&self) -> u32 {
        self.state.batch
    }

    /// The trace number the next request gets.
    pub fn next_trace(&self) -> u32 {
        self.state.trace
    }

    /// Approved transactions of the running batch, oldest first.
    pub fn journal(&self) -> &[Record] {
        &self.state.journal
    }

    /// What the operator was told and may want to read again, oldest first.
    pub fn notices(&self) -> &[Notice] {
        &self.state.notices
    }

    /// The terminal's local time.
    pub fn now(&self) -> DateTime {
        clock::beijing(self.surroundings.clock.now(), self.state.clock_offset)
    }

    /// Why the terminal must sign in before it trades, or nothing.
    pub fn sign_in_needed(&self) -> Option<&'static str> {
        if self.state.keys.working.is_none() {
            Some("there are no working keys")
        } else if self.state.sign_in_forced {
            Some("the host demands it")
        } else {
            match &self.state.signed_in {
                None => Some("the terminal is signed off"),
                Some(day) if *day != self.now().date().to_string() => Some("a new day has begun"),
                Some(_) => None,
            }
        }
    }

    /// Combines the components of the terminal master key and keeps it. Working keys are forgotten: they came under
    /// the old one. `check` is the check value of the whole key.
    ///
    /// # Errors
    /// [`PosError::CheckValue`] or a refusal of the security module; the old key stays.
    pub async fn load_tmk(
        &mut self,
        components: &[TmkComponent],
        check: Option<&str>,
    ) -> Result<MasterKeyChecks, PosError> {
        let (master, checks) = self.security.load_master(components, check)?;
        self.take_master(master).await?;
        Ok(checks)
    }

    /// From now on this is the master key; working keys came under another one.
    pub(crate) async fn take_master(&mut self, master: MasterKeys) -> Result<(), PosError> {
        self.state.keys = Keys::of(master);
        self.state.signed_in = None;
        self.save().await
    }

    /// Signs in: gets working keys, the batch number and the time.
    ///
    /// # Errors
    /// [`PosError::KeysRefused`] when a check value or a length is wrong (the old keys stay),
    /// [`PosError::BatchUnsettled`] when the host has another batch while this one holds transactions.
    pub async fn sign_in(&mut self, layout: KeyLayout) -> Result<Outcome, PosError> {
        if self.state.keys.master.is_none() {
            return Err(PosError::NoMasterKey);
        }
        let batch = self.state.batch;
        let profile = self.config.speech()?;
        let request = self
            .management(Kind::SignIn, &format!("{:03}", layout.network_code(&profile)))
            .text(63, format!("{} ", self.config.operator));
        let (mut outcome, answer) = self.manage(request, batch).await?;
        let Some(answer) = answer.filter(|_| outcome.approved) else { return Ok(outcome) };
        let fresh = self.security.load_working(
            &self.state.keys.masters(),
            self.state.keys.working.as_ref(),
            layout,
            &profile,
            &answer.private,
        )?;
        let offered = answer.batch.unwrap_or(batch);
        if offered != batch && self.holds_transactions() {
            return Err(PosError::BatchUnsettled { held: batch, offered });
        }
        self.state.keys.working = Some(fresh);
        self.state.batch = offered;
        self.state.signed_in = Some(self.now().date().to_string());
        self.state.sign_in_forced = false;
        self.save().await?;
        if self.config.obey_requirements {
            outcome.following = self.obey(answer.requirement).await;
            self.save().await?;
        }
        Ok(outcome)
    }

    /// Signs off. The keys stay until the next sign-in has brought new ones.
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub async fn sign_off(&mut self) -> Result<Outcome, PosError> {
        let batch = self.state.batch;
        let request = self.management(Kind::SignOff, "002");
        let (outcome, _) = self.manage(request, batch).await?;
        if outcome.approved {
            self.state.signed_in = None;
            self.save().await?;
        }
        Ok(outcome)
    }

    /// Tests the line.
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub async fn echo(&mut self) -> Result<Outcome, PosError> {
        let batch = self.state.batch;
        let request = self.management(Kind::Echo, "301");
        Ok(self.manage(request, batch).await?.0)
    }

    /// The text of the last slip, marked as a reprint with its count; the mark is kept.
    ///
    /// # Errors
    /// When nothing was printed yet.
    pub async fn reprint_last(&mut self) -> Result<String, PosError> {
        Ok(receipt::both(&self.mark_last().await?))
    }

    /// The document of the last slip, as it was printed first.
    pub fn last_document(&self) -> Option<ReceiptDoc> {
        self.state.last_slip.as_ref().map(|last| receipt::last(&self.config, last))
    }

    /// The document of the last slip, marked as a reprint with its count; the mark is kept.
    ///
    /// # Errors
    /// When nothing was printed yet.
    pub async fn mark_last(&mut self) -> Result<ReceiptDoc, PosError> {
        let nothing = || PosError::Input("nothing was printed yet".into());
        match self.state.last_slip.as_mut().ok_or_else(nothing)? {
            LastSlip::Transaction(record) => {
                record.reprints += 1;
                let (trace, reprints) = (record.trace, record.reprints);
                if let Some(record) = self.state.journal.iter_mut().find(|record| record.trace == trace) {
                    record.reprints = reprints;
                }
            }
            LastSlip::Settlement(settlement) => settlement.reprints += 1,
        }
        let document = self.last_document().ok_or_else(nothing)?;
        self.save().await?;
        Ok(document)
    }

    /// The slip of a transaction of the running batch, marked as a reprint with its count.
    ///
    /// # Errors
    /// [`PosError::NotFound`].
    pub async fn reprint(&mut self, trace: u32) -> Result<String, PosError> {
        Ok(receipt::both(&self.mark(trace).await?))
    }

    /// The document of a transaction of the running batch, marked as a reprint with its count; the mark is kept.
    ///
    /// # Errors
    /// [`PosError::NotFound`].
    pub async fn mark(&mut self, trace: u32) -> Result<ReceiptDoc, PosError> {
        let found = self.state.journal.iter_mut().find(|record| record.trace == trace);
        let record = found.ok_or(PosError::NotFound(trace))?;
        record.reprints += 1;
        let document = slip::transaction(&receipt::transaction_slip(&self.config, record));
        if let Some(LastSlip::Transaction(last)) = &mut self.state.last_slip
            && last.trace == trace
        {
            last.reprints += 1;
        }
        self.save().await?;
        Ok(document)
    }

    /// Sends what must go before a new transaction (a pending reversal, a script result), so that the next one starts
    /// with nothing behind it and with the trace that [`Terminal::next_trace`] tells.
    ///
    /// # Errors
    /// The terminal may not trade now, or what is pending cannot be sent.
    pub async fn clear_for_next(&mut self) -> Result<Vec<Outcome>, PosError> {
        self.check_ready()?;
        self.clear_the_way().await
    }

    /// The transaction that was printed last, when it was one.
    pub fn last_record(&self) -> Option<&Record> {
        match &self.state.last_slip {
            Some(LastSlip::Transaction(record)) => Some(record),
            _ => None,
        }
    }

    /// The keys of the last sign-in.
    pub fn working_keys(&self) -> Option<&WorkingKeys> {
        self.state.keys.working.as_ref()
    }

    /// Whether something of this batch still needs it.
    pub(crate) fn holds_transactions(&self) -> bool {
        !self.state.journal.is_empty() || self.state.settlement.is_some()
    }

    /// The head of a management message with the next trace.
    pub(crate) fn management(&mut self, kind: Kind, network_code: &str) -> Request {
        let batch = self.state.batch;
        let trace = self.take_trace();
        Request::new(kind)
            .digits(11, format!("{trace:06}"))
            .text(41, self.config.terminal.clone())
            .text(42, self.config.merchant.clone())
            .digits(60, field60_management(kind.row().message_type, batch, network_code))
    }

    /// Sends a message that moves no money and makes an outcome of it.
    pub(crate) async fn manage(
        &mut self,
        request: Request,
        batch: u32,
    ) -> Result<(Outcome, Option<Answer>), PosError> {
        let trace = trace_of(&request);
        let frame = self.frame(&request)?;
        self.save().await?;
        let (mut outcome, answer) = match self.deliver(&request, &frame).await {
            Reply::NotSent(source) => return Err(self.no_connection(source)),
            Reply::NoAnswer(why) => {
                let mut outcome = Outcome::new(request.kind, Status::NoAnswer, trace, batch);
                outcome.notices.push(why);
                (outcome, None)
            }
            Reply::Judged(judged, received) => {
                let (mut outcome, answer) = self.read_judged(&request, judged, trace, batch);
                outcome.response = Some(received);
                (outcome, answer)
            }
        };
        outcome.request = frame;
        self.save().await?;
        Ok((outcome, answer))
    }

    /// Turns a judgement into an outcome and takes over what concerns the terminal itself: clock and sign-in.
    pub(crate) fn read_judged(
        &mut self,
        request: &Request,
        judged: Judged,
        trace: u32,
        batch: u32,
    ) -> (Outcome, Option<Answer>) {
        let effect = crate::rules::after(judged.event());
        self.state.sign_in_forced |= effect.sign_in;
        match judged {
            Judged::Unfitting(why) => {
                let mut outcome = Outcome::new(request.kind, Status::Unusable, trace, batch);
                outcome.notices.push(why);
                (outcome, None)
            }
            Judged::MacWrong => {
                let mut outcome = Outcome::new(request.kind, Status::Unusable, trace, batch);
                outcome.text_zh = "应答MAC错,请重新签到".to_owned();
                outcome.text_en = "the answer's MAC is wrong, sign in again".to_owned();
                (outcome, None)
            }
            Judged::Answer(answer) => {
                self.take_over(&answer);
                let status = if effect.approved { Status::Approved } else { Status::Declined };
                let mut outcome = Outcome::new(request.kind, status, trace, batch).with_code(&answer.code);
                outcome.rrn = answer.rrn.clone();
                outcome.auth_code = answer.auth_code.clone();
                (outcome, Some(*answer))
            }
        }
    }

    /// Clock and demands of an authentic answer.
    fn take_over(&mut self, answer: &Answer) {
        if let (Some(time), Some(date)) = (answer.time, answer.date)
            && let Some(offset) = clock::host_offset(self.surroundings.clock.now(), time, date)
        {
            self.state.clock_offset = offset;
        }
        self.state.sign_in_forced |= answer.requirement == REQUIRES_SIGN_IN;
    }

    /// Writes the frame of a request, signed when its kind is.
    pub(crate) fn frame(&self, request: &Request) -> Result<Vec<u8>, PosError> {
        let keys = self.state.keys.working.as_ref().map(|keys| (self.security.as_ref(), keys));
        wire::write(&self.config, request, keys)
    }

    /// Sends the frame of a request and judges what comes back. The caller has saved the state before. Once a frame
    /// may have left there is no way out by an error: whatever goes wrong is a reply.
    pub(crate) async fn deliver(&mut self, request: &Request, frame: &[u8]) -> Reply {
        match self.exchange(frame).await {
            Exchange::NotSent(source) => Reply::NotSent(source),
            Exchange::NoAnswer(why) => Reply::NoAnswer(why),
            Exchange::Received(received) => {
                let keys = self.state.keys.working.as_ref().map(|keys| (self.security.as_ref(), keys));
                let judged = wire::judge(&self.config, request, keys, &received)
                    .unwrap_or_else(|error| Judged::Unfitting(error.to_string()));
                Reply::Judged(judged, received)
            }
        }
    }

    /// One frame out, one frame in. A link that failed or fell silent is closed: whatever comes late on it must not
    /// meet the next request.
    async fn exchange(&mut self, frame: &[u8]) -> Exchange {
        let mut link = match self.link.take().and_then(|mut link| link.is_usable().then_some(link)) {
            Some(link) => link,
            None => match self.dialer().dial().await {
                Ok(link) => link,
                Err(error) => return Exchange::NotSent(error),
            },
        };
        if let Err(error) = link.send(frame).await {
            return Exchange::NoAnswer(format!("the line broke while sending: {error}"));
        }
        match tokio::time::timeout(self.config.answer_timeout(), link.receive()).await {
            Err(_) => Exchange::NoAnswer(format!("no answer in {} ms", self.config.answer_timeout_ms)),
            Ok(Err(error)) => Exchange::NoAnswer(format!("the line broke while waiting: {error}")),
            Ok(Ok(received)) => {
                if self.config.connection == ConnectionMode::Kept {
                    self.link = Some(link);
                }
                Exchange::Received(received)
            }
        }
    }

    fn dialer(&self) -> Arc<dyn Dial> {
        match &self.surroundings.dial {
            Some(dial) => Arc::clone(dial),
            None => self.config.dialer(),
        }
    }

    /// Closes a kept connection.
    pub fn hang_up(&mut self) {
        self.link = None;
    }

    pub(crate) fn no_connection(&self, source: std::io::Error) -> PosError {
        PosError::NoConnection { address: self.config.host.clone(), source }
    }

    /// The next trace number; the caller saves before the request leaves.
    pub(crate) fn take_trace(&mut self) -> u32 {
        let trace = self.state.trace;
        self.state.trace = next_in_ring(trace);
        trace
    }

    /// Keeps a notice of whoever works with the terminal among those the operator can read again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(&mut self, text: impl Into<String>) -> Result<(), PosError> {
        self.notice(text);
        self.save().await
    }

    /// Tells the operator and remembers it.
    pub(crate) fn notice(&mut self, text: impl Into<String>) -> String {
        /// How many notices are kept.
        const NOTICES_MAX: usize = 100;
        let text = text.into();
        let at = stamp(self.now());
        self.state.notices.push(Notice { at, text: text.clone() });
        let surplus = self.state.notices.len().saturating_sub(NOTICES_MAX);
        self.state.notices.drain(..surplus);
        text
    }

    /// Writes the state, durably. Runs aside, so that a slow disk does not hold the runtime up.
    ///
    /// When that fails the disk is the truth: the state is read back from it, so that this process goes on from
    /// where a restart would.
    pub(crate) async fn save(&mut self) -> Result<(), PosError> {
        let bytes = self.directory.state_bytes(&self.state, sealing(&self.surroundings))?;
        self.version += 1;
        let (version, written) = (self.version, Arc::clone(&self.written));
        let directory = Arc::clone(&self.directory);
        let write = move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            // A caller that was dropped while it saved may have left an older write behind this one.
            if version > *written {
                write_atomic(&directory.file(STATE), &bytes)?;
                *written = version;
            }
            Ok(())
        };
        let result = match tokio::task::spawn_blocking(write).await {
            Ok(result) => result,
            Err(error) => Err(PosError::Storage {
                what: "writing",
                path: self.directory.file(STATE),
                source: std::io::Error::other(error),
            }),
        };
        if result.is_err()
            && let Ok(state) = self.directory.load_state(sealing(&self.surroundings))
        {
            self.state = state;
        }
        result
    }

    /// Seals a stored request.
    pub(crate) fn seal(&self, request: &Request) -> Result<String, PosError> {
        let text = zeroize::Zeroizing::new(
            serde_json::to_vec(request).map_err(|error| PosError::Build(error.to_string()))?,
        );
        Ok(hex::encode(self.security.seal(SEALED_REQUEST, &text)?))
    }

    /// Opens a stored request.
    pub(crate) fn unseal(&self, sealed: &str) -> Result<Request, PosError> {
        let damaged = |reason: String| PosError::Damaged { path: self.directory.file(STATE), reason };
        let bytes = hex::decode(sealed).map_err(|error| damaged(error.to_string()))?;
        let text = self.security.open(SEALED_REQUEST, &bytes)?;
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
    }

    /// Seals a card number.
    pub(crate) fn seal_pan(&self, pan: &str) -> Result<String, PosError> {
        Ok(hex::encode(self.security.seal(SEALED_PAN, pan.as_bytes())?))
    }

    /// Opens a sealed card number.
    pub(crate) fn unseal_pan(&self, sealed: &str) -> Result<zeroize::Zeroizing<String>, PosError> {
        let damaged = |reason: String| PosError::Damaged { path: self.directory.file(STATE), reason };
        let bytes = hex::decode(sealed).map_err(|error| damaged(error.to_string()))?;
        let text = self.security.open(SEALED_PAN, &bytes)?;
        let text = std::str::from_utf8(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(zeroize::Zeroizing::new(text.to_owned()))
    }
}

const SEALED_REQUEST: &[u8] = b"pos/request";
const SEALED_PAN: &[u8] = b"pos/pan";

/// Field 11 as a number.
pub(crate) fn trace_of(request: &Request) -> u32 {
    request.number(11).and_then(|trace| u32::try_from(trace).ok()).unwrap_or_default()
}

/// Date and time as slips print them.
pub(crate) fn stamp(at: DateTime) -> String {
    at.strftime("%Y/%m/%d %H:%M:%S").to_string()
}
