//! Printers of counters: ESC/POS over any way, slips as dots.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hal::{
    Call, CashDrawer, Cut, Deadline, DeviceKind, DrawerState, ErrorKind, HalError, Paper, PrintJob, Printer,
    PrinterAbilities, PrinterStatus, Result, Width,
};
use receipt::escpos::{self, Condition};
use receipt::raster::{Strip, strips};
use receipt::{Bitmap, Copies, Font, Part};

use crate::link::{Link, Place, broken, send_all};

/// How long a printer may take to answer a question about its state. They answer at once, whatever they do.
const ANSWER: Duration = Duration::from_millis(800);
/// How long connecting, feeding and a drawer pulse may take.
const SHORT: Duration = Duration::from_secs(5);
/// Lines fed at the end, so that the last row is past the tear bar.
const TAIL: u8 = 4;
/// Forget what is in the buffers after an error (`DLE ENQ 2`): the slip begins again. Practice: some models obey it
/// for other errors than missing paper only, and then go on with the old slip.
const RECOVER: [u8; 3] = [0x10, 0x05, 0x02];

/// What differs between models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscPosModel {
    /// Its paper.
    pub width: Width,
    /// It cuts.
    pub cutter: bool,
    /// It answers questions about its state. Without that, paper that ends is noticed by nobody.
    pub answers: bool,
    /// The drawer's pin is high while the drawer is open; `None`: it has no contact.
    pub drawer_open_is_high: Option<bool>,
}

impl EscPosModel {
    /// 58 mm without cutter, as it stands at small counters.
    pub const SMALL: Self =
        Self { width: Width::W58, cutter: false, answers: true, drawer_open_is_high: None };
    /// 80 mm with cutter and drawer.
    pub const COUNTER: Self =
        Self { width: Width::W80, cutter: true, answers: true, drawer_open_is_high: Some(true) };
}

struct Way {
    link: Option<Box<dyn Link>>,
    /// A job broke off: the printer may still hold a part of it.
    stale: bool,
}

/// An ESC/POS printer, and the drawer on its plug.
pub struct EscPosPrinter {
    place: Place,
    model: EscPosModel,
    font: Arc<Font>,
    way: Mutex<Way>,
}

fn error(kind: ErrorKind) -> HalError {
    HalError::new(kind, DeviceKind::Printer)
}

