//! A driver over the odd vendor's SDK: what an adapter takes, in a file of less than 300 lines.
//!
//! The habits it evens out: "no" with the reason asked for afterwards; a printer that says 2 for heat while
//! the card reader says 2 for a mute card (a table for each device); a slot that must be looked at; seconds
//! where the HAL has any duration; answers on the SDK's own thread; a service that dies.

use std::sync::Arc;
use std::time::Duration;

use hal::{
    Call, Camera, CancelToken, Code, CodeFormat, Counters, Deadline, Device, DeviceEntry, DeviceInfo,
    DeviceKind, DriverSet, ErrorKind, HalError, Health, IccReader, Identity, Paper, PowerUp, PrintJob,
    Printer, PrinterAbilities, PrinterStatus, Result, Scanner, Signal, Tamper, VendorTable, Versions, Width,
};
use receipt::Element;

use super::sdk::{OddService, SERVICE_CRASHED};
use super::tables::{CARD, PRINTER, SCANNER};

const DEVICES: [DeviceKind; 4] =
    [DeviceKind::Printer, DeviceKind::Icc, DeviceKind::Scanner, DeviceKind::Info];

/// The longest that the vendor's own waits are asked for; ours end them before.
const VENDOR_SECONDS: u32 = 3600;
/// How often the slot is looked at, since the vendor tells nobody when a card comes.
const LOOK: Duration = Duration::from_millis(20);

pub struct OddDrivers(pub Arc<OddService>);

struct Odd {
    service: Arc<OddService>,
    /// Whether the vendor's card has had power in this lease: tells "removed" from "none".
    powered: Arc<Signal<bool>>,
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.service.close_device();
    }
}

impl Odd {
    /// The vendor said "no": the reason is fetched and put into the field's words.
    fn why(&self, table: &VendorTable) -> HalError {
        table.error(self.service.get_last_error())
    }

    fn said(&self, yes: bool, table: &VendorTable) -> Result<()> {
        if yes { Ok(()) } else { Err(self.why(table)) }
    }

    /// "No card" and "dead" look alike in a boolean.
    fn alive(&self, device: DeviceKind) -> Result<()> {
        if self.service.printer_status() == SERVICE_CRASHED {
            return Err(HalError::new(ErrorKind::ServiceLost, device).code(SERVICE_CRASHED));
        }
        Ok(())
    }

    fn look_until(&self, present: bool, call: &Call) -> Result<()> {
        loop {
            self.alive(DeviceKind::Icc)?;
            if self.service.card_present() == present {
                return Ok(());
            }
            call.check(DeviceKind::Icc)?;
            call.cancel.wait_until(Deadline::after(LOOK).min(call.deadline));
        }
    }
}

impl DriverSet for OddDrivers {
    fn inventory(&self) -> Vec<DeviceEntry> {
        DEVICES
            .iter()
            .map(|kind| DeviceEntry { kind: *kind, index: 0, name: format!("odd {kind}") })
            .collect()
    }

    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device> {
        if !DEVICES.contains(&kind) || index > 0 {
            return HalError::not_supported(kind);
        }
        if !self.0.open_device() {
            return Err(HalError::new(ErrorKind::ServiceLost, kind).code(self.0.get_last_error()));
        }
        let odd = Arc::new(Odd { service: Arc::clone(&self.0), powered: Signal::new(false) });
        Ok(match kind {
            DeviceKind::Printer => Device::Printer(odd),
            DeviceKind::Icc => Device::Icc(odd),
            DeviceKind::Scanner => Device::Scanner(odd),
            _ => Device::Info(odd),
        })
    }

    fn released(&self, kind: DeviceKind, _index: u8) {
        if kind == DeviceKind::Icc {
            self.0.power_down();
        }
    }

    fn health(&self, kind: DeviceKind, _index: u8) -> Result<Health> {
        match self.0.printer_status() {
            _ if !DEVICES.contains(&kind) => HalError::not_supported(kind),
            SERVICE_CRASHED => Ok(Health::Failed(ErrorKind::ServiceLost)),
            code if kind == DeviceKind::Printer && code != 0 => {
                Ok(Health::NeedsAttention(PRINTER.error(code).kind))
            }
            _ => Ok(Health::Good),
        }
    }
}

impl DeviceInfo for Odd {
    fn identity(&self) -> Result<Identity> {
        self.alive(DeviceKind::Info)?;
        let text = |text: &str| text.to_owned();
        Ok(Identity {
            serial: text("ODD-1"),
            part: text("O1"),
            model: text("Odd One"),
            vendor: text("Odd"),
            device_type: text("04"),
            platform: text("android"),
        })
    }

    fn versions(&self) -> Result<Versions> {
        Ok(Versions::from([("driver".to_owned(), "1".to_owned())]))
    }

    fn counters(&self) -> Result<Counters> {
        self.alive(DeviceKind::Info)?;
        let [prints, inserts, scans] = self.service.counters();
        Ok(Counters { prints, inserts, scans, ..Counters::default() })
    }

