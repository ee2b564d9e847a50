//! From dots to bytes.

use crate::image::Image;
use crate::line::{Above, Template, Window};
use crate::qm::{Encoder, Model};
use crate::{ESC, LRLTWO, SDNORM, STUFF, TPBON};

/// How an image is encoded. The default is what T.85 calls basic: stripes of 128 lines, the template of three lines, typical
/// prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Lines of a stripe; 0 counts as 1.
    pub stripe: u32,
    /// The template of two lines: faster, and larger by some percent.
    pub two_lines: bool,
    /// Typical prediction: a line that is as the one above costs one decision.
    pub typical: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { stripe: 128, two_lines: false, typical: true }
    }
}

/// An image as a bi-level image entity: header and stripes.
pub fn encode(image: &Image, options: Options) -> Vec<u8> {
    let stripe = options.stripe.max(1);
    let (template, template_flag) = match options.two_lines {
        true => (Template::Two, LRLTWO),
        false => (Template::Three, 0),
    };
    let mut bytes = vec![0, 0, 1, 0];
    for number in [image.width(), image.height(), stripe] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend([0, 0, 0, template_flag | if options.typical { TPBON } else { 0 }]);

    let mut model = Model::new();
    let mut above = Above::white(image.width() as usize);
    let mut repeated = false;
    let mut rows = image.rows().peekable();
    while rows.peek().is_some() {
        let mut encoder = Encoder::new();
        for row in rows.by_ref().take(stripe as usize) {
            let repeats = row == above.line();
            if options.typical {
                // Coded is whether this line is of the same sort as the one before.
                encoder.code(&mut model, template.typical(), repeats == repeated);
                repeated = repeats;
            }
            if !(options.typical && repeats) {
                let mut window = Window::new(template, &above, 0);
                for (x, bit) in row.iter().enumerate() {
                    let context = window.context(row.get(..x).unwrap_or_default());
                    encoder.code(&mut model, context, *bit);
                }
            }
            above.push(row);
        }
        for byte in encoder.finish() {
            bytes.push(byte);
            if byte == ESC {
                bytes.push(STUFF);
            }
        }
        bytes.extend([ESC, SDNORM]);
    }
    bytes
}
