//! The books file: every event of the core as one JSON line, appended before the answer leaves, replayed at the
//! start. Events carry deck names and masked numbers only, so the file holds no card number, PIN or key.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Fsync;
use crate::error::SimError;
use crate::network::{Event, Network};
use crate::time::Moment;

#[derive(Serialize)]
struct LineOut<'a> {
    at: Moment,
    #[serde(flatten)]
    event: &'a Event,
}

#[derive(Deserialize)]
struct LineIn {
    at: Moment,
    #[serde(flatten)]
    event: Event,
}

/// The open file.
#[derive(Debug)]
pub struct BooksFile {
    path: PathBuf,
    file: File,
    fsync: Fsync,
    line: Vec<u8>,
}

impl BooksFile {
    /// Opens or creates the file, lets `network` live through its events and stands ready to append. Answers
    /// how many events there were.
    ///
    /// A last line without its line feed is what a killed process was writing when it died; it was never
    /// answered, so it is cut off.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, read or written, or a complete line is not an event.
    pub fn open(path: &Path, fsync: Fsync, network: &mut Network) -> Result<(Self, usize), SimError> {
        let fail = |source| SimError::Books { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        let mut good = 0_u64;
        let mut count = 0_usize;
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(fail)?;
            if read == 0 || text.last() != Some(&b'\n') {
                break;
            }
            let line: LineIn = serde_json::from_slice(&text).map_err(|e| SimError::BooksLine {
                path: path.to_owned(),
                line: count + 1,
                reason: e.to_string(),
            })?;
            network.apply(&line.event, line.at);
            good += read as u64;
            count += 1;
        }
        file.set_len(good).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        Ok((BooksFile { path: path.to_owned(), file, fsync, line: Vec::new() }, count))
    }

    /// Appends an event.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the event must then not be answered.
    pub fn append(&mut self, event: &Event, at: Moment) -> Result<(), SimError> {
        let fail = |source| SimError::Books { path: self.path.clone(), source };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &LineOut { at, event }).map_err(|e| fail(e.into()))?;
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(fail)?;
        if self.fsync == Fsync::Always {
            self.file.sync_data().map_err(fail)?;
        }
        Ok(())
    }

    /// Makes the disk hold all of it.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn sync(&self) -> Result<(), SimError> {
        self.file.sync_data().map_err(|source| SimError::Books { path: self.path.clone(), source })
    }
}
