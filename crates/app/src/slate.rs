//! The order under way, in one sealed file of the terminal's directory: replaced as a whole at every mark, so that whatever
//! moment the power goes it says how far the order had come.

use std::fs;
use std::path::{Path, PathBuf};

use pos::Security;
use receipt::Part;
use serde::{Deserialize, Serialize};

use crate::flow::{Ending, Mark, Order, Outcome};

const NAME: &str = "order.sealed";
const CONTEXT: &[u8] = b"app/order";

/// An order and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was ordered.
    pub order: Order,
    /// Batch and trace, from when it was about to be sent or done.
    pub numbers: Option<(u32, u32)>,
    /// Its end.
    pub ending: Option<Ending>,
    /// Copies on paper.
    pub printed: Vec<Part>,
    /// The caller has its answer, or the cashier has seen it.
    pub returned: bool,
    /// The order before it, when its outcome is still not known.
    #[serde(default)]
    pub before: Option<Box<Entry>>,
}

impl Entry {
    /// Whether it was sent and nobody knows what became of it.
    pub fn is_open(&self) -> bool {
        self.numbers.is_some()
            && self.ending.as_ref().is_some_and(|ending| ending.outcome == Outcome::Unknown)
    }

    /// The copy that should be on paper and is not.
    pub fn unprinted(&self) -> Option<Part> {
        if !self.order.trade.prints() {
            return None;
        }
        let mut last = None;
        while let Some(part) = self.order.print.after(last) {
            if !self.printed.contains(&part) {
                return Some(part);
            }
            last = Some(part);
        }
        None
    }
}

/// The file.
#[derive(Debug)]
pub struct Slate {
    path: PathBuf,
    entry: Option<Entry>,
}

impl Slate {
    /// Reads it, when there is one.
    ///
    /// # Errors
    /// It cannot be read, or was sealed by another device.
    pub fn open(directory: &Path, security: &dyn Security) -> Result<Self, String> {
        let path = directory.join(NAME);
        let entry = match fs::read(&path) {
            Ok(sealed) => {
                let text = security.open(CONTEXT, &sealed).map_err(|error| error.to_string())?;
                Some(serde_json::from_slice(&text).map_err(|error| error.to_string())?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.to_string()),
        };
        Ok(Self { path, entry })
    }

    /// The order under way, or the last one.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// Writes a mark down, durable when this returns.
    ///
    /// # Errors
    /// The disk. The file is as it was.
    pub fn mark(&mut self, mark: &Mark, security: &dyn Security) -> Result<(), String> {
        let mut next = self.entry.clone();
        match (mark, &mut next) {
            (Mark::Accepted(order), next) => {
                let before = next
                    .take()
                    .and_then(|last| if last.is_open() { Some(Box::new(last)) } else { last.before });
                *next = Some(Entry {
                    before,
                    order: (**order).clone(),
                    numbers: None,
                    ending: None,
                    printed: Vec::new(),
                    returned: false,
                });
            }
            (_, None) => return Ok(()),
            (Mark::Online { batch, trace }, Some(entry)) => entry.numbers = Some((*batch, *trace)),
            (Mark::Ended(ending), Some(entry)) => entry.ending = Some((**ending).clone()),
            (Mark::Printed(part), Some(entry)) => entry.printed.push(*part),
            (Mark::Returned, Some(entry)) => entry.returned = true,
        }
        self.write(next, security)
    }

    /// Orders that were sent and whose outcome nobody knows, with their batch and trace.
    pub fn open_orders(&self) -> Vec<(Order, u32, u32)> {
        let mut found = Vec::new();
        let mut at = self.entry.as_ref();
        while let Some(entry) = at {
            if let (true, Some((batch, trace))) = (entry.is_open(), entry.numbers) {
                found.push((entry.order.clone(), batch, trace));
            }
            at = entry.before.as_deref();
        }
        found
    }

    /// Writes down what became of an order whose outcome was not known.
    ///
    /// # Errors
    /// The disk. The file is as it was.
    pub fn settle(&mut self, order: &Order, ending: &Ending, security: &dyn Security) -> Result<(), String> {
        let mut next = self.entry.clone();
        let mut at = next.as_mut();
        while let Some(entry) = at {
            if entry.is_open() && entry.order == *order {
                entry.ending = Some(ending.clone());
            }
            at = entry.before.as_deref_mut();
        }
        self.write(next, security)
    }

    fn write(&mut self, next: Option<Entry>, security: &dyn Security) -> Result<(), String> {
        let Some(entry) = &next else { return Ok(()) };
        let text = serde_json::to_vec(entry).map_err(|error| error.to_string())?;
        let sealed = security.seal(CONTEXT, &text).map_err(|error| error.to_string())?;
        pos::write_atomic(&self.path, &sealed).map_err(|error| error.to_string())?;
        self.entry = next;
        Ok(())
    }
}
