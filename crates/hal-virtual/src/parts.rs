//! The smaller parts, the system, and how each device is handed out.

use std::sync::Arc;
use std::time::Duration;

use hal::{
    Battery, Beep, Beeper, Bitmap, Call, Camera, CashDrawer, Code, CodeFormat, Counters, CustomerDisplay,
    Device, DeviceInfo, DeviceKind, DrawerState, ErrorKind, HalError, Identity, Led, LedState, Network,
    Pedestal, Result, Scanner, SerialConfig, SerialPort, Shown, SignaturePad, SystemControl, Tamper,
    Versions,
};

use crate::VirtualDevice;
use crate::readers::Face;
use crate::state::SERIAL_MAX;

impl VirtualDevice {
    /// Hands a device out.
    pub(crate) fn make(self: &Arc<Self>, kind: DeviceKind, index: u8) -> Result<Device> {
        let face = Arc::new(Face { device: Arc::clone(self), index });
        let secure = Arc::clone(&self.secure);
        Ok(match kind {
            DeviceKind::Info => Device::Info(face),
            DeviceKind::Tusn => Device::Tusn(secure),
            DeviceKind::Printer => Device::Printer(face),
            DeviceKind::Mag => Device::Mag(face),
            DeviceKind::Icc => Device::Icc(face),
            DeviceKind::Psam => Device::Psam(face),
            DeviceKind::Rf => Device::Rf(face),
            DeviceKind::Detector => Device::Detector(face),
            DeviceKind::Keys => Device::Keys(secure),
            DeviceKind::PinPad => Device::PinPad(face),
            DeviceKind::Crypto => Device::Crypto(secure),
            DeviceKind::Emv => match &self.kernels {
                Some(kernels) => Device::Emv(Arc::clone(kernels)),
                None => return HalError::not_supported(kind),
            },
            DeviceKind::Scanner => Device::Scanner(face),
            DeviceKind::Led => Device::Led(face),
            DeviceKind::Beeper => Device::Beeper(face),
            DeviceKind::Serial => Device::Serial(face),
            DeviceKind::Drawer => Device::Drawer(face),
            DeviceKind::Display => Device::Display(face),
            DeviceKind::Signature => Device::Signature(face),
            DeviceKind::Pedestal => Device::Pedestal(face),
            DeviceKind::System => Device::System(face),
            DeviceKind::SecureStore => Device::SecureStore(secure),
            _ => return HalError::not_supported(kind),
        })
    }

    /// What a device is like when nobody has it.
    pub(crate) fn let_go(&self, kind: DeviceKind, index: u8) {
        match kind {
            DeviceKind::Icc => self.slot_off(),
            DeviceKind::Rf => self.field_off(),
            DeviceKind::Detector => self.change(|state| state.swipe = None),
            DeviceKind::Psam => drop(self.change(|state| state.psam_power.remove(&index))),
            DeviceKind::Serial => self.change(|state| state.serial = None),
            DeviceKind::Led => self.change(|state| state.leds = Default::default()),
            _ => (),
        }
    }
}

impl DeviceInfo for Face {
    fn identity(&self) -> Result<Identity> {
        self.device.powered(DeviceKind::Info)?;
        Ok(self.device.identity.clone())
    }

    fn versions(&self) -> Result<Versions> {
        self.device.powered(DeviceKind::Info)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut versions = Versions::from([
            ("rom".to_owned(), format!("virtual-{version}")),
            ("driver".to_owned(), version.clone()),
            ("secure_cpu".to_owned(), format!("soft-{version}")),
        ]);
        if let Some(kernels) = &self.device.kernels {
            versions.insert("emv".to_owned(), kernels.describe());
        }
        Ok(versions)
    }

    fn counters(&self) -> Result<Counters> {
        self.device.powered(DeviceKind::Info)?;
        Ok(self.device.signal.lock().counters)
    }

    fn tamper(&self) -> Result<Tamper> {
        self.device.powered(DeviceKind::Info)?;
        Ok(Tamper { tampered: self.device.secure.is_tampered(), code: None })
    }

    fn battery(&self) -> Result<Battery> {
        self.device.powered(DeviceKind::Info)?;
        self.device
            .signal
            .lock()
            .battery
            .ok_or_else(|| HalError::new(ErrorKind::NotSupported, DeviceKind::Info))
    }

    fn network(&self) -> Result<Network> {
        self.device.powered(DeviceKind::Info)?;
        Ok(self.device.signal.lock().network.clone())
    }
}

impl Scanner for Face {
    fn cameras(&self) -> Vec<Camera> {
        vec![Camera::Front, Camera::Back]
    }

    fn scan(&self, _camera: Camera, formats: &[CodeFormat], call: &Call) -> Result<Code> {
        self.device.wait(DeviceKind::Scanner, call, |state| {
            let fits = |code: &&mut Code| formats.is_empty() || formats.contains(&code.format);
            state.code.as_mut().filter(fits)?;
            state.counters.scans = state.counters.scans.saturating_add(1);
            state.code.take().map(Ok)
        })
    }

    fn flash(&self, on: bool) -> Result<()> {
        self.device.powered(DeviceKind::Scanner)?;
        self.device.change(|state| state.flash = on);
        Ok(())
    }
}

impl Led for Face {
    fn count(&self) -> u8 {
        4
    }

    fn set(&self, led: u8, to: LedState) -> Result<()> {
        self.device.powered(DeviceKind::Led)?;
        self.device.change(|state| {
            let place = state.leds.get_mut(usize::from(led));
            *place.ok_or_else(|| HalError::new(ErrorKind::BadParam, DeviceKind::Led))? = to;
            Ok(())
        })
    }
}

