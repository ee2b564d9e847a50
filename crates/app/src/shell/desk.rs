//! Pad and scanner: the holder's signature, and the code of a slip.

use std::time::Duration;

use hal::{Camera, ErrorKind, Scanner, SignaturePad};
use receipt::{Element, Line, ReceiptDoc};

use super::{Lit, Shell};
use crate::flow::{Event, SignSays};
use crate::host;
use crate::signature;

/// How long a signature is waited for; then it goes on paper.
const SIGNING: Duration = Duration::from_secs(150);
/// How long a code is waited for.
const SCANNING: Duration = Duration::from_secs(60);

impl Shell {
    /// Takes the holder's signature for a transaction. It is on disk, with its place in the uploads, before the slip says
    /// that it was given.
    pub(super) fn sign(&mut self, trace: u32, code: &str) -> Lit<Event> {
        let captured = self.open::<dyn SignaturePad>().and_then(|pad| {
            let call = pad.call_with(SIGNING, &self.around.power);
            self.around.panel.cancels(Some(&call.cancel));
            let captured = pad.get()?.capture(code, &call);
            self.around.panel.cancels(None);
            captured
        });
        let drawn = match captured {
            Ok(drawn) => drawn,
            Err(error) => {
                let error = self.lit(error)?;
                if !matches!(error.kind, ErrorKind::UserCancelled | ErrorKind::Timeout) {
                    tracing::warn!(%error, "the signature pad does not work");
                }
                return Ok(Event::Signed(SignSays::OnPaper));
            }
        };
        if signature::is_empty(&drawn) {
            return Ok(Event::Signed(SignSays::Empty));
        }
        let kept = match signature::write(&signature::marked(drawn, code), self.config.signature) {
            Ok(image) => self
                .ask(async |terminal| terminal.sign(trace, &image).await)?
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Ok(Event::Signed(match kept {
            Ok(_) => SignSays::Taken,
            Err(error) => {
                tracing::warn!(%error, trace, "a signature could not be kept");
                SignSays::OnPaper
            }
        }))
    }

    /// The document with the signature's image in the place of its reference.
    pub(super) fn with_signature(&self, document: &ReceiptDoc) -> ReceiptDoc {
        let drawn = |line: &Line| match &line.element {
            Element::Signature { reference } => {
                let image = self.terminal.signature(reference).and_then(|image| signature::read(&image));
                image.map_or_else(|| line.clone(), |image| Line::image(image).on(line.copy).sensitive())
            }
            _ => line.clone(),
        };
        ReceiptDoc { width: document.width, lines: document.lines.iter().map(drawn).collect() }
    }

    /// Reads the code of a slip.
    pub(super) fn scan(&mut self) -> Lit<Event> {
        let scanned = self.open::<dyn Scanner>().and_then(|scanner| {
            let call = scanner.call_with(SCANNING, &self.around.power);
            self.around.panel.cancels(Some(&call.cancel));
            let scanned = scanner.get()?.scan(Camera::Back, &[], &call);
            self.around.panel.cancels(None);
            scanned
        });
        Ok(match scanned {
            Ok(code) => match host::scanned(&self.terminal, &code.text) {
                Ok(line) => Event::Scanned(Box::new(line)),
                Err(trouble) => Event::Failed(trouble),
            },
            Err(error) => self.nobody(error)?,
        })
    }
}
