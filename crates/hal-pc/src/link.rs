//! Ways to a device that speaks bytes: network, serial line, device file. Whatever the way, a step of reading or
//! writing comes back soon, so that deadlines and cancelling hold.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hal::{Call, DeviceKind, ErrorKind, HalError, Parity, Result, SerialConfig};

/// One step of waiting for a device; between steps a cancel is seen.
pub(crate) const STEP: Duration = Duration::from_millis(50);
/// Bytes given to a device in one step.
const CHUNK: usize = 4096;

/// An open way to a device.
pub trait Link: Send {
    /// New bytes begin: what is under way of a call that was given up is no part of them.
    fn begin(&mut self) {}

    /// Sends some of the bytes, waiting [`Link`]'s step at most; how many. 0: none went in that time.
    ///
    /// # Errors
    /// The way is broken.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes up to `max` bytes that came, waiting a step at most; empty when none came.
    ///
    /// # Errors
    /// The way is broken, or the device has hung up.
    fn receive(&mut self, max: usize) -> io::Result<Vec<u8>>;
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A network printer, usually on port 9100.
    Tcp(SocketAddr),
    /// A serial line: `/dev/ttyUSB0`, `COM3`.
    Serial(String, SerialConfig),
    /// A device file, as Linux has for printers on USB: `/dev/usb/lp0`.
    File(PathBuf),
}

impl Place {
    /// Opens the way.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn open(&self, wait: Duration) -> io::Result<Box<dyn Link>> {
        match self {
            Self::Tcp(address) => {
                // A zero wait is refused by the system.
                let stream = TcpStream::connect_timeout(address, wait.max(Duration::from_millis(1)))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(STEP))?;
                stream.set_write_timeout(Some(STEP))?;
                Ok(Box::new(Stream(stream)))
            }
            Self::Serial(path, config) => Ok(Box::new(SerialLink::open(path, config)?)),
            Self::File(path) => Ok(Box::new(FileLink::open(path)?)),
        }
    }
}

/// Opens a serial line.
fn open_serial(path: &str, config: &SerialConfig) -> io::Result<Box<dyn serialport::SerialPort>> {
    let bad = || io::Error::from(Io::InvalidInput);
    let port = serialport::new(path, config.baud)
        .data_bits(match config.data_bits {
            7 => serialport::DataBits::Seven,
            8 => serialport::DataBits::Eight,
            _ => return Err(bad()),
        })
        .parity(match config.parity {
            Parity::None => serialport::Parity::None,
            Parity::Odd => serialport::Parity::Odd,
            Parity::Even => serialport::Parity::Even,
        })
        .stop_bits(match config.stop_bits {
            1 => serialport::StopBits::One,
            2 => serialport::StopBits::Two,
            _ => return Err(bad()),
        })
        .timeout(STEP);
    Ok(port.open()?)
}

/// Something with time-outs of its own.
struct Stream<S>(S);

/// Nothing happened in the time of a step.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), Io::WouldBlock | Io::TimedOut | Io::Interrupted)
}

impl<S: Read + Write + Send> Link for Stream<S> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes.get(..CHUNK).unwrap_or(bytes)) {
            Ok(0) if !bytes.is_empty() => Err(Io::WriteZero.into()),
            Err(error) if is_quiet(&error) => Ok(0),
            other => other,
        }
    }

    fn receive(&mut self, max: usize) -> io::Result<Vec<u8>> {
        receive(&mut self.0, max)
    }
}

