//! Transaction counters that survive the process: a chip never uses a counter twice.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no counter.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The last counter, FFFF, is used: the card is finished.
    #[error("the chip has reached its last transaction")]
    Exhausted,
    /// The file cannot be read or written.
    #[error("{what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Where the counters of cards are kept.
pub trait CounterStore: Send {
    /// Raises the counter of a card and returns the new value. `first` is the value of a card that was never used. The
    /// new value is durable when this returns.
    ///
    /// # Errors
    /// [`CounterError`]; the counter is as before then.
    fn raise(&mut self, card: &str, first: u16) -> Result<u16, CounterError>;
}

fn next(counters: &mut BTreeMap<String, u16>, card: &str, first: u16) -> Result<u16, CounterError> {
    let counter = counters.entry(card.to_owned()).or_insert(first);
    *counter = counter.checked_add(1).ok_or(CounterError::Exhausted)?;
    Ok(*counter)
}

/// Counters in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryCounters(BTreeMap<String, u16>);

impl MemoryCounters {
    /// No card was used yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }
}

impl CounterStore for MemoryCounters {
    fn raise(&mut self, card: &str, first: u16) -> Result<u16, CounterError> {
        next(&mut self.0, card, first)
    }
}

/// Counters in a JSON file (`cards.json`: name to counter) that several processes may share: each change is made under
/// a lock, written beside, flushed and renamed, before the card answers.
#[derive(Debug)]
pub struct FileCounters {
    path: PathBuf,
}

impl FileCounters {
    /// Counters in `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn replace(&self, text: &[u8]) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl CounterStore for FileCounters {
    fn raise(&mut self, card: &str, first: u16) -> Result<u16, CounterError> {
        let path = self.path.clone();
        let failed = move |what| {
            let path = path.clone();
            move |source| CounterError::File { what, path, source }
        };
        let guard = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.with_extension("lock"))
            .map_err(failed("opening the lock of"))?;
        guard.lock().map_err(failed("locking"))?;
        let mut counters: BTreeMap<String, u16> = match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| failed("understanding")(std::io::Error::other(error)))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed("reading")(error)),
        };
        let reached = next(&mut counters, card, first)?;
        let text = serde_json::to_vec_pretty(&counters)
            .map_err(|error| failed("writing")(std::io::Error::other(error)))?;
        self.replace(&text).map_err(failed("writing"))?;
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two holders of one file, as a terminal and a bench have it: no counter is given twice.
    #[test]
    fn counters_only_rise_whoever_raises_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cards.json");
        let raised: Vec<u16> = std::thread::scope(|scope| {
            let hands: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    scope.spawn(move || {
                        let mut store = FileCounters::new(path);
                        (0..10).map(|_| store.raise("L01", 0x0011).unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            hands.into_iter().flat_map(|hand| hand.join().unwrap()).collect()
        });
        let mut sorted = raised.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0x0012..0x0012 + 40).collect::<Vec<u16>>());
        assert_eq!(FileCounters::new(&path).raise("L02", 0x0011).unwrap(), 0x0012);
    }

    #[test]
    fn the_last_counter_is_the_last() {
        let mut store = MemoryCounters::new();
        assert_eq!(store.raise("L01", 0xFFFE).unwrap(), 0xFFFF);
        assert!(matches!(store.raise("L01", 0xFFFE), Err(CounterError::Exhausted)));
    }

    #[test]
    fn a_file_that_is_no_map_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cards.json");
        fs::write(&path, "not a map").unwrap();
        assert!(FileCounters::new(&path).raise("L01", 0x0011).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a map");
    }
}
