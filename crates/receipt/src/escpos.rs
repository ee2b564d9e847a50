//! ESC/POS: what the printers of counters understand. Slips go as dots, because Chinese text modes differ from printer to
//! printer, and dots do not.

use crate::bitmap::Bitmap;
use crate::font::Font;
use crate::model::{Cut, Part, ReceiptDoc};
use crate::raster::{Strip, strips};
use crate::render::{RenderError, Signatures};

const ESC: u8 = 0x1B;
const GS: u8 = 0x1D;
const DLE: u8 = 0x10;

/// First command of each job.
pub const INIT: [u8; 2] = [ESC, b'@'];
/// Opens the drawer on pin 2: 50 ms on, 500 ms off.
pub const DRAWER: [u8; 5] = [ESC, b'p', 0, 0x19, 0xFA];
/// Rows of dots in one command: what the smallest buffers hold.
pub const STRIP_MAX: u32 = 255;
/// Lines of paper fed before a cut or the end, so that the last printed row is past the cutter.
const FEED: u8 = 4;

/// One copy as a job: init, dots, feed, cuts, drawer.
pub fn encode(
    doc: &ReceiptDoc,
    part: Part,
    font: &Font,
    signatures: Signatures<'_>,
) -> Result<Vec<u8>, RenderError> {
    let mut job = INIT.to_vec();
    let mut fed = true;
    for strip in strips(doc, part, font, signatures)? {
        match strip {
            Strip::Image(image) => {
                raster(&image, &mut job);
                fed = false;
            }
            Strip::Cut(how) => {
                feed(&mut job);
                job.extend(cut(how));
                fed = true;
            }
            Strip::Drawer => job.extend(DRAWER),
        }
    }
    if !fed {
        feed(&mut job);
    }
    Ok(job)
}

/// An image as raster commands, in strips.
pub fn raster(image: &Bitmap, job: &mut Vec<u8>) {
    let row = image.row_bytes();
    let [x_low, x_high, ..] = u32::try_from(row).unwrap_or(u32::MAX).to_le_bytes();
    for rows in image.bytes().chunks(row * STRIP_MAX as usize) {
        let [y_low, y_high, ..] = u32::try_from(rows.len() / row).unwrap_or(0).to_le_bytes();
        job.extend([GS, b'v', b'0', 0, x_low, x_high, y_low, y_high]);
        job.extend_from_slice(rows);
    }
}

fn feed(job: &mut Vec<u8>) {
    job.extend([ESC, b'd', FEED]);
}

/// The command of a cut.
pub fn cut(how: Cut) -> [u8; 3] {
    [GS, b'V', if how == Cut::Full { 0 } else { 1 }]
}

/// What a printer did with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Printed {
    /// Reset.
    Init,
    /// Dots; neighbouring commands of the same width are one image.
    Image(Bitmap),
    /// Paper fed, in lines.
    FeedLines(u8),
    /// Paper fed, in dots.
    FeedDots(u8),
    /// Paper cut, after a feed of so many dots.
    Cut(Cut, u8),
    /// A pulse to the drawer: pin 0 or 1, on and off in steps of 2 ms.
    Drawer(u8, u8, u8),
    /// A question about the state: 1 printer, 2 cause, 3 error, 4 paper.
    Status(u8),
}

/// Why a job cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the job begins no command that is known here, or one that is cut short")]
pub struct JobError {
    /// Where.
    pub at: usize,
}

/// Reads a job back: what a printer in software shows, and what tests compare.
pub fn decode(job: &[u8]) -> Result<Vec<Printed>, JobError> {
    let mut done = Vec::new();
    let mut at = 0;
    while let Some(rest) = job.get(at..).filter(|rest| !rest.is_empty()) {
        let (printed, used) = command(rest).ok_or(JobError { at })?;
        at += used;
        match (done.last_mut(), printed) {
            (Some(Printed::Image(above)), Printed::Image(below)) if above.width() == below.width() => {
                let data = [above.bytes(), below.bytes()].concat();
                *above = Bitmap::from_bytes(above.width(), above.height() + below.height(), data)
                    .map_err(|_| JobError { at })?;
            }
            (_, printed) => done.push(printed),
        }
    }
    Ok(done)
}

fn command(bytes: &[u8]) -> Option<(Printed, usize)> {
    Some(match bytes {
        [ESC, b'@', ..] => (Printed::Init, 2),
        [ESC, b'd', lines, ..] => (Printed::FeedLines(*lines), 3),
        [ESC, b'J', dots, ..] => (Printed::FeedDots(*dots), 3),
        [ESC, b'p', pin @ (0 | 1), on, off, ..] => (Printed::Drawer(*pin, *on, *off), 5),
        [GS, b'V', 0, ..] => (Printed::Cut(Cut::Full, 0), 3),
        [GS, b'V', 1, ..] => (Printed::Cut(Cut::Partial, 0), 3),
        [GS, b'V', 0x42, dots, ..] => (Printed::Cut(Cut::Partial, *dots), 4),
        [DLE, 4, which @ 1..=4, ..] => (Printed::Status(*which), 3),
        [GS, b'v', b'0', 0, x_low, x_high, y_low, y_high, data @ ..] => {
            let row = usize::from(u16::from_le_bytes([*x_low, *x_high]));
            let high = u16::from_le_bytes([*y_low, *y_high]);
            let data = data.get(..row * usize::from(high))?;
            let wide = u32::try_from(row * 8).ok()?;
            let image = Bitmap::from_bytes(wide, u32::from(high), data.to_vec()).ok()?;
            (Printed::Image(image), 8 + data.len())
        }
        _ => return None,
    })
}

