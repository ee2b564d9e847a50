//! What the command line prints: standard output with colour where a person reads it.

use std::io::{self, IsTerminal, Stdout, Write};

/// Standard output.
pub struct Screen {
    out: Stdout,
    colour: bool,
}

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Approved, healthy.
    Good,
    /// Declined, broken.
    Bad,
    /// Under way, to be looked at.
    Warn,
    /// Beside the point.
    Faint,
    /// A heading.
    Strong,
}

impl Screen {
    /// Colours only toward a terminal, and not when `NO_COLOR` is set.
    pub fn new() -> Self {
        let out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Screen { out, colour }
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// Text in a colour.
    pub fn paint(&self, tone: Tone, text: impl AsRef<str>) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.colour { format!("\x1b[{code}m{}\x1b[0m", text.as_ref()) } else { text.as_ref().to_owned() }
    }

    /// Prints an error with its causes to standard error.
    pub fn error(error: &anyhow::Error) {
        let mut text = format!("posp: {error}");
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        // When even standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Columns that a text takes on a terminal: Chinese characters take two.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x2_0000..=0x3_ffff)
}

/// Pads with spaces on the right to so many columns.
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Pads with spaces on the left to so many columns.
pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Rows as a table with a heading; the last column is not padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = heading.iter().map(|h| columns(h)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell));
        }
    }
    let join = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let heading: Vec<String> = heading.iter().map(|h| (*h).to_owned()).collect();
    let mut lines = vec![join(&heading)];
    lines.extend(rows.iter().map(|row| join(row)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_takes_two_columns() {
        assert_eq!(columns("消费 sale"), 9);
        assert_eq!(pad("消费", 6), "消费  ");
        assert_eq!(pad_left("1.00", 6), "  1.00");
        let lines = table(&["类型", "n"], &[vec!["冲正".into(), "1".into()], vec!["a".into(), "22".into()]]);
        assert_eq!(lines, ["类型  n", "冲正  1", "a     22"]);
    }
}
