//! The document: a paper width and lines.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::pan::MaskedPan;

/// Paper, by the dots of its print head at 8 dots a millimetre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Width {
    /// 58 mm: 384 dots, 32 columns at the usual size.
    #[default]
    W58,
    /// 80 mm: 576 dots, 48 columns at the usual size.
    W80,
}

impl Width {
    /// Dots across.
    pub const fn dots(self) -> u32 {
        match self {
            Self::W58 => 384,
            Self::W80 => 576,
        }
    }

    /// Half-width columns of text of this size; a Chinese character takes two.
    pub const fn columns(self, size: Size) -> usize {
        (self.dots() / (size.px() / 2)) as usize
    }
}

/// Height of text in dots; a Chinese character is as wide as high, everything else half as wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// 16 dots: small print.
    Small,
    /// 24 dots: the usual size.
    #[default]
    Normal,
    /// 32 dots: titles and amounts.
    Large,
    /// 48 dots.
    Huge,
}

impl Size {
    /// Dots.
    pub const fn px(self) -> u32 {
        match self {
            Self::Small => 16,
            Self::Normal => 24,
            Self::Large => 32,
            Self::Huge => 48,
        }
    }

    /// Whether it is the usual size.
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// Where text stands between its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// At the left edge.
    #[default]
    Left,
    /// In the middle.
    Centre,
    /// At the right edge.
    Right,
}

impl Align {
    fn is_left(&self) -> bool {
        *self == Self::Left
    }
}

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Height.
    #[serde(default, skip_serializing_if = "Size::is_normal")]
    pub size: Size,
    /// Thicker strokes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bold: bool,
    /// Place of a text that stands alone; a line with a middle or right part fills its width.
    #[serde(default, skip_serializing_if = "Align::is_left")]
    pub align: Align,
    /// White on black.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverse: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Whose paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// 商户存根.
    Merchant,
    /// 持卡人存根.
    Cardholder,
}

/// Which copies show a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// Both.
    #[default]
    Both,
    /// The merchant's only.
    Merchant,
    /// The cardholder's only.
    Cardholder,
}

impl Copies {
    /// Whether a copy shows the line.
    pub fn shows(self, part: Part) -> bool {
        match self {
            Self::Both => true,
            Self::Merchant => part == Part::Merchant,
            Self::Cardholder => part == Part::Cardholder,
        }
    }

    fn is_both(&self) -> bool {
        *self == Self::Both
    }
}

/// How the paper is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Through.
    Full,
    /// But for a bridge in the middle.
    Partial,
}

/// Error correction of a two-dimensional code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QrLevel {
    /// About 7 %.
    L,
    /// About 15 %.
    #[default]
    M,
    /// About 25 %.
    Q,
    /// About 30 %.
    H,
}

/// One of several cells in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What stands in it; what is too long goes on in the next line of the same cell.
    pub text: String,
    /// Half-width columns, of the line's size. The last cell reaches to the edge whatever it says here.
    pub columns: u16,
    /// Place inside the cell.
    #[serde(default, skip_serializing_if = "Align::is_left")]
    pub align: Align,
}