/// What a status byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Off-line.
    Offline,
    /// The drawer's pin is high.
    DrawerPin,
    /// The cover is open.
    CoverOpen,
    /// Printing stopped because paper ended.
    PaperEnd,
    /// Some error.
    Error,
    /// The cutter is jammed.
    Cutter,
    /// An error that a person must see to.
    Unrecoverable,
    /// An error that passes, as a hot head.
    Recoverable,
    /// Paper is near its end.
    PaperNearEnd,
}

/// Bits of the four answers.
const CONDITIONS: [(u8, u8, Condition); 10] = [
    (1, 0x08, Condition::Offline),
    (1, 0x04, Condition::DrawerPin),
    (2, 0x04, Condition::CoverOpen),
    (2, 0x20, Condition::PaperEnd),
    (2, 0x40, Condition::Error),
    (3, 0x08, Condition::Cutter),
    (3, 0x20, Condition::Unrecoverable),
    (3, 0x40, Condition::Recoverable),
    (4, 0x0C, Condition::PaperNearEnd),
    (4, 0x60, Condition::PaperEnd),
];

/// The question about the state: `which` is 1 printer, 2 cause, 3 error, 4 paper.
pub fn ask(which: u8) -> [u8; 3] {
    [DLE, 4, which]
}

/// What the answer to question `which` says; `None` when the byte is no status, which has a fixed pattern.
pub fn status(which: u8, byte: u8) -> Option<Vec<Condition>> {
    const PATTERN: (u8, u8) = (0x93, 0x12);
    if byte & PATTERN.0 != PATTERN.1 || !(1..=4).contains(&which) {
        return None;
    }
    let said = CONDITIONS.iter().filter(|(question, bits, _)| *question == which && byte & bits != 0);
    Some(said.map(|(_, _, condition)| *condition).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever bytes a program sends to a printer in software, it reads them or says where it cannot.
        #[test]
        fn no_bytes_bring_the_reader_down(head in 0_usize..4, job in proptest::collection::vec(any::<u8>(), 0..64)) {
            let begun: [&[u8]; 4] = [&[], &[0x1D, 0x76, 0x30, 0], &[0x1B], &[0x1D, 0x56]];
            let job = [begun[head], &job].concat();
            if let Err(error) = decode(&job) {
                prop_assert!(error.at < job.len());
            }
        }
    }

    /// The checker of 16 x 2 dots, byte for byte.
    #[test]
    fn the_checker_pattern() {
        let image = Bitmap::from_bytes(16, 2, vec![0xAA, 0xAA, 0x55, 0x55]).unwrap();
        let mut job = Vec::new();
        raster(&image, &mut job);
        assert_eq!(job, [0x1D, 0x76, 0x30, 0, 2, 0, 2, 0, 0xAA, 0xAA, 0x55, 0x55]);
        assert_eq!(decode(&job).unwrap(), [Printed::Image(image)]);
    }

    /// A long image goes in strips that a small buffer holds, and comes back as one.
    #[test]
    fn a_long_image_goes_in_strips() {
        let data: Vec<u8> = (0..48 * 600_u32).map(|n| (n % 251) as u8).collect();
        let image = Bitmap::from_bytes(384, 600, data).unwrap();
        let mut job = Vec::new();
        raster(&image, &mut job);
        assert_eq!(job[..8], [0x1D, 0x76, 0x30, 0, 0x30, 0, 255, 0]);
        assert_eq!(job.len(), 48 * 600 + 3 * 8);
        assert_eq!(decode(&job).unwrap(), [Printed::Image(image)]);
    }

    #[test]
    fn a_status_byte_has_its_fixed_pattern() {
        assert_eq!(status(1, 0x12), Some(vec![]));
        assert_eq!(status(1, 0x1A), Some(vec![Condition::Offline]));
        assert_eq!(status(2, 0x36), Some(vec![Condition::CoverOpen, Condition::PaperEnd]));
        assert_eq!(status(4, 0x1E), Some(vec![Condition::PaperNearEnd]));
        assert_eq!(status(4, 0x72), Some(vec![Condition::PaperEnd]));
        assert_eq!(status(1, 0x00), None, "a byte of something else");
        assert_eq!(status(5, 0x12), None);
    }

    #[test]
    fn a_job_that_is_cut_short_or_unknown_says_where() {
        assert_eq!(decode(&[0x1B, 0x40, 0x1D, 0x76, 0x30, 0, 2, 0, 2, 0, 0xAA]), Err(JobError { at: 2 }));
        assert_eq!(decode(&[0x41]), Err(JobError { at: 0 }));
    }
}
