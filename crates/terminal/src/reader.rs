//! The reader of an MPOS: a device of its own with its own keys, display and battery, at the other end of a link.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use hal::{Battery, DeviceKind, KeyAlgorithm, KeySlot, KeyStore, MasterSource, SecureStore};
use hal_virtual::{Controls, DeviceView, SecureConfig, VirtualConfig, VirtualDevice, os_random};
use hsm::KeyComponent;
use mpos::{Link, LinkState, Radio, Reader, Serving, serve};
use pos::TmkComponent;
use serde::Serialize;

use crate::kernels::LabKernels;
use crate::station::StationError;

/// Name of the label's secret, in the reader's secure store and, once paired, in the phone's.
const LABEL: &str = "reader.label";
/// What a reader has not.
const ABSENT: [DeviceKind; 9] = [
    DeviceKind::Printer,
    DeviceKind::Psam,
    DeviceKind::Scanner,
    DeviceKind::Serial,
    DeviceKind::Drawer,
    DeviceKind::Display,
    DeviceKind::Signature,
    DeviceKind::Pedestal,
    DeviceKind::System,
];

/// A reader as the page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ReaderView {
    /// Serial number.
    pub serial: String,
    /// Battery, in per cent.
    pub battery: Option<u8>,
    /// The code on its label, by which a phone pairs. On paper in the world; here on the page.
    pub label: String,
    /// The phone knows it.
    pub paired: bool,
    /// The link is up.
    pub connected: bool,
    /// The switch of the link.
    pub link: bool,
    /// The device: display, PIN pad, slot, field.
    pub device: DeviceView,
}

/// A reader and the link to it.
pub(crate) struct ReaderUnit {
    controls: Controls,
    link: Arc<Link>,
    serving: Serving,
    serial: String,
    label: [u8; 16],
}

impl ReaderUnit {
    /// Switches a reader on. Out of its box it gets the secret of its label and its master key; later it has them.
    pub(crate) fn new(
        directory: &Path,
        serial: &str,
        components: &[String],
        changed: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<Self, StationError> {
        let lab = VirtualConfig::lab();
        let mut identity = lab.identity;
        identity.serial = serial.to_owned();
        identity.model = "posp-reader".to_owned();
        identity.device_type = "03".to_owned();
        identity.platform = "reader".to_owned();
        let device = VirtualDevice::new(VirtualConfig {
            identity,
            absent: ABSENT.to_vec(),
            battery: Some(Battery { percent: 80, charging: false }),
            kernels: Some(Arc::new(LabKernels)),
            secure: SecureConfig {
                directory: Some(directory.to_owned()),
                device_type: "03".to_owned(),
                random: os_random(),
                ..lab.secure
            },
            ..VirtualConfig::lab()
        })?;
        let secure = Arc::clone(device.secure());
        let kept = secure.get(LABEL)?.and_then(|label| label.as_slice().try_into().ok());
        let label = match kept {
            Some(label) => label,
            None => {
                let mut label = [0; 16];
                secure.fill(DeviceKind::SecureStore, &mut label)?;
                secure.put(LABEL, &label)?;
                label
            }
        };
        load_master(secure.as_ref(), components)?;
        let controls = device.controls();
        let told = changed.clone();
        controls.on_change(move |_| told());
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(|error| StationError::Files(error.to_string()))?;
        let reader = Reader::new(Arc::new(device.manager()), label)?;
        let serving =
            serve(listener, reader, changed).map_err(|error| StationError::Files(error.to_string()))?;
        let link = Link::new(serving.address);
        Ok(Self { controls, link, serving, serial: serial.to_owned(), label })
    }

    pub(crate) fn controls(&self) -> &Controls {
        &self.controls
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn radio(&self) -> &Radio {
        self.serving.radio()
    }

    /// Remembers a pair that the phone has kept. Whether there is one.
    pub(crate) fn recall(&self, phone: &dyn SecureStore) -> Result<bool, StationError> {
        if self.link.state() != LinkState::Unpaired {
            return Ok(true);
        }
        let kept = phone.get(LABEL)?.and_then(|label| label.as_slice().try_into().ok());
        if let Some(secret) = kept {
            self.link.remember(secret);
        }
        Ok(kept.is_some())
    }

    /// Pairs by the code of a label, and has the phone keep it.
    pub(crate) fn pair(&self, code: &str, phone: &dyn SecureStore) -> Result<(), StationError> {
        let plain: String = code.chars().filter(char::is_ascii_hexdigit).collect();
        let mut secret = [0; 16];
        hex::decode_to_slice(&plain, &mut secret)
            .map_err(|_| StationError::Hand("标签码为 32 位 / the code of the label has 32 digits"))?;
        self.link.pair(secret).map_err(|error| match error.kind {
            hal::ErrorKind::PermissionDenied => {
                StationError::Hand("标签码不符 / this is not the code of that reader")
            }
            _ => StationError::Hand("找不到读卡器 / the reader cannot be reached"),
        })?;
        phone.put(LABEL, &secret)?;
        Ok(())
    }

    pub(crate) fn view(&self) -> ReaderView {
        let radio = self.radio();
        let groups: Vec<String> = self.label.chunks(2).map(hex::encode_upper).collect();
        ReaderView {
            serial: self.serial.clone(),
            battery: self.controls.battery().map(|battery| battery.percent),
            label: groups.join(" "),
            paired: self.link.state() != LinkState::Unpaired,
            connected: radio.is_connected(),
            link: radio.is_on(),
            device: self.controls.view(),
        }
    }
}

/// What the maker's key room does: the master key, as a triple DES key and as an SM4 key, into its slots.
fn load_master(keys: &dyn KeyStore, components: &[String]) -> Result<(), StationError> {
    if components.is_empty() || keys.slots()?.iter().any(|slot| slot.slot == KeySlot::Fixed(1)) {
        return Ok(());
    }
    for (slot, algorithm, checked) in [(1, KeyAlgorithm::TripleDes2, true), (2, KeyAlgorithm::Sm4, false)] {
        let components: Vec<KeyComponent> = components
            .iter()
            .map(|text| TmkComponent::parse(text).component(checked))
            .collect::<Result<_, _>>()?;
        let source = MasterSource::Components { algorithm, components: &components };
        keys.load_master(KeySlot::Fixed(slot), &source, None)?;
    }
    Ok(())
}
