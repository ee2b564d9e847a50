//! Plain text: for a console, a log of slips, and `receipt.lines` of a caller.

use crate::layout::{Grid, Row, TextRow, columns, lay, wrap};
use crate::model::{Part, ReceiptDoc, Size};

/// One copy as lines without spaces at their ends. Codes are written out, images are named.
pub fn lines(doc: &ReceiptDoc, part: Part) -> Vec<String> {
    let wide = doc.width.columns(Size::Normal);
    let centred = |text: &str| {
        let centre = |line: String| format!("{}{line}", " ".repeat(wide.saturating_sub(columns(&line)) / 2));
        wrap(text, wide).into_iter().map(centre).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for row in lay(doc, part, Grid::Plain) {
        match row {
            Row::Text(row) => lines.push(joined(&row)),
            Row::Rule => lines.push("-".repeat(wide)),
            Row::Space { lines: count } => lines.extend((0..count).map(|_| String::new())),
            Row::Qr { data, .. } | Row::Barcode { data } => lines.extend(centred(data)),
            Row::Image(_) => lines.extend(centred("[图]")),
            Row::Signature(_) => lines.extend(centred("[电子签名]")),
            Row::Cut(_) | Row::Drawer => {}
        }
    }
    lines
}

/// One copy as one text, each line with its end.
pub fn render(doc: &ReceiptDoc, part: Part) -> String {
    lines(doc, part).iter().map(|line| format!("{line}\n")).collect()
}

fn joined(row: &TextRow) -> String {
    let mut line = String::new();
    for (column, text) in &row.pieces {
        let gap = column.saturating_sub(columns(&line));
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(text);
    }
    line.truncate(line.trim_end().len());
    line
}
