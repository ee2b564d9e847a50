//! Serial lines of a PC, for tills.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hal::{Call, DeviceKind, ErrorKind, HalError, Result, SerialConfig, SerialPort};

use crate::link::{Link, SerialLink, broken, send_all};

/// A serial line by its name: `/dev/ttyS0`, `COM1`.
pub struct PcSerial {
    path: String,
    port: Mutex<Option<SerialLink>>,
}

impl PcSerial {
    /// A line that is opened when it is used.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), port: Mutex::new(None) }
    }

    fn port(&self) -> MutexGuard<'_, Option<SerialLink>> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_port<R>(&self, act: impl FnOnce(&mut SerialLink) -> Result<R>) -> Result<R> {
        let mut port = self.port();
        let result =
            port.as_mut().ok_or_else(|| HalError::new(ErrorKind::NotOpen, DeviceKind::Serial)).and_then(act);
        if matches!(&result, Err(failed) if failed.kind == ErrorKind::ServiceLost) {
            // Unplugged: open it again.
            *port = None;
        }
        result
    }
}

impl SerialPort for PcSerial {
    fn open(&self, config: &SerialConfig) -> Result<()> {
        let mut port = self.port();
        // Closed first: a line is opened by one at a time.
        *port = None;
        if config.baud == 0 {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Serial));
        }
        let opened = SerialLink::open(&self.path, config);
        *port = Some(opened.map_err(|failed| broken(DeviceKind::Serial, &failed))?);
        Ok(())
    }

    fn read(&self, max: usize, call: &Call) -> Result<Vec<u8>> {
        if max == 0 {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Serial));
        }
        loop {
            call.check(DeviceKind::Serial)?;
            // The lock is let go between steps, so that a writer gets its turn.
            let bytes =
                self.on_port(|port| port.receive(max).map_err(|failed| broken(DeviceKind::Serial, &failed)))?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }

    fn write(&self, bytes: &[u8], call: &Call) -> Result<()> {
        self.on_port(|port| send_all(port, bytes, call, DeviceKind::Serial))
    }

    fn flush(&self) -> Result<()> {
        self.on_port(|port| port.forget().map_err(|failed| broken(DeviceKind::Serial, &failed)))
    }

    fn close(&self) -> Result<()> {
        *self.port() = None;
        Ok(())
    }
}
