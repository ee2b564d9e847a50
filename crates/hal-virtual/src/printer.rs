//! Paper that is remembered.

use hal::{
    Call, Cut, DeviceKind, ErrorKind, HalError, Paper, PrintJob, Printer, PrinterAbilities, PrinterStatus,
    ReceiptDoc, Result,
};

use crate::readers::Face;
use crate::state::{LINE_MM, PRINTED_MAX, Printed, State};

fn error(kind: ErrorKind) -> HalError {
    HalError::new(kind, DeviceKind::Printer)
}

impl State {
    /// Brings one line to paper.
    fn print_line(&mut self) -> Result<()> {
        if let Some(kind) = self.printer_problem() {
            return Err(error(kind));
        }
        if let Some(left) = self.printer.lines_left.as_mut() {
            *left = left.saturating_sub(1);
        }
        self.printer.line = self.printer.line.saturating_add(1);
        self.counters.paper_mm = self.counters.paper_mm.saturating_add(LINE_MM);
        Ok(())
    }

    /// The copy ends, all or a part of it on paper.
    fn end_copy(&mut self, doc: &ReceiptDoc, complete: bool) {
        let lines = usize::try_from(self.printer.line).unwrap_or(usize::MAX);
        self.printer.line = 0;
        let counter = if complete { &mut self.counters.prints } else { &mut self.counters.print_failures };
        *counter = counter.saturating_add(1);
        if lines == 0 {
            return;
        }
        self.printer.count = self.printer.count.saturating_add(1);
        if self.printer.printed.len() == PRINTED_MAX {
            self.printer.printed.pop_front();
        }
        let mut doc = doc.clone();
        doc.lines.truncate(lines);
        self.printer.printed.push_back(Printed { number: self.printer.count, doc, complete, torn: false });
    }
}

impl Face {
    fn print_copy(&self, doc: &ReceiptDoc, call: &Call) -> Result<()> {
        for _ in &doc.lines {
            self.device.wait(DeviceKind::Printer, call, |state| {
                if state.printer.held && state.printer_problem().is_none() {
                    return None;
                }
                Some(state.print_line())
            })?;
        }
        Ok(())
    }
}

impl Printer for Face {
    fn abilities(&self) -> PrinterAbilities {
        PrinterAbilities {
            width: self.device.width,
            images: true,
            barcodes: true,
            black_mark: false,
            cutter: true,
            gray: true,
        }
    }

    fn status(&self) -> Result<PrinterStatus> {
        self.device.powered(DeviceKind::Printer)?;
        let state = self.device.signal.lock();
        let printer = &state.printer;
        Ok(PrinterStatus {
            paper: if printer.lines_left == Some(0) { Paper::Out } else { printer.paper },
            cover_open: printer.cover_open,
            overheated: printer.overheated,
            low_power: printer.low_power,
            fault: printer.fault,
            busy: printer.busy,
        })
    }

    fn print(&self, job: &PrintJob, call: &Call) -> Result<()> {
        job.check()?;
        if job.doc.width.dots() > self.device.width.dots() {
            return Err(error(ErrorKind::BadParam).text("the document is wider than the paper"));
        }
        self.device.wait(DeviceKind::Printer, call, |state| {
            if let Some(kind) = state.printer_problem() {
                return Some(Err(error(kind)));
            }
            (!state.printer.busy).then(|| {
                state.printer.busy = true;
                Ok(())
            })
        })?;
        let result = (0..job.copies).try_for_each(|_| {
            let result = self.print_copy(&job.doc, call);
            self.device.change(|state| state.end_copy(&job.doc, result.is_ok()));
            result
        });
        self.device.change(|state| state.printer.busy = false);
        result
    }

    fn feed(&self, lines: u8) -> Result<()> {
        self.device.powered(DeviceKind::Printer)?;
        self.device.change(|state| {
            let result = (0..lines).try_for_each(|_| state.print_line());
            state.printer.line = 0;
            result
        })
    }

    fn cut(&self, _how: Cut) -> Result<()> {
        self.device.powered(DeviceKind::Printer)?;
        self.device.change(|state| {
            state.printer_problem().map_or(Ok(()), |kind| Err(error(kind)))?;
            state.printer.printed.iter_mut().for_each(|printed| printed.torn = true);
            Ok(())
        })
    }

    fn set_gray(&self, level: u8) -> Result<()> {
        if level > 7 {
            return Err(error(ErrorKind::BadParam).text("darkness is 0 to 7"));
        }
        self.device.change(|state| state.printer.gray = level);
        Ok(())
    }
}
