//! A camera as a scanner: pictures come from whoever has the camera, codes are found here.

use std::collections::HashSet;
use std::sync::Arc;

use hal::{Call, Camera, Code, CodeFormat, DeviceKind, ErrorKind, HalError, Result, Scanner, Signal};
use rxing::{BarcodeFormat, DecodeHints, helpers};

/// Most dots of a picture: 12 million, what a telephone's camera gives.
pub const DOTS_MAX: usize = 12_000_000;

const KINDS: [(CodeFormat, BarcodeFormat); 3] = [
    (CodeFormat::Qr, BarcodeFormat::QR_CODE),
    (CodeFormat::Code128, BarcodeFormat::CODE_128),
    (CodeFormat::Ean13, BarcodeFormat::EAN_13),
];

/// A picture in shades of grey, a byte a dot, 0 black, rows from the top.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    luma: Vec<u8>,
}

impl Picture {
    /// Takes a picture.
    ///
    /// # Errors
    /// [`ErrorKind::BadParam`] when the sides do not fit the bytes, or there are more than [`DOTS_MAX`].
    pub fn new(width: u32, height: u32, luma: Vec<u8>) -> Result<Self> {
        let dots = u64::from(width) * u64::from(height);
        if dots == 0 || dots > DOTS_MAX as u64 || luma.len() as u64 != dots {
            return Err(
                HalError::new(ErrorKind::BadParam, DeviceKind::Scanner).text("not a picture of these sides")
            );
        }
        Ok(Self { width, height, luma })
    }
}

/// Finds a code of one of these kinds; an empty list takes any. `None`: there is none that can be read.
pub fn find_code(picture: &Picture, formats: &[CodeFormat]) -> Option<Code> {
    let wanted = KINDS.iter().filter(|(kind, _)| formats.is_empty() || formats.contains(kind));
    let wanted: HashSet<BarcodeFormat> = wanted.map(|(_, format)| *format).collect();
    if wanted.is_empty() {
        return None;
    }
    let mut hints =
        DecodeHints { PossibleFormats: Some(wanted), TryHarder: Some(true), ..DecodeHints::default() };
    let found = helpers::detect_in_luma_slice_with_hints(
        &picture.luma,
        picture.width,
        picture.height,
        None,
        &mut hints,
    );
    let found = found.ok()?;
    let format = *found.getBarcodeFormat();
    let kind =
        KINDS.iter().find(|(_, known)| *known == format).map_or(CodeFormat::Unknown, |(kind, _)| *kind);
    Some(Code { format: kind, text: found.getText().to_owned() })
}

#[derive(Default)]
struct Frames {
    waits: u32,
    newest: Option<Picture>,
}

/// A scanner that looks at pictures fed to it. The newest waits, older ones are dropped: a scan is never behind
/// the hand that moves the telephone.
pub struct CameraScanner {
    camera: Camera,
    frames: Arc<Signal<Frames>>,
}

impl CameraScanner {
    /// Behind a camera that looks this way.
    pub fn new(camera: Camera) -> Arc<Self> {
        Arc::new(Self { camera, frames: Signal::new(Frames::default()) })
    }

    /// A picture; whether somebody waits for one.
    pub fn feed(&self, picture: Picture) -> bool {
        self.frames.update(|frames| {
            let waits = frames.waits > 0;
            frames.newest = waits.then_some(picture);
            waits
        })
    }

    /// Waits until somebody scans.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`].
    pub fn when_waiting(&self, call: &Call) -> Result<()> {
        let waits = self.frames.wait(call, |frames| (frames.waits > 0).then_some(()));
        waits.map_err(|interrupt| interrupt.at(DeviceKind::Scanner))
    }
}

impl Scanner for CameraScanner {
    fn cameras(&self) -> Vec<Camera> {
        vec![self.camera]
    }

    fn scan(&self, camera: Camera, formats: &[CodeFormat], call: &Call) -> Result<Code> {
        if camera != self.camera {
            return HalError::not_supported(DeviceKind::Scanner);
        }
        self.frames.update(|frames| frames.waits = frames.waits.saturating_add(1));
        let found = loop {
            let picture = self.frames.wait(call, |frames| frames.newest.take());
            match picture.map_err(|interrupt| interrupt.at(DeviceKind::Scanner)) {
                Ok(picture) => {
                    // Outside the lock: looking takes its time.
                    if let Some(code) = find_code(&picture, formats) {
                        break Ok(code);
                    }
                }
                Err(ended) => break Err(ended),
            }
        };
        self.frames.update(|frames| {
            frames.waits = frames.waits.saturating_sub(1);
            frames.newest = None;
        });
        found
    }
}
