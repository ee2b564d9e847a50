//! One frame in, what to do out: the simulator's desk between the sockets and the core.
//!
//! Here a frame is read, its sender and MAC are checked, a fault is chosen, the event is written to the books
//! file and given to the core, and the answer is built and signed. Nothing here waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hsm::{KeyUsage, WrappedKey};
use iso8583::frame::{self, CupsHeader};
use iso8583::{CUPS, Draft, Message};

use crate::books::BooksFile;
use crate::config::SimConfig;
use crate::crypto::Vault;
use crate::error::SimError;
use crate::faults::{Fault, FaultBoard, Subject};
use crate::keys::{Zone, ZoneKey};
use crate::kinds;
use crate::mac;
use crate::network::{Answer, Event, Network};
use crate::time::{Clock, Moment, SettleDate};
use crate::wire::{self, Parties};

/// Reject codes of header field 10, modelled: the real list is not public.
pub mod reject {
    /// The body is not a message of the dialect, or of a type that a member may send.
    pub const MALFORMED: &[u8; 5] = b"10001";
    /// The destination is not this network.
    pub const DESTINATION: &[u8; 5] = b"10002";
    /// The source is not a member.
    pub const MEMBER: &[u8; 5] = b"10003";
    /// The member is not signed on.
    pub const SIGN_ON: &[u8; 5] = b"10004";
    /// No keys have been exchanged with the member.
    pub const KEYS: &[u8; 5] = b"10005";
    /// A fault rule.
    pub const FAULT: &[u8; 5] = b"10009";
}

/// What the connection is to do after a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Frames to send at once, in this order.
    pub send: Vec<Vec<u8>>,
    /// A frame to send after so many milliseconds.
    pub later: Option<(Vec<u8>, u64)>,
    /// Close the line after sending.
    pub close: bool,
    /// The member has asked for new keys.
    pub key_reset: bool,
}

impl Handling {
    fn send(frame: Vec<u8>) -> Self {
        Handling { send: vec![frame], ..Handling::default() }
    }

    fn close() -> Self {
        Handling { close: true, ..Handling::default() }
    }
}

/// What needs one lock: the core, its faults and its file change together.
pub struct Core {
    /// Record and rules.
    pub network: Network,
    /// Fault chooser.
    pub faults: FaultBoard,
    /// File, when there is one.
    pub books: Option<BooksFile>,
}

impl Core {
    /// Writes an event down and lets it happen.
    ///
    /// # Errors
    ///
    /// It could not be written down and has not happened.
    pub fn happen(&mut self, event: &Event, now: Moment) -> Result<Option<crate::network::Answer>, SimError> {
        if let Some(books) = &mut self.books {
            books.append(event, now)?;
        }
        Ok(self.network.apply(event, now))
    }
}

/// The desk.
pub struct Service {
    /// Configuration.
    pub config: SimConfig,
    /// Keys and cards.
    pub vault: Vault,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Frames of members so far, those a fault or the mute switch swallowed included.
    pub frames: AtomicU64,
    /// Cut-overs under way.
    cutting_over: AtomicU64,
    core: Mutex<Core>,
    zone: Mutex<Zone>,
}

/// A cut-over under way; it ends when this is dropped.
pub struct CutOver<'a>(&'a AtomicU64);