fn receive(device: &mut impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; max.min(CHUNK)];
    match device.read(&mut buffer) {
        Ok(0) if max > 0 => Err(Io::UnexpectedEof.into()),
        Ok(count) => {
            buffer.truncate(count);
            Ok(buffer)
        }
        Err(error) if is_quiet(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes on a thread of its own, for devices whose writes cannot be given a time-out. A thread that the device
/// never lets go stays until it is unplugged.
struct Writer {
    jobs: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
    /// A chunk was given and its end is not known.
    pending: bool,
    /// It belongs to a call that was given up.
    orphan: bool,
}

impl Writer {
    fn start(mut device: impl Write + Send + 'static) -> Self {
        let (jobs, to_write) = sync_channel::<Vec<u8>>(1);
        let (done, written) = sync_channel(1);
        thread::spawn(move || {
            while let Ok(bytes) = to_write.recv() {
                if done.send(write_patiently(&mut device, &bytes)).is_err() {
                    break;
                }
            }
        });
        Self { jobs, written, pending: false, orphan: false }
    }

    fn begin(&mut self) {
        self.orphan = self.pending;
    }

    /// A chunk counts when it is through: the caller gives the same bytes again until then.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = || io::Error::from(Io::BrokenPipe);
        let chunk = bytes.get(..CHUNK).unwrap_or(bytes);
        loop {
            if !self.pending {
                self.jobs.send(chunk.to_vec()).map_err(|_| gone())?;
                self.pending = true;
            }
            match self.written.recv_timeout(STEP) {
                Ok(result) => {
                    self.pending = false;
                    result?;
                    if !std::mem::take(&mut self.orphan) {
                        return Ok(chunk.len());
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(0),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

/// All bytes, however long the device takes.
fn write_patiently(device: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        match device.write(left) {
            Ok(0) => return Err(Io::WriteZero.into()),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if is_quiet(&error) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A serial line. Its writes wait for the other end whatever time-out is set (flow control), so they have a thread.
pub(crate) struct SerialLink {
    port: Box<dyn serialport::SerialPort>,
    writer: Writer,
}

impl SerialLink {
    pub(crate) fn open(path: &str, config: &SerialConfig) -> io::Result<Self> {
        let port = open_serial(path, config)?;
        let writer = Writer::start(port.try_clone()?);
        Ok(Self { port, writer })
    }

    /// Throws away what came and was not read.
    pub(crate) fn forget(&self) -> io::Result<()> {
        Ok(self.port.clear(serialport::ClearBuffer::Input)?)
    }
}

impl Drop for SerialLink {
    fn drop(&mut self) {
        // Helps a write go that the other end does not take; where it does not, the line stays held until then.
        let _unplugged = self.port.clear(serialport::ClearBuffer::Output);
    }
}

impl Link for SerialLink {
    fn begin(&mut self) {
        self.writer.begin();
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.send(bytes)
    }

    fn receive(&mut self, max: usize) -> io::Result<Vec<u8>> {
        receive(&mut self.port, max)
    }
}

/// A device file. A thread writes and a thread reads.
struct FileLink {
    writer: Writer,
    came: Receiver<Vec<u8>>,
}

impl FileLink {
    fn open(path: &Path) -> io::Result<Self> {
        // Some printers' files can only be written.
        let both = OpenOptions::new().read(true).write(true).open(path);
        let can_read = both.is_ok();
        let file = both.or_else(|_| OpenOptions::new().write(true).open(path))?;
        let (give, came) = sync_channel(16);
        if can_read {
            let reader = file.try_clone()?;
            thread::spawn(move || read_all(reader, &give));
        }
        Ok(Self { writer: Writer::start(file), came })
    }
}

fn read_all(mut reader: File, give: &SyncSender<Vec<u8>>) {
    let mut buffer = [0; 64];
    while let Ok(count) = reader.read(&mut buffer) {
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        // A file that ends, and a link that was dropped, have nothing more to say.
        if count == 0 || give.send(bytes).is_err() {
            break;
        }
    }
}

impl Link for FileLink {
    fn begin(&mut self) {
        self.writer.begin();
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.send(bytes)
    }

    fn receive(&mut self, _max: usize) -> io::Result<Vec<u8>> {
        match self.came.recv_timeout(STEP) {
            Ok(bytes) => Ok(bytes),
            // A file that cannot be read is silent, not broken.
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// What a broken way means to the app.
pub(crate) fn broken(device: DeviceKind, error: &io::Error) -> HalError {
    let kind = match error.kind() {
        Io::NotFound
        | Io::ConnectionRefused
        | Io::TimedOut
        | Io::HostUnreachable
        | Io::NetworkUnreachable => ErrorKind::Offline,
        Io::PermissionDenied => ErrorKind::PermissionDenied,
        Io::InvalidInput => ErrorKind::BadParam,
        Io::Unsupported => ErrorKind::NotSupported,
        _ => ErrorKind::ServiceLost,
    };
    let error_code = error.raw_os_error();
    let result = HalError::new(kind, device).text(error.to_string());
    error_code.map_or_else(|| result.clone(), |code| result.clone().code(code))
}

/// Sends all bytes, as long as the call goes on.
pub(crate) fn send_all(link: &mut dyn Link, bytes: &[u8], call: &Call, device: DeviceKind) -> Result<()> {
    let mut left = bytes;
    link.begin();
    while !left.is_empty() {
        call.check(device)?;
        let count = link.send(left).map_err(|error| broken(device, &error))?;
        left = left.get(count..).unwrap_or_default();
    }
    Ok(())
}