    fn tamper(&self) -> Result<Tamper> {
        Ok(Tamper { tampered: false, code: None })
    }
}

impl Printer for Odd {
    fn abilities(&self) -> PrinterAbilities {
        PrinterAbilities {
            width: Width::W58,
            images: false,
            barcodes: false,
            black_mark: false,
            cutter: false,
            gray: false,
        }
    }

    fn status(&self) -> Result<PrinterStatus> {
        let code = self.service.printer_status();
        if code == 0 {
            return Ok(PrinterStatus::default());
        }
        let error = PRINTER.error(code);
        let mut status = PrinterStatus::default();
        match error.kind {
            ErrorKind::NoPaper => status.paper = Paper::Out,
            ErrorKind::Overheated => status.overheated = true,
            ErrorKind::LowPower => status.low_power = true,
            // Not an error of the trade.
            ErrorKind::Busy => status.busy = true,
            ErrorKind::HardwareFault => status.fault = true,
            _ => return Err(error),
        }
        Ok(status)
    }

    fn print(&self, job: &PrintJob, call: &Call) -> Result<()> {
        job.check()?;
        call.check(DeviceKind::Printer)?;
        if let Some(kind) = self.status()?.problem() {
            return Err(HalError::new(kind, DeviceKind::Printer).code(self.service.printer_status()));
        }
        for _ in 0..job.copies {
            for line in &job.doc.lines {
                let text = match &line.element {
                    Element::Text { left, right, .. } => {
                        [left.as_str(), right.as_deref().unwrap_or_default()].join("  ")
                    }
                    Element::KeyValue { label, value, .. } => format!("{label}: {value}"),
                    _ => String::new(),
                };
                self.said(self.service.add_text(&text), &PRINTER)?;
            }
            self.said(self.service.start_print(), &PRINTER)?;
        }
        Ok(())
    }

    fn feed(&self, lines: u8) -> Result<()> {
        (0..lines).try_for_each(|_| self.said(self.service.add_text(""), &PRINTER))?;
        self.said(self.service.start_print(), &PRINTER)
    }
}

impl IccReader for Odd {
    fn present(&self) -> Result<bool> {
        self.alive(DeviceKind::Icc)?;
        Ok(self.service.card_present())
    }

    fn wait_card(&self, call: &Call) -> Result<()> {
        self.look_until(true, call)
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.look_until(false, call)
    }

    fn power_up(&self, _how: &PowerUp) -> Result<Vec<u8>> {
        if !self.present()? {
            return Err(HalError::new(ErrorKind::NoCard, DeviceKind::Icc));
        }
        let atr = self.service.power_up().ok_or_else(|| self.why(&CARD))?;
        self.powered.update(|powered| *powered = true);
        Ok(atr)
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Icc)?;
        if !*self.powered.lock() {
            return Err(HalError::new(ErrorKind::NoCard, DeviceKind::Icc));
        }
        if let Some(answer) = self.service.exchange_apdu(apdu) {
            return Ok(answer);
        }
        let why = self.why(&CARD);
        // "Read failed" of a card that has gone is a card that has gone.
        if why.kind == ErrorKind::CardMute && !self.service.card_present() {
            return Err(HalError {
                kind: ErrorKind::CardRemoved,
                retry: ErrorKind::CardRemoved.usual_retry(),
                ..why
            });
        }
        Err(why)
    }

    fn power_down(&self) -> Result<()> {
        self.service.power_down();
        self.powered.update(|powered| *powered = false);
        Ok(())
    }
}

impl Scanner for Odd {
    fn cameras(&self) -> Vec<Camera> {
        vec![Camera::Back]
    }

    fn scan(&self, camera: Camera, _formats: &[CodeFormat], call: &Call) -> Result<Code> {
        if camera != Camera::Back {
            return HalError::not_supported(DeviceKind::Scanner);
        }
        // The answer comes on the SDK's thread and is put where this one waits for it.
        let answer: Arc<Signal<Option<(i32, String)>>> = Signal::new(None);
        let place = Arc::clone(&answer);
        let listener =
            Box::new(move |code, text: &str| place.update(|answer| *answer = Some((code, text.to_owned()))));
        self.said(self.service.start_scan(VENDOR_SECONDS, listener), &SCANNER)?;
        let result = answer.wait(call, Option::take);
        if result.is_err() {
            self.service.stop_scan();
            // The vendor's wait must be over before the next one begins; it answers to a stop at once.
            let over = Call::with(Duration::from_secs(5), &CancelToken::new());
            let _late = answer.wait(&over, Option::take);
        }
        match result.map_err(|interrupt| interrupt.at(DeviceKind::Scanner))? {
            (0, text) => Ok(Code { format: CodeFormat::Unknown, text }),
            (code, _) => Err(SCANNER.error(code)),
        }
    }
}
