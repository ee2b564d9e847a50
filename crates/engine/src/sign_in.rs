//! Sign-in (签到) and sign-off (签退): how a terminal gets its working keys and gives them back.

use acquiring::kind::Kind;
use acquiring::master::{TerminalCipher, WorkingKeys};
use acquiring::{BatchNo, Beijing, ResponseCode, Rrn};
use hsm::{HsmError, KeyAlgorithm, KeyBlobLayout, WrappedKey};
use jiff::Timestamp;

use crate::authenticate::Authenticated;
use crate::directory::{LiveKeys, Session};
use crate::{Engine, Refusal};

/// How a terminal's profile wants its working keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyForm {
    /// The MAC key of a layout that has room for it is 16 bytes long instead of 8.
    pub long_mac_key: bool,
    /// The keys stand in records of 25 bytes instead of blocks.
    pub records: bool,
}

/// What a sign-in answers with.
pub struct SignedIn {
    /// Field 62: the working keys under the terminal's master key.
    pub keys: Vec<u8>,
    /// Field 60.2: the batch that the terminal must use from now on.
    pub batch: BatchNo,
    /// Fields 12 and 13.
    pub at: Timestamp,
    /// Field 37.
    pub rrn: Rrn,
}

fn mac_algorithm(layout: KeyBlobLayout, form: KeyForm) -> KeyAlgorithm {
    match layout.algorithm() {
        KeyAlgorithm::Sm4 => KeyAlgorithm::Sm4,
        _ if form.long_mac_key && layout.mac_allowed(KeyAlgorithm::TripleDes2) => KeyAlgorithm::TripleDes2,
        _ => KeyAlgorithm::Des,
    }
}

impl Engine {
    /// Gives a terminal new working keys, in the layout its 60.3 asked for (001, 003, 004, 006) and the form of its
    /// profile.
    ///
    /// The old keys stay good until a message verifies under the new ones: the terminal may miss the answer. Until then
    /// another sign-in gets the same new ones again. Else a terminal that has them, asks once more and misses that answer
    /// would hold keys that nobody knows any more.
    pub async fn sign_in(
        &self,
        auth: &Authenticated,
        network_code: u16,
        form: KeyForm,
    ) -> Result<SignedIn, Refusal> {
        debug_assert_eq!(auth.spec.kind, Kind::SignIn);
        let entry = &auth.entry;
        let layout = KeyBlobLayout::for_management_code(network_code)
            .ok_or(Refusal::new(ResponseCode::NOT_SUPPORTED, "key layout unknown"))?;
        let cipher = match layout.algorithm() {
            KeyAlgorithm::Sm4 => TerminalCipher::Sm4,
            _ => TerminalCipher::TripleDes,
        };
        if entry.cipher != cipher {
            return Err(Refusal::new(
                ResponseCode::NOT_SUPPORTED,
                "key layout is not of the terminal's cipher",
            ));
        }
        let at = self.now();
        let failed = |error: store::StoreError| {
            tracing::error!(%error, "a sign-in could not be made durable");
            Refusal::new(ResponseCode::MALFUNCTION, "store cannot take the sign-in")
        };
        let store = &self.0.store;
        if store.is_shared() {
            // What the terminal may fall back on is what another node gave it last.
            self.read_session_again(entry.merchant.id, entry.id).await.map_err(failed)?;
        }
        let session = entry.session();
        // Who was refused under them because it had to sign in gets others, or a late copy of that request would be taken.
        let stands = self.sign_in_stands(session.signed_in_at).is_ok();
        let unproved = session.keys.as_ref().filter(|_| session.previous.is_some() && stands);
        let again = unproved.and_then(|keys| self.same_keys(keys, layout, form, &entry.master_key));
        let (fresh, blob) = match again {
            Some(again) => again,
            None => self.fresh_keys(layout, form, &entry.master_key).map_err(|error| {
                tracing::error!(%error, "working keys cannot be made");
                Refusal::new(ResponseCode::MALFUNCTION, "security module failed")
            })?,
        };
        let stored = WorkingKeys {
            pin: fresh.pin.to_string(),
            mac: fresh.mac.to_string(),
            track: fresh.track.as_ref().map(WrappedKey::to_string),
        };
        if let Some(proved) = session.keys.as_ref().filter(|_| session.previous.is_none()) {
            // The keys in force have proved themselves, so they are what the terminal falls back on should it
            // miss this answer, also when this process dies: those before them must make room in the store.
            let proved = proved.mac.to_string();
            store.drop_previous_keys(entry.merchant.id, entry.id, proved).await.map_err(failed)?;
        }
        store.save_sign_in(entry.merchant.id, entry.id, &stored, at).await.map_err(failed)?;
        let number = self.0.numbers.next(store).await.map_err(failed)?;
        entry.clear_wrong_macs();
        let mut batch = BatchNo::FIRST;
        entry.change_session(|session| {
            // When the keys in force never verified anything, the terminal may not have them: the ones
            // before stay the fallback.
            if session.previous.is_none() {
                session.previous = session.keys.take();
                session.previous_signed_in_at = session.signed_in_at;
            }
            session.keys = Some(std::sync::Arc::new(fresh));
            session.signed_in_at = Some(at);
            batch = session.batch;
        });
        metrics::counter!("posp_sign_ins_total").increment(1);
        tracing::info!(merchant = %entry.merchant.id, terminal = %entry.id, batch = %batch, "signed in");
        Ok(SignedIn { keys: blob, batch, at, rrn: number.rrn(Beijing::of(at).mmdd()) })
    }

