//! What one sale costs the simulator: frame in, MAC and PIN verified, booked, answer built and signed. Whoever
//! measures the product against the simulator subtracts this.
//!
//! `cargo bench -p sim --bench desk`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, MacAlgorithm, Pin, PinFormat, SoftVault, WrappedKey};
use iso8583::frame::{self, CupsHeader};
use iso8583::{CUPS, Draft, Mti};
use sim::SimConfig;
use sim::crypto::Vault;
use sim::faults::{FaultBoard, FaultSettings};
use sim::keys::ZoneKey;
use sim::network::Network;
use sim::service::{Core, Service};
use sim::time::{Clock, SettleDate, SystemClock};

const PAN: &str = "6224242000000120";

struct Line {
    service: Service,
    vault: SoftVault,
    mac: WrappedKey,
    pin_block: Vec<u8>,
    trace: u64,
}

impl Line {
    fn open() -> Self {
        let mut config = SimConfig::default();
        for card in &mut config.cards {
            card.opening = 1_000_000_000_000;
        }
        let now = SystemClock.now();
        let network = Network::new(config.cards.clone(), config.policy.clone(), SettleDate::of(now), now);
        let core = Core { network, faults: FaultBoard::new(FaultSettings::default()), books: None };
        let own = Vault::open(Arc::new(SoftVault::ephemeral().unwrap()), &config).unwrap();
        let service = Service::new(config, own, Arc::new(SystemClock), core);
        let vault = SoftVault::ephemeral().unwrap();
        let parts = sim::LAB_ZMK_COMPONENTS.map(|c| KeyComponent::from_hex(c).unwrap());
        let zmk = vault.import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &parts).unwrap();
        let take = |which: ZoneKey, usage| {
            let sent = service.key_reset(which, 1).unwrap();
            let (_, body) = frame::parse_cups(&sent[4..]).unwrap();
            let message = CUPS.parse(body).unwrap();
            service.zone().slot(which).confirm(now);
            vault.import(usage, KeyAlgorithm::TripleDes2, &message.bytes_of(48).unwrap()[2..], &zmk).unwrap()
        };
        let mac = take(ZoneKey::Mac, KeyUsage::Mac);
        let pin = take(ZoneKey::Pin, KeyUsage::Pin);
        service.zone().signed_on = true;
        let block = vault.encrypt_pin(&Pin::new("123456").unwrap(), PAN, &pin, PinFormat::Iso0).unwrap();
        let pin_block = block.bytes().to_vec();
        Line { service, vault, mac, pin_block, trace: 0 }
    }

    /// The frame of the next sale, header and body without the length before them.
    fn sale(&mut self) -> Vec<u8> {
        self.trace += 1;
        let mut draft = Draft::new();
        draft.start(&CUPS, Mti::new(200));
        let second = format!("{:010}", 1_124_000_000 + self.trace / 999_999);
        let digits = [
            (2, PAN),
            (3, "000000"),
            (4, "000000000100"),
            (7, second.as_str()),
            (12, "101530"),
            (13, "1124"),
            (14, "2912"),
            (18, "5411"),
            (22, "021"),
            (25, "00"),
            (26, "12"),
            (32, "48029999"),
            (33, "48029999"),
            (35, "6224242000000120D29121010000000123"),
            (53, "2600000000000000"),
        ];
        for (field, value) in digits {
            draft.put_digits(field, value).unwrap();
        }
        draft.put_number(11, self.trace % 999_999 + 1).unwrap();
        let texts = [
            (37, "112410000001"),
            (41, "00000001"),
            (42, "898000000000001"),
            (43, "LAB SHOP NO 1                           "),
            (49, "156"),
            (60, "000005000300000000000000000004"),
        ];
        for (field, value) in texts {
            draft.put_text(field, value).unwrap();
        }
        draft.put_bytes(52, &self.pin_block).unwrap();
        let mut body = Vec::new();
        draft.write(&mut body).unwrap();
        let mut text = Vec::new();
        sim::mac::text(&CUPS.parse(&body).unwrap(), &mut text);
        draft.put_bytes(128, &self.vault.mac(&self.mac, MacAlgorithm::CupsCbc, &text).unwrap()).unwrap();
        let mut out = Vec::new();
        let mark = frame::begin_cups(&mut out, &CupsHeader::new("00010000", "48029999"));
        draft.write(&mut out).unwrap();
        frame::finish_cups(&mut out, mark).unwrap();
        out.split_off(4)
    }
}

fn sale(c: &mut Criterion) {
    let mut line = Line::open();
    let frame = line.sale();
    let handling = line.service.take(&frame);
    let answer = CUPS.parse(&handling.send[0][50..]).unwrap();
    assert_eq!(answer.text(39), Some("00"), "the measured sale must be an approved one");
    let line = std::cell::RefCell::new(line);
    c.bench_function("sale with PIN", |b| {
        b.iter_batched(
            || line.borrow_mut().sale(),
            |frame| black_box(line.borrow().service.take(&frame)),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, sale);
criterion_main!(benches);
