//! Payloads: tag 1, length 2, value.

/// A payload that is no list of TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is no list of tag, length and value")]
pub struct TlvError;

/// A payload, read or being written. A tag may stand there more than once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tlv {
    items: Vec<(u8, Vec<u8>)>,
}

impl Tlv {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a payload.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, TlvError> {
        let mut items = Vec::new();
        while let &[tag, l1, l0, ref rest @ ..] = bytes {
            let (value, rest) =
                rest.split_at_checked(usize::from(u16::from_be_bytes([l1, l0]))).ok_or(TlvError)?;
            items.push((tag, value.to_vec()));
            bytes = rest;
        }
        if bytes.is_empty() { Ok(Self { items }) } else { Err(TlvError) }
    }

    /// The same with one more item.
    #[must_use]
    pub fn with(mut self, tag: u8, value: &[u8]) -> Self {
        self.items.push((tag, value.to_vec()));
        self
    }

    /// The same with one more item, when there is a value.
    #[must_use]
    pub fn with_some(self, tag: u8, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(tag, value),
            None => self,
        }
    }

    /// The first value of a tag.
    pub fn get(&self, tag: u8) -> Option<&[u8]> {
        self.all(tag).next()
    }

    /// All values of a tag.
    pub fn all(&self, tag: u8) -> impl Iterator<Item = &[u8]> {
        self.items.iter().filter(move |(found, _)| *found == tag).map(|(_, value)| value.as_slice())
    }

    /// As it stands in a frame. A value is at most 65,535 bytes; what is longer is cut, and no frame would hold it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in &self.items {
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
            bytes.push(*tag);
            bytes.extend(length.to_be_bytes());
            bytes.extend_from_slice(value.get(..usize::from(length)).unwrap_or(value));
        }
        bytes
    }
}

/// Tags and lengths only: values are PIN blocks, tracks and keys.
impl std::fmt::Debug for Tlv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.items.iter().map(|(tag, value)| (format!("{tag:02X}"), value.len())))
            .finish()
    }
}
