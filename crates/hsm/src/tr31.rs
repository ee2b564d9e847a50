//! TR-31 (ANSI X9.143) key blocks: how two parties exchange a key together with what it may do.
//!
//! A block says in the clear, and signs, what its key is for. [`Hsm::export_block`](crate::Hsm::export_block)
//! and [`Hsm::import_block`](crate::Hsm::import_block) translate between that and [`KeyUsage`]; what a block's
//! header does not allow is refused. Versions B (triple DES of 16 or 24 bytes) and D (AES of 16, 24 or 32); A and C
//! are deprecated by the standard and refused by name.
//!
//! ```text
//! version 1 | length 4 | usage 2 | algorithm 1 | mode 1 | key version 2 | exportability 1 | blocks 2 | 00
//! ```

use crate::HsmError;
use crate::key::{KeyAlgorithm, KeyUsage};

/// Characters of the header before its optional blocks.
const HEAD: usize = 16;
/// A block's length has four digits.
const LONGEST: usize = 9_999;
/// Optional blocks are counted in two digits.
const BLOCKS_MAX: usize = 99;

/// How a key block is bound: the first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockVersion {
    /// Triple DES, derived keys.
    B,
    /// AES, derived keys.
    D,
}

impl BlockVersion {
    /// Bytes of a cipher block, and of the MAC.
    pub const fn block_len(self) -> usize {
        match self {
            Self::B => 8,
            Self::D => 16,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::B => 'B',
            Self::D => 'D',
        }
    }

    /// The version that goes with a protection key.
    pub const fn for_key(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::TripleDes2 | KeyAlgorithm::TripleDes3 => Some(Self::B),
            KeyAlgorithm::Aes128 | KeyAlgorithm::Aes192 | KeyAlgorithm::Aes256 => Some(Self::D),
            KeyAlgorithm::Des | KeyAlgorithm::Sm4 | KeyAlgorithm::HmacSha256 => None,
        }
    }

    /// The cipher of a protection key of so many bytes: the length alone does not tell, 16 and 24 bytes are triple DES
    /// or AES.
    ///
    /// # Errors
    /// [`HsmError::KeyBlock`] for a length that the version does not take.
    pub const fn protection(self, bytes: usize) -> Result<KeyAlgorithm, HsmError> {
        match (self, bytes) {
            (Self::B, 16) => Ok(KeyAlgorithm::TripleDes2),
            (Self::B, 24) => Ok(KeyAlgorithm::TripleDes3),
            (Self::D, 16) => Ok(KeyAlgorithm::Aes128),
            (Self::D, 24) => Ok(KeyAlgorithm::Aes192),
            (Self::D, 32) => Ok(KeyAlgorithm::Aes256),
            _ => Err(HsmError::KeyBlock(self.takes())),
        }
    }

    /// What the version wants of a protection key.
    pub(crate) const fn takes(self) -> &'static str {
        match self {
            Self::B => "version B takes a triple-DES protection key of 16 or 24 bytes",
            Self::D => "version D takes an AES protection key of 16, 24 or 32 bytes",
        }
    }
}

/// Whether a key may be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exportability {
    /// E: under a key-encrypting key of the same rules.
    Trusted,
    /// N: not at all.
    Never,
    /// S: under any key-encrypting key.
    Sensitive,
}

impl Exportability {
    const fn letter(self) -> char {
        match self {
            Self::Trusted => 'E',
            Self::Never => 'N',
            Self::Sensitive => 'S',
        }
    }
}

/// An optional block, kept as it came: KS (key serial number), CT (certificate), TS (time stamp), KC (check
/// value) and whatever else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OptionalBlock {
    /// Two letters or digits.
    pub id: [u8; 2],
    /// Printable ASCII.
    pub data: String,
}

/// What a key block says of its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyBlockHeader {
    /// How it is bound.
    pub version: BlockVersion,
    /// Usage, two characters: P0 a PIN key, M1 a MAC key.
    pub usage: [u8; 2],
    /// Algorithm of the key: T triple DES, D DES, A AES.
    pub algorithm: u8,
    /// What it may do: B both ways, E encrypt, D decrypt, C sign and verify, G sign, V verify, X derive.
    pub mode: u8,
    /// Key version, `00` when there is none.
    pub key_version: [u8; 2],
    /// Whether it may be sent on.
    pub exportability: Exportability,
    /// Optional blocks in their order, without the padding one.
    pub optional: Vec<OptionalBlock>,
}

