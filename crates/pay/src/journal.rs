//! The journal: a directory with one file for each request, replaced as a whole at each step.
//!
//! A step is durable before it is taken, a result before it is told, so that whatever moment the power goes, the file
//! holds either all of a step or none of it. A result is kept as the bytes that the caller got.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::canonical::digest;
use crate::code::CallCode;
use crate::kind::Kind;
use crate::ledger::{Arrival, Asked, Entry, Key, Ledger, Misstep, Refs, State, Step};
use crate::request::{Orig, Refusal, Request};
use crate::response::{Outcome, Reason, Response};
use crate::values::{CallerId, RequestId};

/// Format of the files; another number is refused.
const VERSION: u32 = 1;
/// Marks of expired ids, 16 bytes each, oldest first.
const EXPIRED: &str = "expired";
/// Keeps a second process out.
const LOCK: &str = "lock";

/// What went wrong with the journal. After a failed write nothing may go on: what is on disk is unknown.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("{what} {path}: {source}", path = path.display())]
    Storage {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file that holds no request. Going on without it could let a payment through twice.
    #[error("{path} holds no request: {reason}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has it.
    #[error("the journal {path} is used by another process", path = .0.display())]
    Locked(PathBuf),
    /// A step that the request cannot take.
    #[error(transparent)]
    Misstep(#[from] Misstep),
    /// No such request.
    #[error("no such request in the journal")]
    NoRequest,
    /// A response that names another request.
    #[error("a response of another request")]
    OtherResponse,
    /// A result that does not become JSON.
    #[error("the result cannot be written: {0}")]
    Result(serde_json::Error),
}

/// What a request that arrived gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is journaled: go on.
    Begin(Key),
    /// This response, at once.
    Reply(Vec<u8>),
    /// Break off this request, which is the caller's own and has not gone online.
    Abort(Key),
}

/// Who looks.
#[derive(Clone, Copy, Debug)]
pub enum Viewer<'a> {
    /// A caller sees its own.
    Caller(&'a CallerId),
    /// The operator sees all.
    Operator,
}

/// A file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    entry: Entry,
    /// What the request wants back in its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ext: Option<Ext>,
    /// The response, as the caller gets it.
    result: Option<String>,
}

/// What a caller gets back as it is.
type Ext = BTreeMap<String, String>;

/// The journal of one terminal.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    ledger: Ledger,
    _lock: File,
}

