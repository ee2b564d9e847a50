//! A second vendor with odd habits: the traits are not shaped by one device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod odd {
    pub mod adapter;
    pub mod sdk;
    pub mod tables;
}

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hal::{
    AppId, Camera, DeviceManager, ErrorKind, IccReader, LeaseTerms, LocalManager, OpenDevice, PowerUp,
    PrintJob, Printer, ReceiptDoc, Scanner, Width,
};
use hal_suite::{Cannot, Deed, Fixture, Hands, VendorCodes, Verdict};
use odd::adapter::OddDrivers;
use odd::sdk::OddService;
use odd::tables::{DOCUMENTED, PRINTER};
use receipt::Line;

struct OddFixture {
    service: Arc<OddService>,
    manager: Arc<LocalManager>,
}

impl OddFixture {
    fn new() -> Self {
        let service = OddService::bind();
        let manager = Arc::new(LocalManager::new(Arc::new(OddDrivers(Arc::clone(&service)))));
        Self { service, manager }
    }
}

impl Hands for OddFixture {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        match deed {
            Deed::InsertCard => self.service.insert(true),
            Deed::RemoveCard => self.service.insert(false),
            Deed::PaperOut => self.service.set_paper(Some(0)),
            Deed::PaperIn => self.service.set_paper(None),
            Deed::PaperEndsSoon => self.service.set_paper(Some(4)),
            Deed::Heat => self.service.set_hot(true),
            Deed::Cool => self.service.set_hot(false),
            Deed::ShowCode => self.service.show_code(Some("6212345678901234567")),
            other => return Err(Cannot::new(format!("no such part: {other}"))),
        }
        Ok(())
    }
}

impl Fixture for OddFixture {
    fn name(&self) -> String {
        "the odd vendor".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.manager.clone()
    }

    fn hands(&self) -> &dyn Hands {
        self
    }

    fn vendor_codes(&self) -> Vec<VendorCodes> {
        let codes = DOCUMENTED.iter();
        codes
            .map(|(source, table, documented)| VendorCodes {
                source: (*source).to_owned(),
                table: **table,
                documented: documented.to_vec(),
            })
            .collect()
    }

    fn handles(&self) -> Result<u64, Cannot> {
        Ok((self.service.open_count() as usize + self.manager.claims().held()) as u64)
    }
}

/// Everything that this terminal has conforms; what it has not is skipped with the reason, never passed.
#[test]
fn the_odd_vendor_conforms() {
    let report = hal_suite::run(&OddFixture::new());
    assert!(report.is_good(), "{}", report.to_text());
    for row in report.rows.iter().filter(|row| row.verdict == Verdict::Skipped) {
        assert!(row.detail.starts_with("the terminal has no"), "{}: {}", row.name, row.detail);
    }
    for name in ["paper out during a slip", "overheated, then recovered"] {
        assert_eq!(report.verdict("paper", name), Some(Verdict::Passed));
    }
    assert_eq!(report.verdict("cards", "card pulled between two commands"), Some(Verdict::Passed));
    assert_eq!(report.verdict("cycles", "nothing leaks"), Some(Verdict::Passed));
}

/// An adapter is a small thing, and says nothing of what it does not have.
#[test]
fn the_adapter_is_small() {
    let lines = include_str!("odd/adapter.rs").lines().count();
    assert!(lines < 300, "{lines} lines");
}

/// The published tables name each code once, and the same number means different things at different devices.
#[test]
fn a_code_means_one_thing_at_one_device() {
    for (source, table, documented) in DOCUMENTED {
        let codes: BTreeSet<i32> = table.rows.iter().map(|(code, ..)| *code).collect();
        assert_eq!(codes.len(), table.rows.len(), "{source}");
        assert_eq!(codes, documented.iter().copied().collect(), "{source}");
    }
    assert_eq!(PRINTER.error(2).kind, ErrorKind::Overheated);
    assert_eq!(odd::tables::CARD.error(2).kind, ErrorKind::CardMute);
}

/// The vendor's service dies while a scan waits and a card is powered: the scan ends with "service lost", so
/// does each call until the service is back, and the same leases work again then.
#[test]
fn a_dead_service_is_said_and_survived() {
    let fixture = OddFixture::new();
    let session = fixture.manager.login(&AppId::new("app")).unwrap();
    let scanner = fixture.manager.open::<dyn Scanner>(&session, 0, LeaseTerms::open_end()).unwrap();
    let reader = fixture.manager.open::<dyn IccReader>(&session, 0, LeaseTerms::open_end()).unwrap();
    let printer = fixture.manager.open::<dyn Printer>(&session, 0, LeaseTerms::open_end()).unwrap();
    fixture.service.insert(true);
    reader.get().unwrap().power_up(&PowerUp::default()).unwrap();
    let ended = std::thread::scope(|scope| {
        let scan = scope
            .spawn(|| scanner.get().unwrap().scan(Camera::Back, &[], &scanner.call(Duration::from_secs(60))));
        fixture.service.set_dead(true);
        scan.join().unwrap().unwrap_err()
    });
    assert_eq!((ended.kind, ended.vendor_code), (ErrorKind::ServiceLost, Some(0xFF01)));
    let call = reader.call(Duration::from_secs(1));
    assert_eq!(
        reader.get().unwrap().transmit(b"\0\xA4\x04\0", &call).unwrap_err().kind,
        ErrorKind::ServiceLost
    );
    assert_eq!(printer.get().unwrap().status().unwrap_err().kind, ErrorKind::ServiceLost);
    let mut doc = ReceiptDoc::new(Width::W58);
    doc.push(Line::pair("合计", "12.50"));
    let job = PrintJob::once(doc);
    assert_eq!(printer.get().unwrap().print(&job, &call).unwrap_err().kind, ErrorKind::ServiceLost);
    let refused =
        fixture.manager.open::<dyn hal::DeviceInfo>(&session, 0, LeaseTerms::open_end()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ServiceLost);

    fixture.service.set_dead(false);
    printer.get().unwrap().print(&job, &call).unwrap();
    assert_eq!(fixture.service.printed(), ["合计  12.50"]);
}
