//! The one layout: lines become rows of placed pieces, in half-width columns. Every renderer starts from here.

use crate::bitmap::Bitmap;
use crate::model::{Align, Cell, Cut, Element, Part, QrLevel, ReceiptDoc, Size, Style};

/// Columns that a character takes: two for wide ones (East Asian width W and F), none for control characters.
pub fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0..=0x1F | 0x7F..=0x9F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0x33FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1_F300..=0x1_FAFF
        | 0x2_0000..=0x3_FFFD => 2,
        _ => 1,
    }
}

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// How rows are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grid {
    /// Each size has its own columns, as a print head has them.
    Sizes,
    /// Every size takes the columns of the usual one: plain text has one.
    Plain,
}

/// One row of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextRow {
    pub style: Style,
    /// From the left: column and text.
    pub pieces: Vec<(usize, String)>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row<'a> {
    Text(TextRow),
    Rule,
    Space { lines: u8 },
    Qr { data: &'a str, level: QrLevel, px: u8 },
    Barcode { data: &'a str },
    Image(&'a Bitmap),
    Signature(&'a str),
    Cut(Cut),
    Drawer,
}

/// Lays out one copy.
pub(crate) fn lay(doc: &ReceiptDoc, part: Part, grid: Grid) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for line in doc.lines.iter().filter(|line| line.copy.shows(part)) {
        let total = |style: &Style| match grid {
            Grid::Sizes => doc.width.columns(style.size),
            Grid::Plain => doc.width.columns(Size::Normal),
        };
        match &line.element {
            Element::Text { left, mid, right, style } => {
                text(&mut rows, total(style), *style, left, mid.as_deref(), right.as_deref());
            }
            Element::KeyValue { label, value, style } => {
                let label = format!("{label}:");
                let first = columns(&label) + 1;
                let cells = if first + 2 > total(style) {
                    vec![(0, total(style), Align::Left, format!("{label} {value}"))]
                } else {
                    vec![
                        (0, first, Align::Left, label),
                        (first, total(style) - first, Align::Left, value.clone()),
                    ]
                };
                beside(&mut rows, *style, &cells);
            }
            Element::Columns { cells, style } => beside(&mut rows, *style, &placed(cells, total(style))),
            Element::Rule => rows.push(Row::Rule),
            Element::Space { lines } => rows.push(Row::Space { lines: *lines }),
            Element::Cut { how } => rows.push(Row::Cut(*how)),
            Element::Drawer => rows.push(Row::Drawer),
            Element::Qr { data, level, px } => rows.push(Row::Qr { data, level: *level, px: *px }),
            Element::Barcode { data } => rows.push(Row::Barcode { data }),
            Element::Image { image } => rows.push(Row::Image(image)),
            Element::Signature { reference } => rows.push(Row::Signature(reference)),
        }
    }
    rows
}

/// Left, middle and right: on one row when there is a column between them, else each on its own.
fn text(
    rows: &mut Vec<Row<'_>>,
    total: usize,
    style: Style,
    left: &str,
    mid: Option<&str>,
    right: Option<&str>,
) {
    if mid.is_none() && right.is_none() {
        return beside(rows, style, &[(0, total, style.align, left.to_owned())]);
    }
    let (mid, right) = (mid.unwrap_or_default(), right.unwrap_or_default());
    let middle_at = total.saturating_sub(columns(mid)) / 2;
    let right_at = total.saturating_sub(columns(right));
    let after = |at: usize, text: &str| if text.is_empty() { 0 } else { at + columns(text) + 1 };
    let fits = |at: usize, text: &str, used: usize| text.is_empty() || at >= used;
    let used = after(0, left);
    let all = fits(middle_at, mid, used) && fits(right_at, right, used.max(after(middle_at, mid)));
    let one_line = [left, mid, right].iter().all(|text| !text.contains('\n') && columns(text) <= total);
    if all && one_line {
        let pieces = [(0, left), (middle_at, mid), (right_at, right)];
        let pieces = pieces.iter().filter(|(_, text)| !text.is_empty());
        let pieces = pieces.map(|(at, text)| (*at, clean(text))).collect();
        return rows.push(Row::Text(TextRow { style, pieces }));
    }
    for (align, text) in [(Align::Left, left), (Align::Centre, mid), (Align::Right, right)] {
        if !text.is_empty() {
            beside(rows, style, &[(0, total, align, text.to_owned())]);
        }
    }
}

/// A cell with its first column, its width, its place and its text.
type Placed = (usize, usize, Align, String);

/// Cells with their first columns; the last reaches to the edge, and what begins beyond it is left out.
fn placed(cells: &[Cell], total: usize) -> Vec<Placed> {
    let mut at = 0;
    let mut placed = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        let rest = total.saturating_sub(at);
        let wide = if index + 1 == cells.len() { rest } else { usize::from(cell.columns).min(rest) };
        if wide >= 2 {
            placed.push((at, wide, cell.align, cell.text.clone()));
        }
        at += wide;
    }
    placed
}

/// Cells beside one another, each wrapped inside its own columns.
fn beside(rows: &mut Vec<Row<'_>>, style: Style, cells: &[Placed]) {
    let wrapped: Vec<(&Placed, Vec<String>)> =
        cells.iter().map(|cell| (cell, wrap(&cell.3, cell.1))).collect();
    let height = wrapped.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0).max(1);
    for line in 0..height {
        let mut row = TextRow { style, pieces: Vec::new() };
        for ((first, wide, align, _), lines) in &wrapped {
            let Some(text) = lines.get(line).filter(|text| !text.is_empty()) else { continue };
            let spare = wide.saturating_sub(columns(text));
            let before = match align {
                Align::Left => 0,
                Align::Centre => spare / 2,
                Align::Right => spare,
            };
            row.pieces.push((first + before, text.clone()));
        }
        rows.push(Row::Text(row));
    }
}

