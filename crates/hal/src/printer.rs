//! Paper.

use std::collections::BTreeMap;
use std::fmt;

use receipt::{Bitmap, Cut, ReceiptDoc, Width};

use crate::{Call, DeviceKind, ErrorKind, HalError, Result};

/// What a printer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrinterAbilities {
    /// Its paper: 384 or 576 dots.
    pub width: Width,
    /// Pictures, and with them Chinese text in any font.
    pub images: bool,
    /// Bar codes of its own.
    pub barcodes: bool,
    /// Finds black marks between labels.
    pub black_mark: bool,
    /// Cuts the paper.
    pub cutter: bool,
    /// Darkness can be set.
    pub gray: bool,
}

/// How much paper there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paper {
    /// Enough.
    #[default]
    Enough,
    /// The end is near; one slip still prints.
    NearEnd,
    /// None.
    Out,
}

/// How a printer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrinterStatus {
    /// Paper.
    pub paper: Paper,
    /// The cover is open.
    pub cover_open: bool,
    /// The head is too hot.
    pub overheated: bool,
    /// Not enough current for the head.
    pub low_power: bool,
    /// Cutter, motor or head are broken.
    pub fault: bool,
    /// At work.
    pub busy: bool,
}

impl PrinterStatus {
    /// What stands in the way of a slip. A printer at work is no obstacle.
    pub const fn problem(&self) -> Option<ErrorKind> {
        if self.fault {
            Some(ErrorKind::HardwareFault)
        } else if self.cover_open {
            Some(ErrorKind::CoverOpen)
        } else if matches!(self.paper, Paper::Out) {
            Some(ErrorKind::NoPaper)
        } else if self.overheated {
            Some(ErrorKind::Overheated)
        } else if self.low_power {
            Some(ErrorKind::LowPower)
        } else {
            None
        }
    }
}

/// A document to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintJob {
    /// The document: of a slip, one part ([`ReceiptDoc::part`]).
    pub doc: ReceiptDoc,
    /// How often, 1 to [`COPIES_MAX`].
    pub copies: u8,
    /// The signatures that the document names.
    pub signatures: BTreeMap<String, Bitmap>,
}

/// Most copies of one job.
pub const COPIES_MAX: u8 = 9;

impl PrintJob {
    /// One copy, without signatures.
    pub const fn once(doc: ReceiptDoc) -> Self {
        Self { doc, copies: 1, signatures: BTreeMap::new() }
    }

    /// Whether there is something to print.
    ///
    /// # Errors
    /// [`ErrorKind::BadParam`] for no line, no copy, or too many.
    pub fn check(&self) -> Result<()> {
        if self.doc.lines.is_empty() || !(1..=COPIES_MAX).contains(&self.copies) {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Printer).text("nothing to print"));
        }
        Ok(())
    }
}

/// Printer (打印机). What fails here never changes the outcome of a payment: the job is kept by the app and
/// printed again from its beginning.
pub trait Printer: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> PrinterAbilities;

    /// How it is.
    ///
    /// # Errors
    /// [`ErrorKind::Offline`], [`ErrorKind::ServiceLost`]. Missing paper is a status, not an error.
    fn status(&self) -> Result<PrinterStatus>;

    /// Prints, and comes back when the last line is on paper. A printer at work is waited for.
    ///
    /// # Errors
    /// [`ErrorKind::NoPaper`], [`ErrorKind::CoverOpen`], [`ErrorKind::Overheated`], [`ErrorKind::LowPower`]
    /// before or in the middle of the document; [`ErrorKind::BadParam`]; [`ErrorKind::HardwareFault`];
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`] with a part of it on paper.
    fn print(&self, job: &PrintJob, call: &Call) -> Result<()>;

    /// Moves the paper by lines.
    ///
    /// # Errors
    /// As [`Printer::print`].
    fn feed(&self, lines: u8) -> Result<()>;

    /// Cuts.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] without a cutter.
    fn cut(&self, how: Cut) -> Result<()> {
        let _: Cut = how;
        HalError::not_supported(DeviceKind::Printer)
    }

    /// Darkness, 0 to 7.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`], [`ErrorKind::BadParam`] above 7.
    fn set_gray(&self, level: u8) -> Result<()> {
        let _: u8 = level;
        HalError::not_supported(DeviceKind::Printer)
    }
}

impl fmt::Display for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enough => "enough",
            Self::NearEnd => "near its end",
            Self::Out => "out",
        })
    }
}
