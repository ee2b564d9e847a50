//! The machine itself, and what it keeps sealed. There is deliberately nothing that runs a command.

use zeroize::Zeroizing;

use crate::{DeviceKind, HalError, Result};

/// Whether an operation came to its end.
pub type Done = Result<()>;

fn absent<T>() -> Result<T> {
    HalError::not_supported(DeviceKind::System)
}

/// Packages, clock, restart. A device answers [`NotSupported`](crate::ErrorKind::NotSupported) to what it
/// has not; who may ask for what is the broker's business.
pub trait SystemControl: Send + Sync {
    /// Installs a package that the market has verified, with these permissions.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam) for a package that does not open.
    fn install(&self, package: &[u8], grants: &[String]) -> Done {
        let _: (&[u8], &[String]) = (package, grants);
        absent()
    }

    /// Takes an app away.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam) for one that is not there.
    fn uninstall(&self, app: &str) -> Done {
        let _: &str = app;
        absent()
    }

    /// Makes an app the one that is shown at start.
    ///
    /// # Errors
    /// As [`SystemControl::uninstall`].
    fn set_launcher(&self, app: &str) -> Done {
        let _: &str = app;
        absent()
    }

    /// Locks the keys that lead out of an app.
    ///
    /// # Errors
    /// Not supported.
    fn lock_keys(&self, home: bool, status_bar: bool) -> Done {
        let _: (bool, bool) = (home, status_bar);
        absent()
    }

    /// Sets the clock, in milliseconds since 1970 (UTC).
    ///
    /// # Errors
    /// Not supported.
    fn set_time(&self, unix_ms: i64) -> Done {
        let _: i64 = unix_ms;
        absent()
    }

    /// Starts again.
    ///
    /// # Errors
    /// Not supported.
    fn reboot(&self) -> Done {
        absent()
    }

    /// Switches off.
    ///
    /// # Errors
    /// Not supported.
    fn shutdown(&self) -> Done {
        absent()
    }

    /// Puts a system update in, signed by the maker.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam), [`LowPower`](crate::ErrorKind::LowPower).
    fn apply_ota(&self, image: &[u8]) -> Done {
        let _: &[u8] = image;
        absent()
    }

    /// Sets the access point of the mobile network.
    ///
    /// # Errors
    /// Not supported.
    fn set_apn(&self, name: &str, user: &str, password: &str) -> Done {
        let _: (&str, &str, &str) = (name, user, password);
        absent()
    }

    /// The log between two moments (milliseconds since 1970), newest lines kept, at most `max` bytes.
    ///
    /// # Errors
    /// Not supported.
    fn collect_log(&self, from_ms: i64, to_ms: i64, max: usize) -> Result<Vec<u8>> {
        let _: (i64, i64, usize) = (from_ms, to_ms, max);
        absent()
    }

    /// What the screen shows, as a PNG. Screens with a PIN pad on them are refused.
    ///
    /// # Errors
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) while a PIN is typed.
    fn screenshot(&self) -> Result<Vec<u8>> {
        absent()
    }
}

/// Longest name of a sealed value.
pub const SEALED_NAME_MAX: usize = 64;
/// Longest sealed value, in bytes.
pub const SEALED_VALUE_MAX: usize = 64 * 1024;

/// Values sealed under a key of this device: on another one they do not open. Names have letters, digits,
/// `.`, `_` and `-`.
pub trait SecureStore: Send + Sync {
    /// Keeps a value, durable when this returns.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam) for a name or size out of bounds,
    /// [`HardwareFault`](crate::ErrorKind::HardwareFault).
    fn put(&self, name: &str, value: &[u8]) -> Result<()>;

    /// The value; `None` when there is none.
    ///
    /// # Errors
    /// [`HardwareFault`](crate::ErrorKind::HardwareFault) when it does not open,
    /// [`Tampered`](crate::ErrorKind::Tampered).
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>>;

    /// Takes a value away; none stays none.
    ///
    /// # Errors
    /// [`HardwareFault`](crate::ErrorKind::HardwareFault).
    fn delete(&self, name: &str) -> Result<()>;

    /// The names in order.
    ///
    /// # Errors
    /// [`HardwareFault`](crate::ErrorKind::HardwareFault).
    fn names(&self) -> Result<Vec<String>>;
}

/// Whether a name may be used in a [`SecureStore`].
pub fn is_sealed_name(name: &str) -> bool {
    (1..=SEALED_NAME_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