impl Beeper for Face {
    fn beep(&self, kind: Beep, length: Duration) -> Result<()> {
        self.device.powered(DeviceKind::Beeper)?;
        self.device.change(|state| {
            state.beeps = state.beeps.saturating_add(1);
            state.last_beep = Some((kind, length));
        });
        Ok(())
    }
}

impl SerialPort for Face {
    fn open(&self, config: &SerialConfig) -> Result<()> {
        self.device.powered(DeviceKind::Serial)?;
        if config.baud == 0 || !matches!(config.data_bits, 7 | 8) || !matches!(config.stop_bits, 1 | 2) {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Serial));
        }
        self.device.change(|state| state.serial = Some(*config));
        Ok(())
    }

    fn read(&self, max: usize, call: &Call) -> Result<Vec<u8>> {
        if max == 0 {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Serial));
        }
        self.device.wait(DeviceKind::Serial, call, |state| {
            if state.serial.is_none() {
                return Some(Err(HalError::new(ErrorKind::NotOpen, DeviceKind::Serial)));
            }
            let count = state.serial_in.len().min(max);
            (count > 0).then(|| Ok(state.serial_in.drain(..count).collect()))
        })
    }

    fn write(&self, bytes: &[u8], call: &Call) -> Result<()> {
        self.device.wait(DeviceKind::Serial, call, |state| {
            if state.serial.is_none() {
                return Some(Err(HalError::new(ErrorKind::NotOpen, DeviceKind::Serial)));
            }
            // As a line whose other end does not read: it is full, and the writer waits.
            (state.serial_out.len().saturating_add(bytes.len()) <= SERIAL_MAX).then(|| {
                state.serial_out.extend(bytes);
                Ok(())
            })
        })
    }

    fn flush(&self) -> Result<()> {
        self.device.change(|state| {
            state.serial.ok_or_else(|| HalError::new(ErrorKind::NotOpen, DeviceKind::Serial))?;
            state.serial_in.clear();
            Ok(())
        })
    }

    fn close(&self) -> Result<()> {
        self.device.change(|state| state.serial = None);
        Ok(())
    }
}

impl CashDrawer for Face {
    fn kick(&self) -> Result<()> {
        self.device.powered(DeviceKind::Drawer)?;
        self.device.change(|state| state.drawer = DrawerState::Open);
        Ok(())
    }

    fn status(&self) -> Result<DrawerState> {
        self.device.powered(DeviceKind::Drawer)?;
        Ok(self.device.signal.lock().drawer)
    }
}

impl CustomerDisplay for Face {
    fn size(&self) -> (u8, u8) {
        (4, 20)
    }

    fn show(&self, what: &Shown) -> Result<()> {
        self.device.powered(DeviceKind::Display)?;
        self.device.change(|state| state.display = Some(what.clone()));
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.device.powered(DeviceKind::Display)?;
        self.device.change(|state| state.display = None);
        Ok(())
    }
}

impl SignaturePad for Face {
    fn capture(&self, code: &str, call: &Call) -> Result<Bitmap> {
        self.device.change(|state| {
            state.signature = None;
            state.signature_code = Some(code.to_owned());
        });
        let result = self.device.wait(DeviceKind::Signature, call, |state| state.signature.take().map(Ok));
        self.device.change(|state| state.signature_code = None);
        result
    }
}

impl Pedestal for Face {
    fn attached(&self) -> Result<bool> {
        self.device.powered(DeviceKind::Pedestal)?;
        Ok(self.device.signal.lock().docked)
    }
}

impl Face {
    fn act(&self, what: String) -> Result<()> {
        self.device.powered(DeviceKind::System)?;
        self.device.change(|state| state.act(what));
        Ok(())
    }
}

/// Everything is remembered, and nothing of the machine below is touched.
impl SystemControl for Face {
    fn install(&self, package: &[u8], grants: &[String]) -> Result<()> {
        if package.is_empty() {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::System));
        }
        self.act(format!("install {} bytes with {}", package.len(), grants.join(" ")))
    }

    fn uninstall(&self, app: &str) -> Result<()> {
        self.act(format!("uninstall {app}"))
    }

    fn set_launcher(&self, app: &str) -> Result<()> {
        self.act(format!("launcher {app}"))
    }

    fn lock_keys(&self, home: bool, status_bar: bool) -> Result<()> {
        self.act(format!("lock home {home} status bar {status_bar}"))
    }

    fn set_time(&self, unix_ms: i64) -> Result<()> {
        self.act(format!("time {unix_ms}"))
    }

    fn reboot(&self) -> Result<()> {
        self.act("reboot".to_owned())?;
        self.device.cut_power();
        self.device.restore_power();
        Ok(())
    }

    fn shutdown(&self) -> Result<()> {
        self.act("shutdown".to_owned())?;
        self.device.cut_power();
        Ok(())
    }

    fn collect_log(&self, _from_ms: i64, _to_ms: i64, max: usize) -> Result<Vec<u8>> {
        self.device.powered(DeviceKind::System)?;
        let acts: Vec<String> = self.device.signal.lock().acts.iter().cloned().collect();
        let mut log = acts.join("\n").into_bytes();
        let older = log.len().saturating_sub(max);
        Ok(log.split_off(older))
    }

    fn screenshot(&self) -> Result<Vec<u8>> {
        let kind = if self.device.signal.lock().pin.is_some() {
            ErrorKind::PermissionDenied
        } else {
            ErrorKind::NotSupported
        };
        Err(HalError::new(kind, DeviceKind::System))
    }
}
