//! SVG for a browser: one file, text as text, images inside. Whatever font is there, each piece is stretched to its
//! columns, so that columns stand where the paper has them.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bitmap::Bitmap;
use crate::code;
use crate::layout::{Grid, Row, TextRow, columns, lay};
use crate::model::{Part, ReceiptDoc, Size, Width};
use crate::png;
use crate::render::{RenderError, SIGNATURE_HEIGHT, Signatures, leading};

/// Fonts asked for, in this order.
const FAMILIES: &str = "'Noto Sans Mono CJK SC','WenQuanYi Zen Hei Mono','Source Han Mono SC','NSimSun','Sarasa Mono SC',monospace";
/// White at each side of the print head, in dots: paper is 5 mm wider on each side.
const MARGIN: u32 = 40;

/// One copy as an SVG document.
pub fn render(doc: &ReceiptDoc, part: Part, signatures: Signatures<'_>) -> Result<String, RenderError> {
    let mut drawing = Drawing { body: String::new(), y: MARGIN, width: doc.width };
    for row in lay(doc, part, Grid::Sizes) {
        drawing.row(&row, signatures)?;
    }
    let (wide, high) = (doc.width.dots() + 2 * MARGIN, drawing.y + MARGIN);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide}\" height=\"{high}\" \
         viewBox=\"0 0 {wide} {high}\" font-family=\"{FAMILIES}\">\n\
         <rect width=\"{wide}\" height=\"{high}\" fill=\"#fff\"/>\n{}</svg>\n",
        drawing.body
    ))
}

struct Drawing {
    body: String,
    y: u32,
    width: Width,
}

impl Drawing {
    fn row(&mut self, row: &Row<'_>, signatures: Signatures<'_>) -> Result<(), RenderError> {
        let wide = self.width.dots();
        match row {
            Row::Text(row) => self.text(row),
            Row::Rule => {
                let y = self.y + 12;
                self.add(format_args!(
                    "<line x1=\"{MARGIN}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#000\" stroke-width=\"2\" \
                     stroke-dasharray=\"8 4\"/>",
                    MARGIN + wide
                ));
                self.y += 24;
            }
            Row::Space { lines } => self.y += u32::from(*lines) * line_height(Size::Normal),
            Row::Qr { data, level, px } => self.image(&code::qr(data, *level, *px, wide)?)?,
            Row::Barcode { data } => {
                self.image(&code::barcode(data, wide)?)?;
                let at = self.width.columns(Size::Normal).saturating_sub(columns(data)) / 2;
                self.text(&TextRow { pieces: vec![(at, (*data).to_owned())], ..TextRow::default() });
            }
            Row::Image(image) => self.image(image)?,
            Row::Signature(reference) => match signatures(reference) {
                Some(image) => self.image(&image)?,
                None => self.y += SIGNATURE_HEIGHT,
            },
            Row::Cut(_) => {
                let y = self.y + 12;
                self.add(format_args!(
                    "<line x1=\"0\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#999\" stroke-dasharray=\"2 6\"/>",
                    wide + 2 * MARGIN
                ));
                self.y += 24;
            }
            Row::Drawer => {}
        }
        Ok(())
    }

    fn text(&mut self, row: &TextRow) {
        let px = row.style.size.px();
        let height = line_height(row.style.size);
        let ink = if row.style.inverse {
            let (y, wide) = (self.y, self.width.dots());
            self.add(format_args!(
                "<rect x=\"{MARGIN}\" y=\"{y}\" width=\"{wide}\" height=\"{height}\" fill=\"#000\"/>"
            ));
            "#fff"
        } else {
            "#000"
        };
        let weight = if row.style.bold { " font-weight=\"bold\"" } else { "" };
        let base = self.y + leading(px) / 2 + px * 7 / 8;
        for (column, text) in &row.pieces {
            let cell = px / 2;
            let x = MARGIN + u32::try_from(*column).unwrap_or(u32::MAX).saturating_mul(cell);
            let wide = u32::try_from(columns(text)).unwrap_or(u32::MAX).saturating_mul(cell);
            let text = escaped(text);
            self.add(format_args!(
                "<text x=\"{x}\" y=\"{base}\" font-size=\"{px}\"{weight} fill=\"{ink}\" xml:space=\"preserve\" \
                 textLength=\"{wide}\" lengthAdjust=\"spacingAndGlyphs\">{text}</text>"
            ));
        }
        self.y += height;
    }

    /// An image in the middle; what is wider than the paper is cut off.
    fn image(&mut self, image: &Bitmap) -> Result<(), RenderError> {
        let image = &image.cropped(self.width.dots());
        let (wide, high) = (image.width(), image.height());
        let x = MARGIN + self.width.dots().saturating_sub(wide) / 2;
        let data = STANDARD.encode(png::encode(image)?);
        let y = self.y;
        self.add(format_args!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" style=\"image-rendering:pixelated\" \
             href=\"data:image/png;base64,{data}\"/>"
        ));
        self.y += high;
        Ok(())
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

fn line_height(size: Size) -> u32 {
    size.px() + leading(size.px())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // What XML has no place for.
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cut, Line};
    use crate::render::no_signatures;

    /// A name that is written to break out of its element stays text; nothing is loaded from elsewhere.
    #[test]
    fn text_stays_text_and_nothing_comes_from_elsewhere() {
        let mut doc = ReceiptDoc::new(Width::W58);
        doc.push(Line::text("<script>alert(\"1\") & more")).push(Line::qr("https://example.com/", 4));
        doc.push(Line::text("反白").inverse().bold()).push(Line::rule()).push(Line::cut(Cut::Full));
        let svg = render(&doc, Part::Merchant, &no_signatures).unwrap();
        assert!(!svg.contains("<script"));
        assert!(svg.contains("&lt;script&gt;alert(&quot;1&quot;) &amp; more</text>"));
        assert!(svg.contains("href=\"data:image/png;base64,"));
        assert_eq!(svg.matches("http").count(), 1, "only the namespace");
        assert!(svg.contains("<text x=\"40\""));
    }
}