impl Journal {
    /// Opens a directory, makes it when it is not there, and settles what a crash has left: what had not been sent is
    /// declined, what had is unknown. Those that became unknown are in [`unknown`](Self::unknown).
    pub fn open(folder: &Path, retention_ms: u64) -> Result<Self, JournalError> {
        fs::create_dir_all(folder).map_err(|e| storage("making", folder, e))?;
        let lock_path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| storage("opening", &lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(folder.to_owned())),
            Err(TryLockError::Error(e)) => return Err(storage("locking", &lock_path, e)),
        }
        let mut journal = Self { folder: folder.to_owned(), ledger: Ledger::new(retention_ms), _lock: lock };
        journal.read_marks()?;
        let mut left = Vec::new();
        for file in fs::read_dir(folder).map_err(|e| storage("listing", folder, e))? {
            let path = file.map_err(|e| storage("listing", folder, e))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => {
                    let stored = read(&path)?;
                    if journal.path(&stored.entry.key) != path {
                        return Err(damaged(&path, "it has the name of another request"));
                    }
                    left.extend(stored.entry.after_crash().map(|entry| (entry, stored.ext)));
                    journal.ledger.put(stored.entry);
                }
                // Written aside and never renamed: it never counted.
                Some("new") => fs::remove_file(&path).map_err(|e| storage("removing", &path, e))?,
                _ => {}
            }
        }
        for (entry, ext) in left {
            let id = entry.key.request_id.clone();
            let response = match entry.outcome {
                Some(Outcome::Unknown) => Response::unknown(id),
                Some(outcome) => Response::interrupted(id, outcome),
                None => continue,
            };
            let result = text(&echoing(response, &entry, ext.as_ref()))?;
            journal.write(entry, ext, Some(result))?;
        }
        Ok(journal)
    }

    /// A request arrives. A new one is on disk before this returns. What only looks is answered here and leaves nothing.
    pub fn arrive(
        &mut self,
        caller: &CallerId,
        request: &Request,
        now_ms: u64,
    ) -> Result<Answer, JournalError> {
        let asked = Asked {
            key: Key { caller: caller.clone(), request_id: request.request_id.clone() },
            digest: digest(request),
            kind: request.kind,
            amount: request.amount,
            order_no: request.order.as_ref().map(|order| order.order_no.as_str().to_owned()),
        };
        match request.kind {
            Kind::Query => {
                let orig = request.orig.clone().unwrap_or_default();
                return self.query(Viewer::Caller(caller), &request.request_id, &orig).map(Answer::Reply);
            }
            Kind::LastTrade => {
                return self.last_trade(Viewer::Caller(caller), &request.request_id).map(Answer::Reply);
            }
            Kind::Abort => return self.abort(caller, request),
            _ => {}
        }
        let refuse = |code| Response::refused(&Refusal::of(code), Some(request.request_id.clone()));
        let response = match self.ledger.arrive(&asked, now_ms) {
            Arrival::New(entry) => {
                self.write(*entry, request.ext.clone(), None)?;
                return Ok(Answer::Begin(asked.key));
            }
            Arrival::Stored => return self.result(&asked.key).map(Answer::Reply),
            Arrival::Running(state) => Response { state: Some(state), ..refuse(CallCode::InProgress) },
            Arrival::OtherBody => refuse(CallCode::OtherBody),
            Arrival::Expired => refuse(CallCode::Expired),
            Arrival::Busy { settling, running } => {
                let code = if settling { CallCode::Settling } else { CallCode::Busy };
                Response { running_request_id: running, ..refuse(code) }
            }
        };
        Ok(Answer::Reply(text(&response)?.into_bytes()))
    }

    /// A step without a result: waiting for a card or a PIN, going online, printed, returned. Durable when this returns.
    pub fn step(&mut self, key: &Key, step: Step) -> Result<(), JournalError> {
        let stored = read(&self.path(key))?;
        let after = self.entry(key)?.after(step)?;
        self.write(after, stored.ext, stored.result)
    }

    /// What can be broken off: the caller's own request, as long as nothing can have moved. Elsewhere nothing runs that the
    /// caller could see.
    fn abort(&self, caller: &CallerId, request: &Request) -> Result<Answer, JournalError> {
        let named = request.orig.as_ref().and_then(|orig| orig.request_id.as_ref());
        let own = self.ledger.running().filter(|entry| {
            entry.key.caller == *caller && named.is_none_or(|named| *named == entry.key.request_id)
        });
        let refused = match own {
            Some(entry) if entry.state != State::Online => return Ok(Answer::Abort(entry.key.clone())),
            Some(entry) => {
                let refused = Refusal::of(CallCode::InProgress);
                Response {
                    state: Some(entry.state),
                    ..Response::refused(&refused, Some(request.request_id.clone()))
                }
            }
            None => Response::refused(&Refusal::of(CallCode::NoOriginal), Some(request.request_id.clone())),
        };
        Ok(Answer::Reply(text(&refused)?.into_bytes()))
    }

    /// A request ends with this response, or an unknown outcome is settled by it. The bytes to tell are durable when this
    /// returns. What the request said of itself (id, type, order, amount, `ext`) is filled in where the response says
    /// nothing.
    pub fn finish(&mut self, key: &Key, response: &Response) -> Result<Vec<u8>, JournalError> {
        let entry = self.entry(key)?;
        if response.request_id.as_ref().is_some_and(|id| *id != key.request_id) {
            return Err(JournalError::OtherResponse);
        }
        let ext = read(&self.path(key))?.ext;
        let response = &echoing(response.clone(), entry, ext.as_ref());
        let (outcome, reason): (Outcome, Option<Reason>) = (response.outcome, response.reason);
        let step = match entry.state.is_running() {
            true => Step::End(outcome, reason),
            false => Step::Resolve(outcome, reason),
        };
        let mut after = entry.after(step)?;
        after.refs = Refs {
            trace_no: response.trace_no.clone(),
            batch_no: response.batch_no.clone(),
            ref_no: response.ref_no.clone(),
            time: time_of(response),
            auth_no: response.auth_no.clone(),
            channel_order_no: response.wallet.as_ref().and_then(|wallet| wallet.channel_order_no.clone()),
        };
        let result = text(response)?;
        self.write(after, ext, Some(result.clone()))?;
        Ok(result.into_bytes())
    }

    /// The stored result, byte for byte.
    pub fn result(&self, key: &Key) -> Result<Vec<u8>, JournalError> {
        let stored = read(&self.path(key))?;
        stored.result.map(String::into_bytes).ok_or(JournalError::NoRequest)
    }

    /// Answers a query: the one result of what it names, or how far it is. `asking` is the query's own id.
    pub fn query(
        &self,
        viewer: Viewer<'_>,
        asking: &RequestId,
        orig: &Orig,
    ) -> Result<Vec<u8>, JournalError> {
        self.tell(self.ledger.find(caller_of(viewer), orig), asking)
    }

    /// Answers the question for the last trade.
    pub fn last_trade(&self, viewer: Viewer<'_>, asking: &RequestId) -> Result<Vec<u8>, JournalError> {
        self.tell(self.ledger.last_trade(caller_of(viewer)), asking)
    }

    fn tell(&self, found: Option<&Entry>, asking: &RequestId) -> Result<Vec<u8>, JournalError> {
        let response = match found {
            Some(entry) if entry.state.is_running() => {
                let id = Some(entry.key.request_id.clone());
                let refused = Response::refused(&Refusal::of(CallCode::InProgress), id);
                Response { state: Some(entry.state), ..refused }
            }
            Some(entry) => return self.result(&entry.key),
            None => Response::refused(&Refusal::of(CallCode::NoOriginal), Some(asking.clone())),
        };
        Ok(text(&response)?.into_bytes())
    }

    /// Requests whose outcome nobody knows: the acquiring app settles them by query or reversal.
    pub fn unknown(&self) -> Vec<Key> {
        self.ledger.entries().filter(|entry| entry.is_unknown()).map(|entry| entry.key.clone()).collect()
    }

    /// What is known of all requests.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Drops results that need not be kept any more; their ids stay, so that none of them ever begins a trade again.
    pub fn prune(&mut self, now_ms: u64) -> Result<usize, JournalError> {
        let due = self.ledger.due(now_ms);
        if due.is_empty() {
            return Ok(0);
        }
        let mut after = self.ledger.clone();
        due.iter().for_each(|key| {
            after.expire(key);
        });
        // The marks first: a result without its mark is kept, an id without either could pay twice.
        let marks: Vec<u8> = after.marks().flatten().copied().collect();
        self.replace(&self.folder.join(EXPIRED), &marks)?;
        for key in &due {
            let path = self.path(key);
            fs::remove_file(&path).map_err(|e| storage("removing", &path, e))?;
        }
        self.ledger = after;
        Ok(due.len())
    }

    fn entry(&self, key: &Key) -> Result<&Entry, JournalError> {
        self.ledger.get(key).ok_or(JournalError::NoRequest)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.json", hex::encode(key.fingerprint())))
    }

    fn write(&mut self, entry: Entry, ext: Option<Ext>, result: Option<String>) -> Result<(), JournalError> {
        let stored = Stored { version: VERSION, entry, ext, result };
        let bytes = serde_json::to_vec(&stored).map_err(JournalError::Result)?;
        self.replace(&self.path(&stored.entry.key), &bytes)?;
        self.ledger.put(stored.entry);
        Ok(())
    }

    /// Replaces a file as a whole: written aside, flushed, renamed, and the rename flushed.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
        let aside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&aside).map_err(|e| storage("writing", &aside, e))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| storage("writing", &aside, e))?;
        fs::rename(&aside, path).map_err(|e| storage("replacing", path, e))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| storage("flushing", &self.folder, e))
    }

    fn read_marks(&mut self) -> Result<(), JournalError> {
        let path = self.folder.join(EXPIRED);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(|e| storage("reading", &path, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(storage("reading", &path, e)),
        };
        let (marks, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(damaged(&path, "it does not end with a whole mark"));
        }
        for mark in marks {
            self.ledger.remember(*mark);
        }
        Ok(())
    }
}

