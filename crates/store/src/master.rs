//! Master data, sessions of terminals, numbers, and what the journal knows about itself.

use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession, WorkingKeys};
use acquiring::{MerchantId, TerminalId};
use jiff::Timestamp;

use crate::db::{Db, Lock, Op, params};
use crate::error::StoreError;
use crate::rows::{Columns, all, fen, millis, number_of, one};

const MASTER_VERSION: &str = "master_version";
const SESSION_VERSION: &str = "session_version";

fn cipher_code(cipher: TerminalCipher) -> &'static str {
    match cipher {
        TerminalCipher::TripleDes => "3des",
        TerminalCipher::Sm4 => "sm4",
    }
}

fn cipher_from(code: &str) -> Option<TerminalCipher> {
    [TerminalCipher::TripleDes, TerminalCipher::Sm4].into_iter().find(|c| cipher_code(*c) == code)
}

fn merchant(c: &mut Columns<'_>) -> Op<Merchant> {
    Ok(Merchant {
        id: c.merchant()?,
        name: c.take("name")?,
        mcc: c.take("mcc")?,
        active: c.flag("active")?,
        limit_single: c.maybe_amount("limit_single")?,
        profile: c.take("profile")?,
    })
}

fn keys(c: &mut Columns<'_>) -> Op<Option<WorkingKeys>> {
    let (pin, mac, track): (Option<String>, Option<String>, Option<String>) =
        (c.take("pin_key")?, c.take("mac_key")?, c.take("track_key")?);
    match (pin, mac) {
        (Some(pin), Some(mac)) => Ok(Some(WorkingKeys { pin, mac, track })),
        (None, None) => Ok(None),
        _ => Err(StoreError::Damaged { column: "mac_key" }.into()),
    }
}

fn terminal(c: &mut Columns<'_>) -> Op<Terminal> {
    Ok(Terminal {
        merchant: c.merchant()?,
        id: c.terminal()?,
        active: c.flag("active")?,
        cipher: c.text("cipher", cipher_from)?,
        master_key: c.take("master_key")?,
        session: TerminalSession {
            keys: keys(c)?,
            previous_keys: keys(c)?,
            signed_in_at: c.maybe_time("signed_in_at")?,
            previous_signed_in_at: c.maybe_time("signed_in_before")?,
            batch: c.batch()?,
        },
    })
}

macro_rules! merchant_columns {
    () => {
        "merchant, name, mcc, active, limit_single, profile"
    };
}

macro_rules! terminal_columns {
    () => {
        "merchant, terminal, active, cipher, master_key, pin_key, mac_key, track_key, \
         pin_key_before, mac_key_before, track_key_before, signed_in_at, signed_in_before, batch"
    };
}

pub(crate) fn merchants(db: &dyn Db) -> Op<Vec<Merchant>> {
    let sql = concat!("SELECT ", merchant_columns!(), " FROM merchant ORDER BY merchant");
    all(db, sql, &[], merchant)
}

pub(crate) fn terminals(db: &dyn Db) -> Op<Vec<Terminal>> {
    let sql = concat!("SELECT ", terminal_columns!(), " FROM terminal ORDER BY merchant, terminal");
    all(db, sql, &[], terminal)
}

pub(crate) fn terminal_of(db: &dyn Db, merchant: MerchantId, id: TerminalId) -> Op<Option<Terminal>> {
    let sql = concat!("SELECT ", terminal_columns!(), " FROM terminal WHERE merchant = ?1 AND terminal = ?2");
    one(db, sql, params![merchant.as_str(), id.as_str()], terminal)
}

fn merchant_of(db: &dyn Db, id: MerchantId) -> Op<Option<Merchant>> {
    let sql = concat!("SELECT ", merchant_columns!(), " FROM merchant WHERE merchant = ?1");
    one(db, sql, params![id.as_str()], merchant)
}

/// The next value of a counter, `by` higher than before; counters begin at zero.
fn advance(db: &dyn Db, name: &str, by: i64) -> Op<i64> {
    let upsert = "INSERT INTO counter (name, value) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value";
    db.execute(upsert, params![name, by])?;
    let select = "SELECT value FROM counter WHERE name = ?1";
    number_of(db, select, params![name])
}

/// Takes `count` numbers; the first of them. Numbers begin at 1.
pub(crate) fn reserve_numbers(db: &dyn Db, name: &str, count: u32, at: Timestamp) -> Op<i64> {
    if count == 0 {
        return Err(StoreError::Misuse { rule: "a block has at least one number" }.into());
    }
    let last = advance(db, name, i64::from(count))?;
    let first = last - i64::from(count) + 1;
    let insert = "INSERT INTO number_block (name, first, size, reserved_at) VALUES (?1, ?2, ?3, ?4)";
    db.execute(insert, params![name, first, count, millis(at)])?;
    Ok(first)
}

