//! The vault file.
//!
//! ```text
//! posp vault v1
//! check 8 hex digits                 check value of the master key
//! master 64 hex digits               absent when its components are entered at every start
//! prepared 64 hex digits             the next master key, behind the one in force (v2 alone)
//! older 64 hex digits                a master key before it, until nothing refers to it; newest first
//! key v1:data:aes256:...             the key ring, one line a key
//! key v1:digest:hmac256:...
//! ```
//!
//! A file with a prepared key says `posp vault v2`: a release that would not know what to do with the key does not
//! open it. Without one it is v1 again, for every release.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::VaultError;
use super::ring::{KeyRing, MasterKey};
use crate::key::Kcv;

const FIRST_LINE: &str = "posp vault v1";
/// Of a file that may have a prepared key.
const FIRST_LINE_PREPARED: &str = "posp vault v2";
/// What the first line of every version begins with.
const ANY_VERSION: &str = "posp vault v";
/// A vault file is a few lines; anything longer is another file.
const FILE_MAX: u64 = 64 * 1024;
/// Master keys before the one in force; a rotation that is not finished is not begun anew.
const OLDER_MAX: usize = 4;
/// Readable and writable by its owner, by nobody else.
const MODE: u32 = 0o600;

/// What a vault file holds.
pub(crate) struct VaultFile {
    pub(crate) check: Kcv,
    pub(crate) master: Option<MasterKey>,
    /// The master key that is to follow it: known, and nothing is under it.
    pub(crate) prepared: Option<MasterKey>,
    /// Master keys before it that may still have keys under them, the newest first.
    pub(crate) older: Vec<MasterKey>,
    pub(crate) ring: KeyRing,
}

/// Reads a file after checking that it is its owner's alone.
pub(crate) fn read(path: &Path) -> Result<VaultFile, VaultError> {
    let shown = || path.display().to_string();
    let failed = |source| VaultError::Io { path: shown(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(VaultError::Missing { path: shown() });
        }
        Err(error) => return Err(failed(error)),
    };
    // The checks look at the opened file, not at the name, so nothing can be swapped in between.
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(VaultError::Damaged { path: shown(), reason: "it is not a regular file" });
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(VaultError::Owner { path: shown() });
    }
    if about.mode() & 0o077 != 0 {
        return Err(VaultError::Permissions { path: shown(), mode: about.mode() & 0o7777 });
    }
    if about.len() > FILE_MAX {
        return Err(VaultError::Damaged { path: shown(), reason: "it is far too long" });
    }
    // Room enough from the start: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX as usize));
    match file.take(FILE_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(VaultError::Damaged { path: shown(), reason: "it is not text" });
        }
        Err(error) => return Err(failed(error)),
    }
    parse(&text).map_err(|reason| VaultError::Damaged { path: shown(), reason })
}

fn parse(text: &str) -> Result<VaultFile, &'static str> {
    let mut lines = text.lines();
    let may_prepare = match lines.next() {
        Some(FIRST_LINE) => false,
        Some(FIRST_LINE_PREPARED) => true,
        Some(line) if line.starts_with(ANY_VERSION) => {
            return Err("it is of a version that this release does not know");
        }
        _ => return Err("its first line is not \"posp vault v1\""),
    };
    let (mut check, mut master, mut prepared, mut ring) = (None, None, None, String::new());
    let mut older = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').ok_or("a line without a value")?;
        match name {
            "check" if check.is_none() => {
                check = Some(value.parse::<Kcv>().map_err(|_| "the check value is not 8 hex digits")?);
            }
            "master" if master.is_none() => {
                master = Some(key(value, "the master key is not 64 hex digits")?);
            }
            "prepared" if may_prepare && prepared.is_none() => {
                prepared = Some(key(value, "the prepared master key is not 64 hex digits")?);
            }
            "older" if older.len() < OLDER_MAX => {
                older.push(key(value, "an older master key is not 64 hex digits")?);
            }
            "key" => {
                ring.push_str(value);
                ring.push('\n');
            }
            _ => return Err("a line that is unknown or there twice"),
        }
    }
    let check = check.ok_or("the check value is missing")?;
    if let Some(master) = &master
        && master.check_value().ok() != Some(check)
    {
        return Err("the master key does not have the check value beside it");
    }
    if master.is_none() && prepared.is_some() {
        return Err("a master key is prepared, and the one in force is missing");
    }
    let ring = ring.parse().map_err(|_| "the key ring is damaged")?;
    Ok(VaultFile { check, master, prepared, older, ring })
}

/// A master key in hexadecimal digits.
fn key(digits: &str, otherwise: &'static str) -> Result<MasterKey, &'static str> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(digits, &mut *bytes).map_err(|_| otherwise)?;
    Ok(MasterKey::from_bytes(&bytes))
}

/// Writes a new file; never over an existing one.
pub(crate) fn create(path: &Path, content: &VaultFile) -> Result<(), VaultError> {
    let shown = || path.display().to_string();
    let failed = |source| VaultError::Io { path: shown(), source };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(VaultError::Exists { path: shown() });
        }
        Err(error) => return Err(failed(error)),
    };
    let text = render(content);
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a vault is worth nothing and would block the next attempt.
        drop(file);
        return Err(match std::fs::remove_file(path) {
            Ok(()) => failed(error),
            Err(left) => failed(left),
        });
    }
    sync_name(path).map_err(failed)
}

/// The name must survive a crash as well as the content.
fn sync_name(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all())
}

/// Puts another content in the place of a vault file: a file beside it is written and flushed, then takes its
/// name, so whoever opens it, and whatever crashes, finds the one or the other.
pub(crate) fn replace(path: &Path, content: &VaultFile) -> Result<(), VaultError> {
    let failed = |source| VaultError::Io { path: path.display().to_string(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What a crash left half-written is worth nothing.
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside).map_err(failed)?;
    file.write_all(&render(content)).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(beside, path).and_then(|()| sync_name(path)).map_err(failed)
}

/// What tells one content of the file from another without reading it.
pub(crate) fn stamp(path: &Path) -> Option<(u64, i64, i64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.mtime(), about.mtime_nsec()))
}

/// The file's text, built in one piece so that no copy of the key is left behind.
fn render(content: &VaultFile) -> Zeroizing<Vec<u8>> {
    let VaultFile { check, master, prepared, older, ring } = content;
    let first = if prepared.is_some() { FIRST_LINE_PREPARED } else { FIRST_LINE };
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    text.extend_from_slice(format!("{first}\ncheck {check}\n").as_bytes());
    let masters = master.iter().map(|master| ("master ", master));
    let prepared = prepared.iter().map(|master| ("prepared ", master));
    let older = older.iter().map(|master| ("older ", master));
    for (name, master) in masters.chain(prepared).chain(older) {
        let mut digits = Zeroizing::new([0u8; 64]);
        if hex::encode_to_slice(master.bytes(), &mut *digits).is_ok() {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(&*digits);
            text.push(b'\n');
        }
    }
    for key in ring.keys() {
        text.extend_from_slice(format!("key {key}\n").as_bytes());
    }
    text
}