impl EscPosPrinter {
    /// A printer that is there, or will be: the way is opened when it is used.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when there is no font; the text names the package to install.
    pub fn new(place: Place, model: EscPosModel, font: Option<&Path>) -> Result<Self> {
        let font =
            Font::load(font).map_err(|failed| error(ErrorKind::NotSupported).text(failed.to_string()))?;
        Ok(Self { place, model, font: Arc::new(font), way: Mutex::new(Way { link: None, stale: false }) })
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open way, opened if need be.
    fn link<'w>(&self, way: &'w mut Way) -> Result<&'w mut dyn Link> {
        if way.link.is_none() {
            let opened = self.place.open(SHORT);
            way.link = Some(opened.map_err(|failed| broken(DeviceKind::Printer, &failed))?);
        }
        match way.link.as_deref_mut() {
            Some(link) => Ok(link),
            None => Err(error(ErrorKind::Offline)),
        }
    }

    /// Does something on the way. A way that breaks is opened anew next time.
    fn on_way<R>(&self, act: impl FnOnce(&mut dyn Link) -> Result<R>) -> Result<R> {
        let mut way = self.way();
        let result = self.link(&mut way).and_then(act);
        if matches!(&result, Err(failed) if matches!(failed.kind, ErrorKind::ServiceLost | ErrorKind::Offline))
        {
            way.link = None;
        }
        result
    }

    /// Asks one question. `None`: no answer that is one.
    fn ask(link: &mut dyn Link, which: u8) -> Result<Option<Vec<Condition>>> {
        send_all(link, &escpos::ask(which), &Call::within(ANSWER), DeviceKind::Printer)?;
        let deadline = Deadline::after(ANSWER);
        while !deadline.passed() {
            let bytes = link.receive(1).map_err(|failed| broken(DeviceKind::Printer, &failed))?;
            // What is no status is noise, or an answer that nobody waited for.
            if let Some(said) = bytes.first().and_then(|byte| escpos::status(which, *byte)) {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    fn conditions(&self, link: &mut dyn Link) -> Result<Vec<Condition>> {
        if !self.model.answers {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for which in [2, 3, 4] {
            let said = Self::ask(link, which)?;
            all.extend(said.ok_or_else(|| error(ErrorKind::Offline).text("the printer does not answer"))?);
        }
        Ok(all)
    }

    /// Prints one copy strip by strip, looking at the paper after each.
    fn copy(&self, link: &mut dyn Link, job: &PrintJob, call: &Call) -> Result<()> {
        let signatures = |reference: &str| -> Option<Bitmap> { job.signatures.get(reference).cloned() };
        // The app has chosen the copy's lines already: all that are left are printed.
        let mut doc = job.doc.clone();
        doc.lines.iter_mut().for_each(|line| line.copy = Copies::Both);
        let strips = strips(&doc, Part::Merchant, &self.font, &signatures)
            .map_err(|failed| error(ErrorKind::BadParam).text(failed.to_string()))?;
        send_all(link, &escpos::INIT, call, DeviceKind::Printer)?;
        for strip in &strips {
            match strip {
                Strip::Image(image) => {
                    let mut bytes = Vec::new();
                    escpos::raster(image, &mut bytes);
                    let command = (image.row_bytes() * escpos::STRIP_MAX as usize).saturating_add(8);
                    for bytes in bytes.chunks(command) {
                        send_all(link, bytes, call, DeviceKind::Printer)?;
                        self.look(link)?;
                    }
                }
                Strip::Cut(how) if self.model.cutter => {
                    send_all(link, &[0x1B, b'd', TAIL], call, DeviceKind::Printer)?;
                    send_all(link, &escpos::cut(*how), call, DeviceKind::Printer)?;
                }
                Strip::Cut(_) => (),
                // A drawer opens by its own call and permission, never by a slip alone.
                Strip::Drawer => (),
            }
        }
        send_all(link, &[0x1B, b'd', TAIL], call, DeviceKind::Printer)?;
        self.look(link)
    }

    fn look(&self, link: &mut dyn Link) -> Result<()> {
        status_of(&self.conditions(link)?).problem().map_or(Ok(()), |kind| Err(error(kind)))
    }
}

/// What conditions mean.
fn status_of(conditions: &[Condition]) -> PrinterStatus {
    let said = |condition: Condition| conditions.contains(&condition);
    PrinterStatus {
        paper: if said(Condition::PaperEnd) {
            Paper::Out
        } else if said(Condition::PaperNearEnd) {
            Paper::NearEnd
        } else {
            Paper::Enough
        },
        cover_open: said(Condition::CoverOpen),
        overheated: said(Condition::Recoverable),
        low_power: false,
        fault: said(Condition::Cutter) || said(Condition::Unrecoverable),
        busy: false,
    }
}

impl Printer for EscPosPrinter {
    fn abilities(&self) -> PrinterAbilities {
        PrinterAbilities {
            width: self.model.width,
            images: true,
            barcodes: true,
            black_mark: false,
            cutter: self.model.cutter,
            gray: false,
        }
    }

    fn status(&self) -> Result<PrinterStatus> {
        self.on_way(|link| self.conditions(link)).map(|conditions| status_of(&conditions))
    }

    fn print(&self, job: &PrintJob, call: &Call) -> Result<()> {
        job.check()?;
        call.check(DeviceKind::Printer)?;
        if job.doc.width.dots() > self.model.width.dots() {
            return Err(error(ErrorKind::BadParam).text("the document is wider than the paper"));
        }
        let stale = std::mem::take(&mut self.way().stale);
        let result = self.on_way(|link| {
            self.look(link)?;
            if stale {
                send_all(link, &RECOVER, call, DeviceKind::Printer)?;
            }
            let result = (0..job.copies).try_for_each(|_| self.copy(link, job, call));
            // While it stands still: with new paper it would go on with the old slip at once.
            let forgot = result.is_err() && recover(link);
            Ok((result, forgot))
        });
        let (result, forgot) = match result {
            Ok((result, forgot)) => (result, forgot),
            // Refused before it began: what an earlier one left behind is there still.
            Err(failed) => (Err(failed), !stale),
        };
        self.way().stale = result.is_err() && !forgot;
        result
    }

    fn feed(&self, lines: u8) -> Result<()> {
        self.on_way(|link| {
            self.look(link)?;
            send_all(link, &[0x1B, b'd', lines], &Call::within(SHORT), DeviceKind::Printer)
        })
    }

    fn cut(&self, how: Cut) -> Result<()> {
        if !self.model.cutter {
            return HalError::not_supported(DeviceKind::Printer);
        }
        self.on_way(|link| send_all(link, &escpos::cut(how), &Call::within(SHORT), DeviceKind::Printer))
    }
}

/// Has the printer forget what it holds; whether it was told so.
fn recover(link: &mut dyn Link) -> bool {
    send_all(link, &RECOVER, &Call::within(ANSWER), DeviceKind::Printer).is_ok()
}

fn at_drawer(failed: HalError) -> HalError {
    HalError { device: DeviceKind::Drawer, ..failed }
}

/// The drawer on the printer's plug.
impl CashDrawer for EscPosPrinter {
    fn kick(&self) -> Result<()> {
        self.on_way(|link| send_all(link, &escpos::DRAWER, &Call::within(SHORT), DeviceKind::Drawer))
            .map_err(at_drawer)
    }

    fn status(&self) -> Result<DrawerState> {
        let Some(open_is_high) = self.model.drawer_open_is_high.filter(|_| self.model.answers) else {
            return Ok(DrawerState::Unknown);
        };
        let said = self.on_way(|link| Self::ask(link, 1)).map_err(at_drawer)?;
        let said = said.ok_or_else(|| HalError::new(ErrorKind::Offline, DeviceKind::Drawer))?;
        let open = said.contains(&Condition::DrawerPin) == open_is_high;
        Ok(if open { DrawerState::Open } else { DrawerState::Closed })
    }
}

/// A drawer on a serial line, opened by bytes of its maker's choice; most take any.
pub struct SerialDrawer {
    place: Place,
    pulse: Vec<u8>,
}

impl SerialDrawer {
    /// A drawer that opens by these bytes; `None`: the pulse of ESC/POS.
    pub fn new(place: Place, pulse: Option<Vec<u8>>) -> Self {
        Self { place, pulse: pulse.unwrap_or_else(|| escpos::DRAWER.to_vec()) }
    }
}

impl CashDrawer for SerialDrawer {
    fn kick(&self) -> Result<()> {
        let mut link = self.place.open(SHORT).map_err(|failed| broken(DeviceKind::Drawer, &failed))?;
        send_all(&mut *link, &self.pulse, &Call::within(SHORT), DeviceKind::Drawer)
    }

    fn status(&self) -> Result<DrawerState> {
        Ok(DrawerState::Unknown)
    }
}