/// What stands in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Element {
    /// Text at the left, in the middle and at the right; on lines of their own when one line is too short.
    Text {
        /// Left, or the whole text.
        left: String,
        /// Middle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mid: Option<String>,
        /// Right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        right: Option<String>,
        /// Look.
        #[serde(default)]
        style: Style,
    },
    /// A label, a colon and a value, whose further lines begin below its first.
    KeyValue {
        /// Label, without the colon.
        label: String,
        /// Value.
        value: String,
        /// Look.
        #[serde(default)]
        style: Style,
    },
    /// Cells beside one another.
    Columns {
        /// From the left.
        cells: Vec<Cell>,
        /// Look.
        #[serde(default)]
        style: Style,
    },
    /// A line across the paper.
    Rule,
    /// Empty lines of the usual size.
    Space {
        /// How many.
        lines: u8,
    },
    /// The cutter.
    Cut {
        /// How.
        how: Cut,
    },
    /// The cash drawer opens. By a permission, never by a slip alone.
    Drawer,
    /// A two-dimensional code, in the middle.
    Qr {
        /// What it says.
        data: String,
        /// Error correction.
        #[serde(default)]
        level: QrLevel,
        /// Dots a module; made smaller when the code would not fit.
        px: u8,
    },
    /// Code 128, in the middle, its text below. Printable ASCII only.
    Barcode {
        /// What it says.
        data: String,
    },
    /// An image, in the middle; what is wider than the paper is cut off at the right.
    Image {
        /// The image.
        image: Bitmap,
    },
    /// A signature that is stored elsewhere: who renders gets the image by its reference; an unknown one leaves its place
    /// empty.
    Signature {
        /// Reference.
        reference: String,
    },
}

/// A line of the document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What stands in it.
    #[serde(flatten)]
    pub element: Element,
    /// Which copies show it.
    #[serde(default, skip_serializing_if = "Copies::is_both")]
    pub copy: Copies,
    /// Hidden in logs and screenshots.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sensitive: bool,
}

impl Line {
    fn of(element: Element) -> Self {
        Self { element, copy: Copies::Both, sensitive: false }
    }

    /// Text at the left edge.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Element::Text { left: text.into(), mid: None, right: None, style: Style::default() })
    }

    /// Text in the middle.
    pub fn centre(text: impl Into<String>) -> Self {
        Self::text(text).align(Align::Centre)
    }

    /// Text at both edges.
    pub fn pair(left: impl Into<String>, right: impl Into<String>) -> Self {
        let (left, right) = (left.into(), Some(right.into()));
        Self::of(Element::Text { left, mid: None, right, style: Style::default() })
    }

    /// Label and value.
    pub fn key_value(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::of(Element::KeyValue { label: label.into(), value: value.into(), style: Style::default() })
    }

    /// A card number, and at the right edge how it was read.
    pub fn card(label: &str, pan: &MaskedPan, entry: &str) -> Self {
        Self { sensitive: true, ..Self::pair(format!("{label}: {pan}"), entry) }
    }

    /// Cells beside one another.
    pub fn columns(cells: Vec<Cell>) -> Self {
        Self::of(Element::Columns { cells, style: Style::default() })
    }

    /// A line across the paper.
    pub fn rule() -> Self {
        Self::of(Element::Rule)
    }

    /// Empty lines.
    pub fn space(lines: u8) -> Self {
        Self::of(Element::Space { lines })
    }

    /// The cutter.
    pub fn cut(how: Cut) -> Self {
        Self::of(Element::Cut { how })
    }

    /// The cash drawer.
    pub fn drawer() -> Self {
        Self::of(Element::Drawer)
    }

    /// A two-dimensional code.
    pub fn qr(data: impl Into<String>, px: u8) -> Self {
        Self::of(Element::Qr { data: data.into(), level: QrLevel::M, px })
    }

    /// Code 128.
    pub fn barcode(data: impl Into<String>) -> Self {
        Self::of(Element::Barcode { data: data.into() })
    }

    /// An image.
    pub fn image(image: Bitmap) -> Self {
        Self::of(Element::Image { image })
    }

    /// A signature by its reference.
    pub fn signature(reference: impl Into<String>) -> Self {
        Self { sensitive: true, ..Self::of(Element::Signature { reference: reference.into() }) }
    }

    /// The same line for certain copies.
    #[must_use]
    pub fn on(self, copy: Copies) -> Self {
        Self { copy, ..self }
    }

    /// The same line, hidden in logs and screenshots.
    #[must_use]
    pub fn sensitive(self) -> Self {
        Self { sensitive: true, ..self }
    }

    /// The same line in another size.
    #[must_use]
    pub fn size(self, size: Size) -> Self {
        self.restyle(|style| style.size = size)
    }

    /// The same line with thicker strokes.
    #[must_use]
    pub fn bold(self) -> Self {
        self.restyle(|style| style.bold = true)
    }

    /// The same line at another place.
    #[must_use]
    pub fn align(self, align: Align) -> Self {
        self.restyle(|style| style.align = align)
    }

    /// The same line white on black.
    #[must_use]
    pub fn inverse(self) -> Self {
        self.restyle(|style| style.inverse = true)
    }

    fn restyle(mut self, change: impl FnOnce(&mut Style)) -> Self {
        match &mut self.element {
            Element::Text { style, .. }
            | Element::KeyValue { style, .. }
            | Element::Columns { style, .. } => {
                change(style);
            }
            _ => {}
        }
        self
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive {
            return f.write_str("Line(hidden)");
        }
        f.debug_struct("Line").field("element", &self.element).field("copy", &self.copy).finish()
    }
}