impl KeyBlockHeader {
    /// What this platform says of a key of its own.
    ///
    /// # Errors
    /// The usage or the algorithm has no code in key blocks.
    pub fn describe(
        version: BlockVersion,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
    ) -> Result<Self, HsmError> {
        let (code, mode) = match usage {
            KeyUsage::Pin => (*b"P0", b'B'),
            KeyUsage::Mac => (*b"M1", b'C'),
            KeyUsage::Track => (*b"D0", b'B'),
            KeyUsage::TerminalMaster | KeyUsage::ZoneMaster => (*b"K0", b'B'),
            KeyUsage::IssuerMaster => (*b"E0", b'X'),
            KeyUsage::IssuerScriptCipher => (*b"E1", b'X'),
            KeyUsage::IssuerScriptMac => (*b"E2", b'X'),
            KeyUsage::PinVerification | KeyUsage::BlockProtection | KeyUsage::Data | KeyUsage::Digest => {
                return Err(HsmError::NeverSent { usage });
            }
        };
        let algorithm = match algorithm {
            KeyAlgorithm::Des => b'D',
            KeyAlgorithm::TripleDes2 => b'T',
            KeyAlgorithm::Sm4 => {
                return Err(HsmError::KeyBlock("key blocks have no code for SM4 keys; send them in ECB"));
            }
            KeyAlgorithm::TripleDes3
            | KeyAlgorithm::Aes128
            | KeyAlgorithm::Aes192
            | KeyAlgorithm::Aes256
            | KeyAlgorithm::HmacSha256 => return Err(HsmError::NeverSent { usage }),
        };
        Ok(Self {
            version,
            usage: code,
            algorithm,
            mode,
            key_version: *b"00",
            exportability: Exportability::Trusted,
            optional: Vec::new(),
        })
    }

    /// Whether a key under this header may become one of `usage`, and in which algorithm.
    ///
    /// # Errors
    /// [`HsmError::KeyBlock`] with what does not fit.
    pub fn admits(&self, usage: KeyUsage) -> Result<KeyAlgorithm, HsmError> {
        let (codes, modes): (&[&[u8; 2]], &[u8]) = match usage {
            KeyUsage::Pin => (&[b"P0"], b"BEDN"),
            // The MAC rules of the field are none of the standard's; any of its DES MAC usages will do.
            KeyUsage::Mac => (&[b"M0", b"M1", b"M3"], b"CGVN"),
            KeyUsage::Track => (&[b"D0"], b"BEDN"),
            KeyUsage::TerminalMaster | KeyUsage::ZoneMaster => (&[b"K0"], b"BEDN"),
            KeyUsage::IssuerMaster => (&[b"E0"], b"XN"),
            KeyUsage::IssuerScriptCipher => (&[b"E1"], b"XN"),
            KeyUsage::IssuerScriptMac => (&[b"E2"], b"XN"),
            KeyUsage::PinVerification | KeyUsage::BlockProtection | KeyUsage::Data | KeyUsage::Digest => {
                return Err(HsmError::NeverSent { usage });
            }
        };
        if !codes.contains(&&self.usage) {
            return Err(HsmError::KeyBlock("its key is for another usage"));
        }
        if !modes.contains(&self.mode) {
            return Err(HsmError::KeyBlock("its mode of use does not go with the usage"));
        }
        match self.algorithm {
            b'T' => Ok(KeyAlgorithm::TripleDes2),
            b'D' => Ok(KeyAlgorithm::Des),
            _ => Err(HsmError::KeyBlock("its key is neither DES nor triple DES")),
        }
    }

    /// The header of a block with a payload of so many bytes, with a padding block (PB) where the optional
    /// blocks do not fill cipher blocks.
    pub(crate) fn render(&self, payload_len: usize) -> Result<String, HsmError> {
        let unit = self.version.block_len();
        let mut optional = String::new();
        let mut count = self.optional.len();
        for block in &self.optional {
            let printable = block.data.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
            if !block.id.iter().all(u8::is_ascii_alphanumeric) || !printable || block.id == *b"PB" {
                return Err(HsmError::KeyBlock("an optional block is not printable, or is the padding"));
            }
            optional.extend(block.id.map(char::from));
            let short = block.data.len().saturating_add(4);
            if short <= 0xFF {
                optional.push_str(&format!("{short:02X}"));
            } else {
                // Long form: 00, the bytes of the length, the length, two digits a byte.
                optional.push_str(&format!("0002{:04X}", block.data.len().saturating_add(10)));
            }
            optional.push_str(&block.data);
            if optional.len() > LONGEST {
                return Err(HsmError::KeyBlock("it is too long"));
            }
        }
        if !optional.len().is_multiple_of(unit) {
            let mut fill = optional.len().next_multiple_of(unit).saturating_sub(optional.len());
            if fill < 4 {
                fill = fill.saturating_add(unit);
            }
            optional.push_str(&format!("PB{fill:02X}"));
            optional.extend(std::iter::repeat_n('0', fill.saturating_sub(4)));
            count = count.saturating_add(1);
        }
        let digits = payload_len.saturating_add(unit).saturating_mul(2);
        let length = HEAD.saturating_add(optional.len()).saturating_add(digits);
        if length > LONGEST || count > BLOCKS_MAX {
            return Err(HsmError::KeyBlock("it is too long"));
        }
        let text = |pair: [u8; 2]| pair.map(char::from).into_iter().collect::<String>();
        let header = format!(
            "{}{length:04}{}{}{}{}{}{count:02}00{optional}",
            self.version.letter(),
            text(self.usage),
            char::from(self.algorithm),
            char::from(self.mode),
            text(self.key_version),
            self.exportability.letter(),
        );
        let sound = header.bytes().take(HEAD).all(|byte| byte.is_ascii_alphanumeric());
        if sound {
            Ok(header)
        } else {
            Err(HsmError::KeyBlock("a field of its header is no letter or digit"))
        }
    }

