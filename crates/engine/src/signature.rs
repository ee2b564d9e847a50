//! E-signatures at rest: each part is sealed by the security module, bound to its payment and its place.

use acquiring::{MerchantId, PaymentId};
use hsm::{Hsm, HsmError};
use store::{Signature, SignaturePart, StoreError};

use crate::Engine;

/// Parts sealed at a time.
const CHUNK: usize = 100;

/// What a sealed part is bound to: it cannot be shown as another payment's, nor in another place of its image.
fn context(merchant: MerchantId, payment: PaymentId, code: u16) -> Vec<u8> {
    format!("signature.part {merchant} {payment} {code}").into_bytes()
}

/// Seals a part.
pub(crate) fn seal(
    hsm: &dyn Hsm,
    merchant: MerchantId,
    payment: PaymentId,
    code: u16,
    image: &[u8],
) -> Result<Vec<u8>, HsmError> {
    hsm.seal(&context(merchant, payment, code), image)
}

/// The parts of a signature, opened and joined: feature code and image.
///
/// # Errors
/// [`HsmError::Sealed`] when a part was sealed under another master key, or is not where it was put.
pub fn open_signature(hsm: &dyn Hsm, signature: &Signature) -> Result<Vec<u8>, HsmError> {
    let mut image = Vec::new();
    for SignaturePart { merchant, payment, code, image: kept, clear } in &signature.parts {
        match clear {
            true => image.extend_from_slice(kept),
            false => image.extend_from_slice(&hsm.open(&context(*merchant, *payment, *code), kept)?),
        }
    }
    Ok(image)
}

/// Seals what an earlier release kept in the clear. Whether there was any.
pub(crate) async fn seal_clear(engine: &Engine) -> Result<bool, StoreError> {
    let inner = &engine.0;
    let found = inner.store.clear_signatures(CHUNK).await?;
    let any = !found.is_empty();
    for part in found {
        let sealed = seal(inner.hsm.as_ref(), part.merchant, part.payment, part.code, &part.image);
        match sealed {
            Ok(sealed) => drop(inner.store.seal_signature(part, sealed).await?),
            Err(error) => {
                tracing::error!(%error, "a signature cannot be sealed");
                return Ok(false);
            }
        }
    }
    Ok(any)
}