impl Drop for CutOver<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: SimConfig, vault: Vault, clock: Arc<dyn Clock>, core: Core) -> Self {
        Service {
            config,
            vault,
            clock,
            frames: AtomicU64::new(0),
            cutting_over: AtomicU64::new(0),
            core: Mutex::new(core),
            zone: Mutex::new(Zone::default()),
        }
    }

    /// The core; a panic elsewhere does not stop the simulator.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The zone keys and the sign-on state.
    pub fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a cut-over.
    #[must_use]
    pub fn open_cut_over(&self) -> CutOver<'_> {
        self.cutting_over.fetch_add(1, Ordering::SeqCst);
        CutOver(&self.cutting_over)
    }

    /// Takes one frame (header and body) of a member's request.
    #[must_use]
    pub fn take(&self, payload: &[u8]) -> Handling {
        let mute = self.core().faults.settings().mute;
        self.frames.fetch_add(1, Ordering::SeqCst);
        if mute {
            return Handling::default();
        }
        let (header, body) = match frame::parse_cups(payload) {
            Ok(parts) => parts,
            Err(error) => {
                tracing::warn!(%error, "a frame with an impossible header: line closed");
                return Handling::close();
            }
        };
        if id_text(&header.source) != self.config.member_id {
            tracing::warn!(source = %id_text(&header.source), "not a member: bounced, line closed");
            return Handling { close: true, ..bounce(&header, body, reject::MEMBER) };
        }
        if id_text(&header.destination) != self.config.network_id {
            tracing::warn!(destination = %id_text(&header.destination), "not for this network: bounced");
            return bounce(&header, body, reject::DESTINATION);
        }
        let message = match CUPS.parse(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a message that does not read: bounced");
                return bounce(&header, body, reject::MALFORMED);
            }
        };
        let mti = message.mti().value();
        let result = match kinds::class_of(mti) {
            _ if message.mti().is_response() => Ok(bounce(&header, body, reject::MALFORMED)),
            820 => self.manage(&header, &message),
            100 | 200 | 220 | 420 | 620 => self.finance(&header, &message, body),
            _ => {
                tracing::warn!(mti, "a message type that members do not send: bounced");
                Ok(bounce(&header, body, reject::MALFORMED))
            }
        };
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "a request could not be answered");
            Handling::default()
        })
    }

    fn manage(&self, header: &CupsHeader, message: &Message<'_>) -> Result<Handling, SimError> {
        let now = self.clock.now();
        let code = message.number(70);
        let complete = message.has(7) && message.has(11) && message.has(33);
        let mut key_reset = false;
        let answer = match code {
            _ if !complete => "30",
            Some(1 | 2) if !message.has(100) => "30",
            Some(1) if self.core().faults.settings().refuse_sign_on => "91",
            Some(1) => {
                self.zone().signed_on = true;
                tracing::info!("member signed on");
                "00"
            }
            Some(2) => {
                self.zone().signed_on = false;
                tracing::info!("member signed off");
                "00"
            }
            Some(3..=6 | 301) => "00",
            Some(101) if !message.has(53) => "30",
            Some(101) => {
                key_reset = true;
                "00"
            }
            _ => "40",
        };
        let mut draft = Draft::new();
        wire::write_management_answer(&mut draft, message, answer)?;
        let signed = self.zone().mac.current().cloned();
        // Network management answers carry a MAC only where the request did.
        let key = if message.has(128) { signed } else { None };
        let frame = self.seal(&header.swapped(), &mut draft, key.as_ref())?;
        tracing::debug!(code, answer, at = %now, "network management");
        Ok(Handling { key_reset, ..Handling::send(frame) })
    }

    fn finance(&self, header: &CupsHeader, message: &Message<'_>, body: &[u8]) -> Result<Handling, SimError> {
        let now = self.clock.now();
        let zone = {
            let mut zone = self.zone();
            zone.mac.expire(now);
            zone.pin.expire(now);
            zone.clone()
        };
        if !zone.signed_on {
            return Ok(bounce(header, body, reject::SIGN_ON));
        }
        let Some(current) = zone.mac.current().filter(|_| zone.has_keys()) else {
            return Ok(bounce(header, body, reject::KEYS));
        };
        let mut text = Vec::with_capacity(192);
        mac::text(message, &mut text);
        let signed_by =
            message.bytes_of(128).and_then(|mac| self.vault.signed_by(&zone.mac, &text, mac, now));
        let mut request =
            wire::read_request(message, &self.vault, &zone, &self.config, signed_by.is_some(), now);
        let key = (kinds::class_of(request.mti), request.key.clone());
        let closed = self.cutting_over.load(Ordering::SeqCst) > 0;

        let (answer, fault) = {
            let mut core = self.core();
            if closed && core.faults.settings().refuse_in_cut_over {
                let day = core.network.day();
                drop(core);
                return self.refuse(header, message, signed_by.as_ref().unwrap_or(current), "90", day);
            }
            let fault = if request.mac_good {
                let repeat = core.network.knows(&key);
                let original = request.original.as_ref();
                core.faults.choose(&Subject { key: &key, original, amount: request.amount, repeat })
            } else {
                None
            };
            match &fault {
                Some(Fault::Lost) => return Ok(Handling::default()),
                Some(Fault::DropBefore) => return Ok(Handling::close()),
                Some(Fault::Bounce) => return Ok(bounce(header, body, reject::FAULT)),
                Some(Fault::Decline(code)) => request.forced = Some(code.clone()),
                _ => {}
            }
            let event = Event::Request(Box::new(request));
            (core.happen(&event, now)?, fault)
        };
        let Some(answer) = answer else { return Ok(Handling::default()) };
        if let Some(fault) = &fault {
            tracing::info!(?fault, txn = answer.txn, "fault");
        }
        tracing::debug!(mti = %message.mti(), code = %answer.code, txn = answer.txn, "answered");

        let chip = self.vault.authenticate(message, &answer)?;
        let mut draft = Draft::new();
        let parties = Parties { issuer: &self.config.issuer_id };
        wire::write_answer(&mut draft, message, &answer, &parties, Some(&chip))?;
        let key = signed_by.as_ref().unwrap_or(current);
        let frame = self.seal(&header.swapped(), &mut draft, Some(key))?;
        Ok(match fault {
            Some(Fault::NoAnswer | Fault::LostReversalAnswer) => Handling::default(),
            Some(Fault::DropAfter) => Handling::close(),
            Some(Fault::DoubleAnswer) => Handling { send: vec![frame.clone(), frame], ..Handling::default() },
            Some(Fault::LateAnswer) => {
                Handling { later: Some((frame, self.config.timing.late_answer)), ..Handling::default() }
            }
            _ => Handling::send(frame),
        })
    }

    /// Answers with a code and processes nothing: the same request may come again.
    fn refuse(
        &self,
        header: &CupsHeader,
        message: &Message<'_>,
        key: &WrappedKey,
        code: &str,
        day: SettleDate,
    ) -> Result<Handling, SimError> {
        let answer = Answer {
            code: code.to_owned(),
            auth_code: None,
            day,
            balances: None,
            part: None,
            points: None,
            authenticate: false,
            repeat: false,
            txn: 0,
        };
        let mut draft = Draft::new();
        let parties = Parties { issuer: &self.config.issuer_id };
        wire::write_answer(&mut draft, message, &answer, &parties, None)?;
        Ok(Handling::send(self.seal(&header.swapped(), &mut draft, Some(key))?))
    }

    /// Makes the frame of a draft: with a key, field 128 is computed over the other fields and put.
    ///
    /// # Errors
    ///
    /// The message does not fit, or the module refuses.
    pub fn seal(
        &self,
        header: &CupsHeader,
        draft: &mut Draft,
        key: Option<&WrappedKey>,
    ) -> Result<Vec<u8>, SimError> {
        if let Some(key) = key {
            let mut body = Vec::with_capacity(512);
            draft.write(&mut body)?;
            let message = CUPS.parse(&body).map_err(|e| SimError::Config(format!("own message: {e}")))?;
            let mut text = Vec::with_capacity(192);
            mac::text(&message, &mut text);
            draft.put_bytes(128, &self.vault.sign(key, &text)?)?;
        }
        let mut out = Vec::with_capacity(512);
        let mark = frame::begin_cups(&mut out, &CupsHeader { reject_code: *b"00000", ..*header });
        draft.write(&mut out)?;
        frame::finish_cups(&mut out, mark).map_err(|e| SimError::Config(format!("own message: {e}")))?;
        Ok(out)
    }

    /// The header of a message of the network's own.
    #[must_use]
    pub fn own_header(&self) -> CupsHeader {
        CupsHeader::new(&self.config.member_id, &self.config.network_id)
    }

    /// Makes a new zone key and the 0800/101 that carries it. The key counts from now on.
    ///
    /// # Errors
    ///
    /// The module refuses, or there is no MAC key yet to sign a PIN key reset.
    pub fn key_reset(&self, which: ZoneKey, trace: u32) -> Result<Vec<u8>, SimError> {
        let now = self.clock.now();
        let usage = if which == ZoneKey::Pin { KeyUsage::Pin } else { KeyUsage::Mac };
        let (key, cipher) = self.vault.new_zone_key(usage)?;
        let mut draft = Draft::new();
        let ids = (self.config.network_id.as_str(), self.config.member_id.as_str());
        wire::write_management(&mut draft, 800, 101, trace, ids, now)?;
        let mut field_48 = b"NK".to_vec();
        field_48.extend_from_slice(&cipher);
        draft.put_bytes(48, &field_48)?;
        draft.put_digits(
            53,
            &format!("{}{}00000000000000", which.digit(), self.config.zone_algorithm.digit()),
        )?;
        draft.put_bytes(96, cipher.get(..8).unwrap_or(&[0; 8]))?;
        // A MAC key proves itself; a PIN key is vouched for by the MAC key in force.
        let signer = match which {
            ZoneKey::Mac => key.clone(),
            ZoneKey::Pin => self
                .zone()
                .mac
                .current()
                .cloned()
                .ok_or_else(|| SimError::Config("a PIN key reset needs a MAC key in force".to_owned()))?,
        };
        let frame = self.seal(&self.own_header(), &mut draft, Some(&signer))?;
        tracing::info!(what = which.name(), kcv = %key.kcv(), "sending");
        self.zone().slot(which).offer(key);
        Ok(frame)
    }

    /// Makes an 0820 of the network's own: cut-over (with the new day) or echo.
    ///
    /// # Errors
    ///
    /// A configured id does not fit its field.
    pub fn own_notice(&self, code: u16, trace: u32) -> Result<Vec<u8>, SimError> {
        let mut draft = Draft::new();
        let ids = (self.config.network_id.as_str(), self.config.member_id.as_str());
        wire::write_management(&mut draft, 820, code, trace, ids, self.clock.now())?;
        if code == 201 || code == 202 {
            draft.put_digits(15, &self.core().network.day().mmdd())?;
        }
        self.seal(&self.own_header(), &mut draft, None)
    }
}

/// An identifier of the header without its filling.
#[must_use]
pub fn id_text(id: &[u8; 11]) -> String {
    String::from_utf8_lossy(id).trim_end().to_owned()
}

/// The message back to its sender with a reject code.
fn bounce(header: &CupsHeader, body: &[u8], code: &[u8; 5]) -> Handling {
    let mut out = Vec::with_capacity(body.len() + 64);
    let header = CupsHeader { reject_code: *code, ..header.swapped() };
    let mark = frame::begin_cups(&mut out, &header);
    out.extend_from_slice(body);
    match frame::finish_cups(&mut out, mark) {
        Ok(()) => Handling::send(out),
        Err(_) => Handling::close(),
    }
}