    /// Reads a block's header; also its length in characters. The whole block must be there.
    ///
    /// # Errors
    /// [`HsmError::KeyBlock`] with the field that is wrong.
    pub fn parse(text: &str) -> Result<(Self, usize), HsmError> {
        let refuse = |why| Err(HsmError::KeyBlock(why));
        if !text.is_ascii() {
            return refuse("it is not ASCII");
        }
        let Some((head, mut rest)) = text.as_bytes().split_first_chunk::<HEAD>() else {
            return refuse("it is shorter than a header");
        };
        if !head.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            return refuse("a field of its header is no capital letter or digit");
        }
        let [version, l1, l2, l3, l4, u1, u2, algorithm, mode, v1, v2, export, c1, c2, r1, r2] = *head;
        let version = match version {
            b'B' => BlockVersion::B,
            b'D' => BlockVersion::D,
            b'A' | b'C' => return refuse("versions A and C are deprecated and not taken"),
            _ => return refuse("its version is unknown"),
        };
        if decimal(&[l1, l2, l3, l4]) != Some(text.len()) {
            return refuse("its length is not the one it states");
        }
        let exportability = match export {
            b'E' => Exportability::Trusted,
            b'N' => Exportability::Never,
            b'S' => Exportability::Sensitive,
            _ => return refuse("its exportability is unknown"),
        };
        if [r1, r2] != *b"00" {
            return refuse("its reserved field is not 00");
        }
        let count =
            decimal(&[c1, c2]).ok_or(HsmError::KeyBlock("its number of optional blocks is no number"))?;
        let mut optional = Vec::with_capacity(count);
        for number in 1..=count {
            let (block, after) = optional_block(rest)?;
            rest = after;
            match block.id == *b"PB" {
                true if number == count => {}
                true => return refuse("its padding block is not the last"),
                false => optional.push(block),
            }
        }
        let length = text.len().saturating_sub(rest.len());
        if !length.saturating_sub(HEAD).is_multiple_of(version.block_len()) {
            return refuse("its optional blocks do not fill cipher blocks");
        }
        let (usage, key_version) = ([u1, u2], [v1, v2]);
        Ok((Self { version, usage, algorithm, mode, key_version, exportability, optional }, length))
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0usize, |sum, digit| {
        let value = char::from(*digit).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(value as usize)
    })
}

fn hexadecimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0usize, |sum, digit| {
        let value = char::from(*digit).to_digit(16).filter(|_| !digit.is_ascii_lowercase())?;
        sum.checked_mul(16)?.checked_add(value as usize)
    })
}

/// Reads one optional block and what follows it.
fn optional_block(from: &[u8]) -> Result<(OptionalBlock, &[u8]), HsmError> {
    let short = HsmError::KeyBlock("an optional block ends too early");
    let wrong = HsmError::KeyBlock("an optional block has a wrong length");
    let (id, rest) = from.split_first_chunk::<2>().ok_or(short.clone())?;
    if !id.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return Err(HsmError::KeyBlock("an optional block has no name"));
    }
    let (digits, rest) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
    let (total, head, rest) = match hexadecimal(digits).ok_or(wrong.clone())? {
        0 => {
            let (digits, rest) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
            let bytes = hexadecimal(digits).filter(|bytes| (1..=4).contains(bytes)).ok_or(wrong.clone())?;
            let digits = bytes.saturating_mul(2);
            let (length, rest) = rest.split_at_checked(digits).ok_or(short.clone())?;
            (hexadecimal(length).ok_or(wrong.clone())?, digits.saturating_add(6), rest)
        }
        total => (total, 4, rest),
    };
    let data = total.checked_sub(head).ok_or(wrong)?;
    let (data, rest) = rest.split_at_checked(data).ok_or(short)?;
    if !data.iter().all(|byte| matches!(byte, 0x20..=0x7E)) {
        return Err(HsmError::KeyBlock("an optional block is not printable"));
    }
    Ok((OptionalBlock { id: *id, data: data.iter().copied().map(char::from).collect() }, rest))
}
