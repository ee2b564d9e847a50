//! The session of a pair: keys from a shared secret, and frames that only the other side can have made, each once.

use std::fmt;

use aes_gcm::{AeadInOut, Aes128Gcm, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::frame::{FLAG_CIPHERED, Frame, PAYLOAD_MAX};

/// Bytes by which encipherment makes a payload longer: counter and tag.
pub(crate) const OVERHEAD: usize = 8 + 16;
/// Bytes of a payload that still fit into a frame enciphered.
pub(crate) const PLAIN_MAX: usize = PAYLOAD_MAX - OVERHEAD;
/// Frames of one direction under one key; then the pair is made anew.
const FRAMES_MAX: u64 = 1 << 32;

/// Which end of the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Phone or computer.
    Host,
    /// Card reader.
    Reader,
}

impl Role {
    const fn name(self) -> &'static [u8; 4] {
        match self {
            Self::Host => b"HOST",
            Self::Reader => b"READ",
        }
    }

    const fn word(self) -> &'static [u8] {
        match self {
            Self::Host => b"host",
            Self::Reader => b"reader",
        }
    }
}

/// Why a frame is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It was not made with the keys of the session, or changed on its way.
    #[error("a frame that does not belong to this session")]
    Forged,
    /// Its counter does not rise: it was here before.
    #[error("a frame whose counter does not rise")]
    Replayed,
    /// The session's keys have done all they may.
    #[error("the session is used up: pair again")]
    UsedUp,
    /// The payload is too long.
    #[error("the payload is too long for a frame")]
    Long,
}

/// What a shared secret and two nonces make: keys for both directions and for the proofs.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    prk: [u8; 32],
    to_reader: [u8; 16],
    to_host: [u8; 16],
    host_proof: [u8; 16],
    reader_proof: [u8; 16],
}

impl SessionKeys {
    /// PRK = HMAC-SHA-256(host's nonce ‖ reader's nonce, secret); the keys are HKDF-expand(PRK, "readerlink.v1" ‖ serial,
    /// 64).
    pub fn derive(secret: &[u8], host_nonce: &[u8; 16], reader_nonce: &[u8; 16], serial: &str) -> Self {
        let salt = [*host_nonce, *reader_nonce].concat();
        let (prk, hkdf) = Hkdf::<Sha256>::extract(Some(&salt), secret);
        let mut okm = Zeroizing::new([0; 64]);
        let info = [b"readerlink.v1", serial.as_bytes()].concat();
        // 64 bytes are within what one key gives (255 blocks of 32).
        let _ = hkdf.expand(&info, okm.as_mut());
        let mut keys = Self {
            prk: prk.into(),
            to_reader: [0; 16],
            to_host: [0; 16],
            host_proof: [0; 16],
            reader_proof: [0; 16],
        };
        let parts = [&mut keys.to_reader, &mut keys.to_host, &mut keys.host_proof, &mut keys.reader_proof];
        for (part, bytes) in parts.into_iter().zip(okm.as_chunks::<16>().0) {
            *part = *bytes;
        }
        keys
    }

    /// What one side shows the other: first 16 bytes of HMAC-SHA-256(its key of proof, its word ‖ both nonces).
    pub fn proof(&self, of: Role, host_nonce: &[u8; 16], reader_nonce: &[u8; 16]) -> [u8; 16] {
        let key = if of == Role::Host { &self.host_proof } else { &self.reader_proof };
        let text = [of.word(), host_nonce, reader_nonce].concat();
        let mut proof = [0; 16];
        // A key of any length is good.
        if let Ok(mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
            let mac = mac.chain_update(text).finalize().into_bytes();
            proof.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
        }
        proof
    }

    /// Whether a proof is that of the other side, told in constant time.
    pub fn verify(&self, of: Role, host_nonce: &[u8; 16], reader_nonce: &[u8; 16], proof: &[u8]) -> bool {
        self.proof(of, host_nonce, reader_nonce).ct_eq(proof).into()
    }

    /// PRK and the two keys, for the published vectors.
    #[doc(hidden)]
    pub fn parts(&self) -> ([u8; 32], [u8; 16], [u8; 16]) {
        (self.prk, self.to_reader, self.to_host)
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys")
    }
}

/// One side of a session.
pub struct Session {
    role: Role,
    out: Aes128Gcm,
    inward: Aes128Gcm,
    sent: u64,
    seen: u64,
}

impl Session {
    /// One side; counters begin at 1.
    pub fn new(keys: &SessionKeys, role: Role) -> Self {
        let (to_reader, to_host) =
            (Aes128Gcm::new(&keys.to_reader.into()), Aes128Gcm::new(&keys.to_host.into()));
        let (out, inward) = if role == Role::Host { (to_reader, to_host) } else { (to_host, to_reader) };
        Self { role, out, inward, sent: 0, seen: 0 }
    }

    /// The same side with this many frames sent already: for vectors, and for tests of the end.
    #[doc(hidden)]
    #[must_use]
    pub fn sent(self, sent: u64) -> Self {
        Self { sent, ..self }
    }

    /// Enciphers a payload into a frame under the next counter.
    pub fn seal(
        &mut self,
        flags: u8,
        sequence: u16,
        command: u16,
        payload: &[u8],
    ) -> Result<Frame, SessionError> {
        if payload.len() > PLAIN_MAX {
            return Err(SessionError::Long);
        }
        if self.sent >= FRAMES_MAX {
            return Err(SessionError::UsedUp);
        }
        self.sent += 1;
        let counter = self.sent.to_be_bytes();
        let flags = flags | FLAG_CIPHERED;
        let length = u16::try_from(payload.len() + OVERHEAD).map_err(|_| SessionError::Long)?;
        let bound = [&Frame::header(flags, sequence, command, length)[..], &counter].concat();
        let mut text = payload.to_vec();
        let tag = self
            .out
            .encrypt_inout_detached(&nonce(self.role, counter), &bound, text.as_mut_slice().into())
            .map_err(|_| SessionError::Long)?;
        let payload = [&counter[..], &text, &tag].concat();
        Ok(Frame { flags, sequence, command, payload })
    }

    /// Deciphers a frame of the other side whose counter rises.
    pub fn open(&mut self, frame: &Frame) -> Result<Vec<u8>, SessionError> {
        let (counter, rest) = frame.payload.split_first_chunk::<8>().ok_or(SessionError::Forged)?;
        let (text, tag) = rest.split_last_chunk::<16>().ok_or(SessionError::Forged)?;
        let length = u16::try_from(frame.payload.len()).map_err(|_| SessionError::Forged)?;
        let header = Frame::header(frame.flags, frame.sequence, frame.command, length);
        let bound = [&header[..], counter].concat();
        let other = if self.role == Role::Host { Role::Reader } else { Role::Host };
        let mut text = text.to_vec();
        self.inward
            .decrypt_inout_detached(
                &nonce(other, *counter),
                &bound,
                text.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| SessionError::Forged)?;
        let counter = u64::from_be_bytes(*counter);
        if counter <= self.seen {
            return Err(SessionError::Replayed);
        }
        if counter > FRAMES_MAX {
            return Err(SessionError::UsedUp);
        }
        self.seen = counter;
        Ok(text)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?}, sent {}, seen {})", self.role, self.sent, self.seen)
    }
}

fn nonce(from: Role, counter: [u8; 8]) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = Nonce::default();
    nonce.iter_mut().zip(from.name().iter().chain(&counter)).for_each(|(to, byte)| *to = *byte);
    nonce
}