/// Text without what would move a print head or a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| columns_of(*c) > 0).collect()
}

/// Lines of at most `wide` columns. A character that does not fit begins the next one; no column is left over by a cut
/// through a wide character.
pub(crate) fn wrap(text: &str, wide: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for c in paragraph.chars().filter(|c| columns_of(*c) > 0) {
            if used + columns_of(c) > wide && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns_of(c);
        }
        lines.push(line);
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Line, Width};

    fn plain(line: Line) -> String {
        let mut doc = ReceiptDoc::new(Width::W58);
        doc.push(line);
        crate::text::render(&doc, Part::Merchant)
    }

    #[test]
    fn a_chinese_character_takes_two_columns() {
        assert_eq!(columns("商户名称: A"), 11);
        assert_eq!(columns("¥1.00"), 5);
        assert_eq!(columns("\u{1b}@"), 1);
    }

    #[test]
    fn long_text_goes_on_in_the_next_line_and_a_value_below_itself() {
        assert_eq!(wrap("一二三", 5), ["一二", "三"]);
        assert_eq!(
            plain(Line::key_value("商户名称", "北京市海淀区中关村大街实验商户一号店")),
            "商户名称: 北京市海淀区中关村大街\n          实验商户一号店\n"
        );
        let cell = |text: &str, columns, align| Cell { text: text.to_owned(), columns, align };
        assert_eq!(
            plain(Line::columns(vec![
                cell("很长的商品名称", 8, Align::Left),
                cell("2", 6, Align::Right),
                cell("5.00", 0, Align::Right),
            ])),
            "很长的商     2              5.00\n品名称\n"
        );
    }

    #[test]
    fn texts_at_both_edges_take_two_lines_when_one_is_too_short() {
        assert_eq!(plain(Line::pair("左", "右")), format!("左{}右\n", " ".repeat(28)));
        let long = "a".repeat(28);
        assert_eq!(plain(Line::pair(&long, "右边")), format!("{long}\n{}右边\n", " ".repeat(28)));
    }

    #[test]
    fn control_characters_do_not_reach_the_paper() {
        assert_eq!(plain(Line::text("a\u{1b}pb\tc")), "apbc\n");
    }

    proptest! {
        /// Whatever stands in a line, no row reaches beyond the paper and no piece covers another.
        #[test]
        fn rows_stay_on_the_paper(
            left in "[ -~一-龥]{0,40}", mid in proptest::option::of("[ -~一-龥]{0,20}"),
            right in proptest::option::of("[ -~一-龥]{0,40}"),
            cells in proptest::collection::vec(("[ -~一-龥\n]{0,30}", 0_u16..40), 0..5),
            size in prop_oneof![Just(Size::Small), Just(Size::Normal), Just(Size::Large), Just(Size::Huge)],
        ) {
            let style = Style { size, ..Style::default() };
            let mut doc = ReceiptDoc::new(Width::W58);
            doc.push(Line { element: Element::Text { left: left.clone(), mid, right, style }, ..Line::rule() });
            doc.push(Line { element: Element::KeyValue { label: left, value: "值".repeat(30), style }, ..Line::rule() });
            let cells = cells.into_iter().map(|(text, columns)| Cell { text, columns, align: Align::Right }).collect();
            doc.push(Line { element: Element::Columns { cells, style }, ..Line::rule() });
            for row in lay(&doc, Part::Merchant, Grid::Sizes) {
                let Row::Text(row) = row else { continue };
                let mut at = 0;
                for (column, text) in &row.pieces {
                    prop_assert!(*column >= at, "{row:?}");
                    at = column + columns(text);
                }
                prop_assert!(at <= Width::W58.columns(size), "{row:?}");
            }
        }
    }
}