    /// The same keys in the same layout; nothing when the terminal asks for another layout than they were made for, or
    /// its profile for another form.
    fn same_keys(
        &self,
        keys: &LiveKeys,
        layout: KeyBlobLayout,
        form: KeyForm,
        master: &WrappedKey,
    ) -> Option<(LiveKeys, Vec<u8>)> {
        let fits = keys.mac.algorithm() == mac_algorithm(layout, form);
        let fields = fits.then(|| self.key_field(keys, layout, form, master).ok())??;
        Some((keys.clone(), fields))
    }

    fn fresh_keys(
        &self,
        layout: KeyBlobLayout,
        form: KeyForm,
        master: &WrappedKey,
    ) -> Result<(LiveKeys, Vec<u8>), HsmError> {
        let keys = LiveKeys::generate(self.0.hsm.as_ref(), layout, mac_algorithm(layout, form))?;
        let field = self.key_field(&keys, layout, form, master)?;
        Ok((keys, field))
    }

    /// Field 62 with these keys.
    fn key_field(
        &self,
        keys: &LiveKeys,
        layout: KeyBlobLayout,
        form: KeyForm,
        master: &WrappedKey,
    ) -> Result<Vec<u8>, HsmError> {
        let hsm = self.0.hsm.as_ref();
        match form.records {
            true => keys.to_records(hsm, layout, master),
            false => keys.to_blob(hsm, layout, master),
        }
    }

    /// Takes a sign-off: the terminal must sign in before it can pay again.
    pub async fn sign_off(&self, auth: &Authenticated) -> Result<Timestamp, Refusal> {
        let entry = &auth.entry;
        let at = self.now();
        self.0.store.save_sign_off(entry.merchant.id, entry.id).await.map_err(|error| {
            tracing::error!(%error, "a sign-off could not be made durable");
            Refusal::new(ResponseCode::MALFUNCTION, "store cannot take the sign-off")
        })?;
        entry.change_session(Session::end);
        tracing::info!(merchant = %entry.merchant.id, terminal = %entry.id, "signed off");
        Ok(at)
    }

    /// A reference number for an answer that belongs to no payment.
    pub async fn reference(&self) -> Result<Rrn, Refusal> {
        let number = self.0.numbers.next(&self.0.store).await.map_err(|error| {
            tracing::error!(%error, "no number can be reserved");
            Refusal::new(ResponseCode::MALFUNCTION, "store cannot give a number")
        })?;
        Ok(number.rrn(Beijing::of(self.now()).mmdd()))
    }
}