/// Moves the version of master data on; the new one.
pub(crate) fn advance_master(db: &dyn Db) -> Op<i64> {
    advance(db, MASTER_VERSION, 1)
}

pub(crate) fn master_version(db: &dyn Db) -> Op<i64> {
    let select = "SELECT value FROM counter WHERE name = ?1";
    number_of(db, select, params![MASTER_VERSION])
}

/// Says that master data moved.
pub(crate) fn moved(db: &dyn Db) -> Op<()> {
    advance(db, MASTER_VERSION, 1).map(|_| ())
}

pub(crate) fn session_version(db: &dyn Db) -> Op<i64> {
    let select = "SELECT value FROM counter WHERE name = ?1";
    number_of(db, select, params![SESSION_VERSION])
}

/// Sessions changed after a version, in the order of their changes, each with its version.
pub(crate) fn sessions_since(db: &dyn Db, version: i64, limit: usize) -> Op<Vec<(i64, Terminal)>> {
    let sql = concat!(
        "SELECT session_version, ",
        terminal_columns!(),
        " FROM terminal WHERE session_version > ?1 ORDER BY session_version LIMIT ?2"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(db, sql, params![version, limit], |c| Ok((c.take("session_version")?, terminal(c)?)))
}

/// Writes a merchant; what is the same already does not count as a change.
pub(crate) fn put_merchant(db: &dyn Db, new: &Merchant) -> Op<()> {
    if merchant_of(db, new.id)?.as_ref() == Some(new) {
        return Ok(());
    }
    let upsert = "INSERT INTO merchant (merchant, name, mcc, active, limit_single, profile) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (merchant) DO UPDATE SET name = excluded.name, mcc = excluded.mcc, \
         active = excluded.active, limit_single = excluded.limit_single, profile = excluded.profile";
    db.execute(
        upsert,
        params![
            new.id.as_str(),
            &new.name,
            new.mcc,
            u8::from(new.active),
            new.limit_single.map(fen),
            new.profile.as_deref()
        ],
    )?;
    advance(db, MASTER_VERSION, 1)?;
    Ok(())
}

/// Writes a terminal's master data. Its session stays, unless the master key changes: working keys that
/// were given under another master key are worth nothing, so that the terminal must sign in anew. The batch
/// goes on in any case. A new terminal takes the session that comes with it.
pub(crate) fn put_terminal(db: &dyn Db, new: &Terminal) -> Op<()> {
    if merchant_of(db, new.merchant)?.is_none() {
        return Err(StoreError::UnknownMerchant { merchant: new.merchant }.into());
    }
    db.lock(Lock::Terminal(new.merchant, new.id))?;
    let stored = terminal_of(db, new.merchant, new.id)?;
    let session = match &stored {
        None => new.session.clone(),
        Some(old) if old.master_key == new.master_key => old.session.clone(),
        Some(old) => TerminalSession { batch: old.session.batch, ..TerminalSession::NEW },
    };
    let wanted = Terminal { session, ..new.clone() };
    if stored.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let upsert = "INSERT INTO terminal (merchant, terminal, active, cipher, master_key, batch) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (merchant, terminal) DO UPDATE SET active = excluded.active, \
         cipher = excluded.cipher, master_key = excluded.master_key";
    db.execute(
        upsert,
        params![
            wanted.merchant.as_str(),
            wanted.id.as_str(),
            u8::from(wanted.active),
            cipher_code(wanted.cipher),
            &wanted.master_key,
            wanted.session.batch.get()
        ],
    )?;
    save_session(db, wanted.merchant, wanted.id, &wanted.session)?;
    advance(db, MASTER_VERSION, 1)?;
    Ok(())
}

/// Exchanges the wrappings of a terminal's keys when they are what they were.
pub(crate) fn rewrap_terminal(db: &dyn Db, old: &Terminal, new: &Terminal) -> Op<bool> {
    db.lock(Lock::Terminal(old.merchant, old.id))?;
    let unknown = StoreError::UnknownTerminal { merchant: old.merchant, terminal: old.id };
    let stored = terminal_of(db, old.merchant, old.id)?.ok_or(unknown)?;
    let same = stored.master_key == old.master_key
        && stored.session.keys == old.session.keys
        && stored.session.previous_keys == old.session.previous_keys;
    if !same {
        return Ok(false);
    }
    let update = "UPDATE terminal SET master_key = ?3 WHERE merchant = ?1 AND terminal = ?2";
    db.execute(update, params![old.merchant.as_str(), old.id.as_str(), &new.master_key])?;
    let session = TerminalSession {
        keys: new.session.keys.clone(),
        previous_keys: new.session.previous_keys.clone(),
        ..stored.session
    };
    save_session(db, old.merchant, old.id, &session)?;
    advance(db, MASTER_VERSION, 1)?;
    Ok(true)
}

fn save_session(
    db: &dyn Db,
    merchant: MerchantId,
    terminal: TerminalId,
    session: &TerminalSession,
) -> Op<()> {
    // The counter's row is locked until the commit, so that versions become visible in their order.
    let version = advance(db, SESSION_VERSION, 1)?;
    let update = "UPDATE terminal SET pin_key = ?3, mac_key = ?4, track_key = ?5, pin_key_before = ?6, \
         mac_key_before = ?7, track_key_before = ?8, signed_in_at = ?9, batch = ?10, session_version = ?11, \
         signed_in_before = ?12, wrong_macs = 0 \
         WHERE merchant = ?1 AND terminal = ?2";
    let (keys, before) = (session.keys.as_ref(), session.previous_keys.as_ref());
    db.execute(
        update,
        params![
            merchant.as_str(),
            terminal.as_str(),
            keys.map(|k| k.pin.as_str()),
            keys.map(|k| k.mac.as_str()),
            keys.and_then(|k| k.track.as_deref()),
            before.map(|k| k.pin.as_str()),
            before.map(|k| k.mac.as_str()),
            before.and_then(|k| k.track.as_deref()),
            session.signed_in_at.map(millis),
            session.batch.get(),
            version,
            session.previous_signed_in_at.map(millis)
        ],
    )?;
    Ok(())
}

/// Reads a terminal's session, lets `change` work on it, and writes it.
pub(crate) fn change_session(
    db: &dyn Db,
    merchant: MerchantId,
    id: TerminalId,
    change: &dyn Fn(&mut TerminalSession),
) -> Op<TerminalSession> {
    db.lock(Lock::Terminal(merchant, id))?;
    let stored = terminal_of(db, merchant, id)?;
    let mut session = stored.ok_or(StoreError::UnknownTerminal { merchant, terminal: id })?.session;
    let before = session.clone();
    change(&mut session);
    if session != before {
        save_session(db, merchant, id, &session)?;
    }
    Ok(session)
}

/// Counts a wrong MAC of a terminal; how many there were since its session changed or a right one forgave them.
pub(crate) fn count_wrong_mac(db: &dyn Db, merchant: MerchantId, id: TerminalId) -> Op<i64> {
    db.lock(Lock::Terminal(merchant, id))?;
    let key = params![merchant.as_str(), id.as_str()];
    let update = "UPDATE terminal SET wrong_macs = wrong_macs + 1 WHERE merchant = ?1 AND terminal = ?2";
    db.execute(update, key)?;
    number_of(db, "SELECT wrong_macs FROM terminal WHERE merchant = ?1 AND terminal = ?2", key)
}

/// A right MAC forgives the wrong ones before it.
pub(crate) fn forgive_wrong_macs(db: &dyn Db, merchant: MerchantId, id: TerminalId) -> Op<()> {
    db.lock(Lock::Terminal(merchant, id))?;
    let update = "UPDATE terminal SET wrong_macs = 0 \
         WHERE merchant = ?1 AND terminal = ?2 AND wrong_macs <> 0";
    db.execute(update, params![merchant.as_str(), id.as_str()])?;
    Ok(())
}

/// The first vault is remembered; another one is refused.
pub(crate) fn bind_vault(db: &dyn Db, fingerprint: &str) -> Op<()> {
    let insert = "INSERT INTO meta (name, value) VALUES ('vault', ?1) ON CONFLICT (name) DO NOTHING";
    db.execute(insert, params![fingerprint])?;
    let bound = bound_vault(db)?;
    if bound.as_deref() == Some(fingerprint) { Ok(()) } else { Err(StoreError::OtherVault.into()) }
}

/// The vault that was remembered.
pub(crate) fn bound_vault(db: &dyn Db) -> Op<Option<String>> {
    one(db, "SELECT value FROM meta WHERE name = 'vault'", &[], |c| c.take("value"))
}

/// From one master key of the same vault to the next.
pub(crate) fn rebind_vault(db: &dyn Db, from: &str, to: &str) -> Op<()> {
    db.execute("UPDATE meta SET value = ?2 WHERE name = 'vault' AND value = ?1", params![from, to])?;
    bind_vault(db, to)
}

pub(crate) fn record_unmatched(db: &dyn Db, line: &str, at: Timestamp, masked: &[u8], note: &str) -> Op<()> {
    db.lock(Lock::Sequence("unmatched"))?;
    let select = "SELECT COALESCE(MAX(sequence), 0) FROM unmatched_message WHERE line = ?1";
    let last = number_of(db, select, params![line])?;
    let insert =
        "INSERT INTO unmatched_message (line, sequence, at, message, note) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.execute(insert, params![line, last + 1, millis(at), masked, note])?;
    Ok(())
}