fn caller_of(viewer: Viewer<'_>) -> Option<&CallerId> {
    match viewer {
        Viewer::Caller(caller) => Some(caller),
        Viewer::Operator => None,
    }
}

/// The response with what its request said of itself.
fn echoing(response: Response, entry: &Entry, ext: Option<&Ext>) -> Response {
    Response {
        request_id: Some(entry.key.request_id.clone()),
        order_no: response.order_no.or_else(|| entry.order_no.clone()),
        kind: response.kind.or(Some(entry.kind)),
        amount: response.amount.or(entry.amount),
        ext: response.ext.or_else(|| ext.cloned()),
        ..response
    }
}

/// MMDDhhmmss, or what can be told of it from the other form.
fn time_of(response: &Response) -> Option<String> {
    let from_rfc3339 = || {
        let time = response.trade_time.as_deref()?.get(5..19)?;
        Some(time.chars().filter(char::is_ascii_digit).collect())
    };
    response.trade_time_local.clone().or_else(from_rfc3339)
}

fn text(response: &Response) -> Result<String, JournalError> {
    serde_json::to_string(response).map_err(JournalError::Result)
}

fn read(path: &Path) -> Result<Stored, JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(JournalError::NoRequest),
        Err(e) => return Err(storage("reading", path, e)),
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| damaged(path, &e.to_string()))?;
    if stored.version != VERSION {
        return Err(damaged(path, "it has another version"));
    }
    Ok(stored)
}

fn storage(what: &'static str, path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Storage { what, path: path.to_owned(), source }
}

fn damaged(path: &Path, reason: &str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}
