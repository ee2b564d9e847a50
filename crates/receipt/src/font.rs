//! Chinese text as dots, with a font of the system.
#![allow(clippy::float_arithmetic)] // Outlines of characters are measured in fractions of a dot.

use std::fs;
use std::path::{Path, PathBuf};

use ab_glyph::{Font as _, FontRef, FontVec, GlyphId, PxScale, ScaleFont, point};

use crate::bitmap::Bitmap;
use crate::layout::columns_of;
use crate::model::Size;
use crate::render::RenderError;

/// Where distributions keep fonts with Chinese characters.
const PLACES: [&str; 9] = [
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/wqy-zenhei-fonts/wqy-zenhei.ttc",
    "/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/wenquanyi/wqy-zenhei/wqy-zenhei.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
];

/// Faces of a collection that are looked at.
const FACES_MAX: u32 = 32;

/// How much of a dot an outline must cover to make it black. Below one half: strokes are thin at 16 dots, and paper
/// forgives a dot too many sooner than one too few.
const COVERED: f32 = 0.42;

/// A font with Chinese characters. Reading it takes some milliseconds: keep it.
pub struct Font {
    face: FontVec,
    path: PathBuf,
}

impl Font {
    /// The font of this path, or of the first usual place that has one.
    pub fn load(path: Option<&Path>) -> Result<Self, RenderError> {
        match path {
            Some(path) => Self::read(path),
            None => Self::from_places(PLACES.iter().map(Path::new)),
        }
    }

    /// The first of these files that exists.
    fn from_places<'a>(mut places: impl Iterator<Item = &'a Path>) -> Result<Self, RenderError> {
        let found = places.find(|path| path.is_file()).ok_or(RenderError::NoFont)?;
        Self::read(found)
    }

    /// Which file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(path: &Path) -> Result<Self, RenderError> {
        let refused = |reason: String| RenderError::Font { path: path.display().to_string(), reason };
        let data = fs::read(path).map_err(|error| refused(error.to_string()))?;
        // Of a collection, the first face whose Latin letters are all equally wide, as columns want them; else the first.
        let mut chosen = None;
        for index in 0..FACES_MAX {
            let Ok(face) = FontRef::try_from_slice_and_index(&data, index) else { break };
            if face.glyph_id('商') == GlyphId(0) {
                continue;
            }
            let wide = |c| face.h_advance_unscaled(face.glyph_id(c)).to_bits();
            let even = wide('M') == wide('i');
            if even || chosen.is_none() {
                chosen = Some(index);
            }
            if even {
                break;
            }
        }
        let index = chosen.ok_or_else(|| refused("no font, or one without Chinese characters".to_owned()))?;
        let face =
            FontVec::try_from_vec_and_index(data, index).map_err(|error| refused(error.to_string()))?;
        Ok(Self { face, path: path.to_owned() })
    }

    /// Draws a text with its left upper corner at `x`, `y`: each character in the middle of its own columns. Bold text
    /// is drawn again one dot to the right, as print heads do it.
    pub(crate) fn draw(&self, image: &mut Bitmap, x: u32, y: u32, size: Size, bold: bool, text: &str) {
        let px = size.px();
        let Some(scale) = self.face.pt_to_px_scale(points(size)) else { return };
        // The base line of Chinese type: an eighth of the height from below.
        let base = y + px * 7 / 8;
        let mut left = x;
        for c in text.chars() {
            let cell = px / 2 * u32::try_from(columns_of(c)).unwrap_or(0);
            self.character(image, left, base, cell, scale, bold, c);
            left = left.saturating_add(cell);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn character(
        &self,
        image: &mut Bitmap,
        left: u32,
        base: u32,
        cell: u32,
        mut scale: PxScale,
        bold: bool,
        c: char,
    ) {
        let id = self.face.glyph_id(c);
        let mut advance = self.face.as_scaled(scale).h_advance(id);
        let cell_wide = cell as f32;
        if advance > cell_wide && advance > 0.0 {
            scale.x *= cell_wide / advance;
            advance = cell_wide;
        }
        let from = left as f32 + ((cell_wide - advance) / 2.0).floor();
        let glyph = id.with_scale_and_position(scale, point(from, base as f32));
        let Some(outline) = self.face.outline_glyph(glyph) else { return };
        let bounds = outline.px_bounds();
        let (x, y) = (bounds.min.x as i64, bounds.min.y as i64);
        outline.draw(|dx, dy, covered| {
            let place = |from: i64, by: u32| u32::try_from(from + i64::from(by)).ok();
            if let (true, Some(x), Some(y)) = (covered > COVERED, place(x, dx), place(y, dy)) {
                image.set(x, y, true);
                if bold {
                    image.set(x + 1, y, true);
                }
            }
        });
    }
}

impl std::fmt::Debug for Font {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Font({})", self.path.display())
    }
}

/// The size at which a character is as high as wanted: a point is 96/72 of a dot to the library.
fn points(size: Size) -> f32 {
    match size {
        Size::Small => 12.0,
        Size::Normal => 18.0,
        Size::Large => 24.0,
        Size::Huge => 36.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_font_the_error_names_the_package_to_install() {
        let error = Font::from_places([Path::new("/nowhere/font.ttc")].into_iter()).unwrap_err();
        assert_eq!(error, RenderError::NoFont);
        assert!(error.to_string().contains("fonts-wqy-zenhei"));
        let named = Font::load(Some(Path::new("/nowhere/font.ttc"))).unwrap_err();
        assert!(named.to_string().contains("/nowhere/font.ttc"), "{named}");
    }

    /// A file that is no font is refused, whatever stands in it.
    #[test]
    fn a_file_that_is_no_font_is_refused() {
        let error =
            Font::load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))).unwrap_err();
        assert!(matches!(error, RenderError::Font { .. }));
    }

    /// Each character keeps to its own columns, also bold, also wide Latin letters.
    #[test]
    fn characters_stay_in_their_columns() {
        let font = Font::load(None).unwrap();
        for (c, cell) in [('商', 24), ('W', 12), ('M', 12), ('@', 12), ('￥', 24)] {
            let mut image = Bitmap::new(96, 32).unwrap();
            font.draw(&mut image, 36, 4, Size::Normal, true, &c.to_string());
            let black: Vec<u32> = (0..96).filter(|x| (0..32).any(|y| image.get(*x, y))).collect();
            assert!(!black.is_empty(), "{c} is white");
            assert!(*black.first().unwrap() >= 35 && *black.last().unwrap() <= 36 + cell, "{c}: {black:?}");
        }
    }
}
