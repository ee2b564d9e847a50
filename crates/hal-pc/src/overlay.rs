//! A PC till: its own devices over a set that has the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use hal::{Device, DeviceEntry, DeviceKind, DriverSet, ErrorKind, Health, Printer, Result};

/// Devices of this PC, and beneath them those of another set: the secure part, the PIN pad in the host's process.
pub struct Overlay {
    under: Arc<dyn DriverSet>,
    own: BTreeMap<(DeviceKind, u8), (String, Device)>,
    printer: Option<Arc<dyn Printer>>,
}

impl Overlay {
    /// Over these drivers.
    pub fn over(under: Arc<dyn DriverSet>) -> Self {
        Self { under, own: BTreeMap::new(), printer: None }
    }

    /// Puts a device in front of what is beneath.
    #[must_use]
    pub fn with(mut self, index: u8, name: &str, device: Device) -> Self {
        if let Device::Printer(printer) = &device
            && index == 0
        {
            self.printer = Some(Arc::clone(printer));
        }
        self.own.insert((device.kind(), index), (name.to_owned(), device));
        self
    }
}

impl DriverSet for Overlay {
    fn inventory(&self) -> Vec<DeviceEntry> {
        let mut all = self.under.inventory();
        all.retain(|entry| !self.own.contains_key(&(entry.kind, entry.index)));
        let own = self.own.iter();
        all.extend(own.map(|((kind, index), (name, _))| DeviceEntry {
            kind: *kind,
            index: *index,
            name: name.clone(),
        }));
        all.sort_by_key(|entry| (entry.kind, entry.index));
        all
    }

    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device> {
        match self.own.get(&(kind, index)) {
            Some((_, device)) => Ok(device.clone()),
            None => self.under.device(kind, index),
        }
    }

    fn released(&self, kind: DeviceKind, index: u8) {
        match self.own.get(&(kind, index)) {
            Some((_, Device::Icc(reader))) => drop(reader.power_down()),
            Some((_, Device::Serial(line))) => drop(line.close()),
            Some(_) => (),
            None => self.under.released(kind, index),
        }
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        if !self.own.contains_key(&(kind, index)) {
            return self.under.health(kind, index);
        }
        let Some(printer) = self.printer.as_ref().filter(|_| kind == DeviceKind::Printer && index == 0)
        else {
            return Ok(Health::Good);
        };
        Ok(match printer.status() {
            Err(failed) => Health::Failed(failed.kind),
            Ok(status) => match status.problem() {
                None => Health::Good,
                Some(ErrorKind::HardwareFault) => Health::Failed(ErrorKind::HardwareFault),
                Some(kind) => Health::NeedsAttention(kind),
            },
        })
    }
}