/// A slip, or anything else to print.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptDoc {
    /// Paper.
    pub width: Width,
    /// From the top.
    pub lines: Vec<Line>,
}

impl ReceiptDoc {
    /// An empty one.
    pub fn new(width: Width) -> Self {
        Self { width, lines: Vec::new() }
    }

    /// One more line.
    pub fn push(&mut self, line: Line) -> &mut Self {
        self.lines.push(line);
        self
    }

    /// The document of one copy: lines of the other are gone, and what is left stands whichever copy it is taken for.
    #[must_use]
    pub fn part(&self, part: Part) -> Self {
        let lines = self.lines.iter().filter(|line| line.copy.shows(part));
        Self { width: self.width, lines: lines.map(|line| line.clone().on(Copies::Both)).collect() }
    }

    /// What may be seen on a screen that others see or in a log: each sensitive line is stars.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let hide = |line: &Line| if line.sensitive { Line::text("****").on(line.copy) } else { line.clone() };
        Self { width: self.width, lines: self.lines.iter().map(hide).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_has_the_columns_of_its_print_head() {
        let all = [Size::Small, Size::Normal, Size::Large, Size::Huge];
        assert_eq!(all.map(|size| Width::W58.columns(size)), [48, 32, 24, 16]);
        assert_eq!(all.map(|size| Width::W80.columns(size)), [72, 48, 36, 24]);
    }

    #[test]
    fn a_document_survives_json_and_defaults_are_not_written() {
        let pan = MaskedPan::mask("6224240000000013").unwrap();
        let mut doc = ReceiptDoc::new(Width::W58);
        doc.push(Line::text("消费").bold().size(Size::Large));
        doc.push(Line::card("卡号", &pan, "插卡/I").on(Copies::Merchant));
        doc.push(Line::qr("https://example.com/", 6)).push(Line::cut(Cut::Partial));
        let text = serde_json::to_string(&doc).unwrap();
        assert_eq!(serde_json::from_str::<ReceiptDoc>(&text).unwrap(), doc);
        assert_eq!(
            serde_json::to_string(&Line::text("a")).unwrap(),
            r#"{"kind":"text","left":"a","style":{}}"#
        );
        assert_eq!(serde_json::to_string(&Line::rule()).unwrap(), r#"{"kind":"rule"}"#);
    }

    /// A sensitive line shows in neither a debug print nor the redacted document, and stays on its copy.
    #[test]
    fn sensitive_lines_are_hidden_where_others_look() {
        let pan = MaskedPan::mask("6224240000000013").unwrap();
        let mut doc = ReceiptDoc::new(Width::W58);
        doc.push(Line::card("卡号", &pan, "插卡/I").on(Copies::Merchant));
        assert!(!format!("{doc:?}").contains("0013"));
        let redacted = doc.redacted();
        assert!(!serde_json::to_string(&redacted).unwrap().contains("0013"));
        assert_eq!(redacted.part(Part::Cardholder).lines.len(), 0);
        assert_eq!(redacted.part(Part::Merchant).lines.len(), 1);
    }
}
