//! The conformance suite of the hardware SDK. A terminal maker runs it against a driver:
//!
//! ```text
//! let report = hal_suite::run(&my_fixture);
//! report.to_text();   // a table for people
//! report.to_json();   // the same for machines
//! ```
//!
//! A [`Fixture`] brings the driver and [`Hands`]: what inserts cards, takes paper out and presses keys. A robot,
//! a virtual device, or a person who is asked ([`Person`]). Every check has a name and a verdict; what could
//! not be done says why and is never counted as passed.
//!
//! A call that does not come back within the fixture's patience is a failed check, not a hanging suite.

mod checks;
mod hands;
mod report;

use std::sync::Arc;
use std::time::Duration;

use hal::{
    AppId, Broker, DeviceManager, ErrorKind, KeyAlgorithm, KeySlot, KeyStore, MasterSource, Permissions,
    VendorTable,
};
use hsm::KeyComponent;

pub use hands::{Cannot, Deed, Hands, Person};
pub use report::{Report, Row, Verdict};

/// A vendor's code table and the codes that the vendor's own documents list.
#[derive(Debug, Clone)]
pub struct VendorCodes {
    /// Name of the document or class they come from.
    pub source: String,
    /// The adapter's table.
    pub table: VendorTable,
    /// Every code that is documented.
    pub documented: Vec<i32>,
}

/// What is tested, and what it is tested with.
pub trait Fixture: Sync {
    /// Terminal, driver and version, for the head of the report.
    fn name(&self) -> String;

    /// The devices.
    fn manager(&self) -> Arc<dyn DeviceManager>;

    /// What moves cards, paper and keys.
    fn hands(&self) -> &dyn Hands;

    /// The manager as an app with these permissions gets it. A platform with a broker of its own gives that.
    fn for_app(&self, app: &AppId, granted: Permissions) -> Arc<dyn DeviceManager> {
        Arc::new(Broker::new(self.manager(), app.clone(), granted))
    }

    /// Puts [`LAB_MASTER_KEY`] into a master key slot, as the maker's laboratory does.
    ///
    /// # Errors
    /// Why it cannot be done here.
    fn load_lab_master(
        &self,
        keys: &dyn KeyStore,
        slot: KeySlot,
        algorithm: KeyAlgorithm,
    ) -> Result<(), Cannot> {
        if !keys.abilities().components {
            return Err(Cannot::new("the key store takes no components: the fixture must load the key"));
        }
        let component =
            KeyComponent::from_hex(LAB_MASTER_KEY).map_err(|error| Cannot::new(error.to_string()))?;
        let source = MasterSource::Components { algorithm, components: &[component] };
        let loaded = keys.load_master(slot, &source, None);
        loaded.map(drop).map_err(|error| Cannot::new(format!("the master key cannot be loaded: {error}")))
    }

    /// The adapter's code tables; empty when the vendor has no codes.
    fn vendor_codes(&self) -> Vec<VendorCodes> {
        Vec::new()
    }

    /// How many handles, threads and claims the driver holds now; the difference over a thousand cycles is the
    /// leak.
    ///
    /// # Errors
    /// Why it cannot be counted.
    fn handles(&self) -> Result<u64, Cannot> {
        Err(Cannot::new("the fixture counts no handles"))
    }

    /// How long a call may take that must end soon, and a hand to do its deed.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Times that the open and close cycle is run.
    fn cycles(&self) -> u32 {
        1000
    }
}

/// The published laboratory key under which the keys of the vectors travel, triple DES or SM4.
pub const LAB_MASTER_KEY: &str = "0123456789ABCDEFFEDCBA9876543210";

/// The app as which the suite opens devices.
pub const SUITE_APP: &str = "org.posp.hal-suite";

/// Runs every check. Checks follow one another; each leaves cards out, paper in, and no lease behind.
pub fn run(fixture: &dyn Fixture) -> Report {
    run_some(fixture, |_| true)
}

/// Runs the families that are wanted: while a driver is being written.
pub fn run_some(fixture: &dyn Fixture, wanted: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::new(fixture.name());
    for (family, checks) in checks::ALL.iter().filter(|(family, _)| wanted(family)) {
        for check in *checks {
            checks::reset(fixture);
            check(fixture, &mut report, family);
        }
    }
    checks::reset(fixture);
    report
}

/// The families of checks, in the order in which they run.
pub fn families() -> impl Iterator<Item = &'static str> {
    checks::ALL.iter().map(|(family, _)| *family)
}

/// Kinds that say "it is not there".
pub(crate) const fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotSupported)
}
