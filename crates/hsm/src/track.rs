//! Clear track data, held as briefly as possible.

use std::fmt;

use zeroize::Zeroizing;

/// A clear track with `D` as separator. Wiped when dropped; `Debug` shows the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct TrackData(Zeroizing<String>);

impl TrackData {
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The digits and the separator `D`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The card number of a track 2: what stands before the separator.
    pub fn pan(&self) -> Option<&str> {
        self.0.split_once('D').map(|(pan, _)| pan)
    }
}

impl fmt::Debug for TrackData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrackData({} digits)", self.0.len())
    }
}
