//! The slip as dots: what a print head burns and what a browser shows.

use crate::bitmap::{Bitmap, SIDE_MAX};
use crate::code;
use crate::font::Font;
use crate::layout::{Grid, Row, TextRow, columns, lay};
use crate::model::{Cut, Part, ReceiptDoc, Size, Width};
use crate::render::{RenderError, SIGNATURE_HEIGHT, Signatures, leading};

/// What a printer gets, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Dots, as wide as the print head.
    Image(Bitmap),
    /// The cutter.
    Cut(Cut),
    /// The drawer.
    Drawer,
}

/// One copy as dots between what the printer does besides printing.
pub fn strips(
    doc: &ReceiptDoc,
    part: Part,
    font: &Font,
    signatures: Signatures<'_>,
) -> Result<Vec<Strip>, RenderError> {
    let mut strips = Vec::new();
    let mut paper = Paper::new(doc.width);
    for row in lay(doc, part, Grid::Sizes) {
        match row {
            Row::Cut(how) => {
                strips.extend(paper.torn()?);
                strips.push(Strip::Cut(how));
            }
            Row::Drawer => {
                strips.extend(paper.torn()?);
                strips.push(Strip::Drawer);
            }
            row => paper.add(&row, font, signatures)?,
        }
    }
    strips.extend(paper.torn()?);
    Ok(strips)
}

/// One copy as one image with a margin, as paper looks.
pub fn image(
    doc: &ReceiptDoc,
    part: Part,
    font: &Font,
    signatures: Signatures<'_>,
) -> Result<Bitmap, RenderError> {
    /// Paper is 5 mm wider than the print head, on each side.
    const MARGIN: u32 = 40;
    let strips = strips(doc, part, font, signatures)?;
    let images: Vec<Bitmap> = strips
        .into_iter()
        .filter_map(|s| if let Strip::Image(image) = s { Some(image) } else { None })
        .collect();
    let high: u32 = images.iter().map(Bitmap::height).sum();
    let size = (doc.width.dots() + 2 * MARGIN, high + 2 * MARGIN);
    let mut whole = Bitmap::new(size.0, size.1).map_err(|_| RenderError::Length)?;
    let mut y = MARGIN;
    for image in &images {
        whole.lay(image, MARGIN, y);
        y += image.height();
    }
    Ok(whole)
}

/// Paper that grows downwards.
struct Paper {
    width: Width,
    dots: Vec<u8>,
}

impl Paper {
    fn new(width: Width) -> Self {
        Self { width, dots: Vec::new() }
    }

    /// What was printed so far, if anything.
    fn torn(&mut self) -> Result<Option<Strip>, RenderError> {
        if self.dots.is_empty() {
            return Ok(None);
        }
        let dots = std::mem::take(&mut self.dots);
        let high = dots.len() / (self.width.dots() as usize / 8);
        let high = u32::try_from(high).map_err(|_| RenderError::Length)?;
        let image = Bitmap::from_bytes(self.width.dots(), high, dots).map_err(|_| RenderError::Length)?;
        Ok(Some(Strip::Image(image)))
    }

    fn add(&mut self, row: &Row<'_>, font: &Font, signatures: Signatures<'_>) -> Result<(), RenderError> {
        let wide = self.width.dots();
        match row {
            Row::Text(row) => self.text(row, font),
            Row::Rule => {
                let mut image = blank(wide, 24)?;
                for x in (0..wide).step_by(12) {
                    image.fill(x, 11, 8, 2);
                }
                self.paste(&image)
            }
            Row::Space { lines } => {
                let px = Size::Normal.px();
                match u32::from(*lines) * (px + leading(px)) {
                    0 => Ok(()),
                    high => self.paste(&blank(wide, high)?),
                }
            }
            Row::Qr { data, level, px } => self.centred(&code::qr(data, *level, *px, wide)?),
            Row::Barcode { data } => {
                self.centred(&code::barcode(data, wide)?)?;
                let at = self.width.columns(Size::Normal).saturating_sub(columns(data)) / 2;
                self.text(&TextRow { pieces: vec![(at, (*data).to_owned())], ..TextRow::default() }, font)
            }
            Row::Image(image) => self.centred(image),
            Row::Signature(reference) => match signatures(reference) {
                Some(image) => self.centred(&image),
                None => self.paste(&blank(wide, SIGNATURE_HEIGHT)?),
            },
            Row::Cut(_) | Row::Drawer => Ok(()),
        }
    }

    fn text(&mut self, row: &TextRow, font: &Font) -> Result<(), RenderError> {
        let px = row.style.size.px();
        let mut image = blank(self.width.dots(), px + leading(px))?;
        for (column, text) in &row.pieces {
            let x = u32::try_from(*column).unwrap_or(u32::MAX).saturating_mul(px / 2);
            font.draw(&mut image, x, leading(px) / 2, row.style.size, row.style.bold, text);
        }
        if row.style.inverse {
            let negative = image.bytes().iter().map(|byte| !byte).collect();
            image = Bitmap::from_bytes(image.width(), image.height(), negative)
                .map_err(|_| RenderError::Length)?;
        }
        self.paste(&image)
    }

    fn centred(&mut self, image: &Bitmap) -> Result<(), RenderError> {
        let mut row = blank(self.width.dots(), image.height())?;
        row.lay(image, self.width.dots().saturating_sub(image.width()) / 2, 0);
        self.paste(&row)
    }

    fn paste(&mut self, image: &Bitmap) -> Result<(), RenderError> {
        let most = SIDE_MAX as usize * (self.width.dots() as usize / 8);
        if self.dots.len() + image.bytes().len() > most {
            return Err(RenderError::Length);
        }
        self.dots.extend_from_slice(image.bytes());
        Ok(())
    }
}

fn blank(wide: u32, high: u32) -> Result<Bitmap, RenderError> {
    Bitmap::new(wide, high).map_err(|_| RenderError::Length)
}
