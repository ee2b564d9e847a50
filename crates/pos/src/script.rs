//! Scripts: the commands of `posp pos`, one a line, each with the result it should have.

use std::io::{Read, Write};
use std::path::Path;

use clap::Parser;

use crate::cli::{Done, ExitStatus, Line, View, execute};
use crate::error::PosError;
use crate::show;
use crate::terminal::Terminal;

/// Shown by `script --help`.
pub(crate) const HELP: &str = "\
A script holds one command a line, as on the command line but without `posp pos`. `#` begins a comment. After `=>`
stands the expected result: a response code (00, 51, …) or one of
  ok             done, whatever the code            no-answer      sent, no answer came
  unusable       an answer that cannot be used      chip-refused   approved, refused by the chip
  chip-declined  declined by the chip, offline      error          could not be done at all
Without `=>` anything but an error is accepted. In an argument, $trace, $rrn and $auth stand for those of the last approved
transaction that had one.

Example:
  sign-in --keys 3des-track                                => 00
  sale --amount 100.00 --card L01 --entry chip --pin 123456 => 00
  void --trace $trace --no-pin                             => 00
  sale --amount 2.00 --card L04 --entry chip --pin 123456  => 51   # balance 1.00
  settle                                                   => 00";

/// Reads a script; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, PosError> {
    let failed = |source| PosError::Storage { what: "reading", path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// A line taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    words: Vec<String>,
    expected: Option<String>,
}

fn parse(line: &str) -> Result<Option<Step>, PosError> {
    let words = split_words(line)?;
    let Some(first) = words.first() else { return Ok(None) };
    if first == "=>" {
        return Err(PosError::Input("a line begins with a command".into()));
    }
    match words.iter().position(|word| word == "=>") {
        None => Ok(Some(Step { words, expected: None })),
        Some(at) => match words.get(at + 1..) {
            Some([expected]) => {
                let expected = Some(expected.clone());
                Ok(Some(Step { words: words.into_iter().take(at).collect(), expected }))
            }
            _ => Err(PosError::Input("after => stands one expected result".into())),
        },
    }
}

/// Words between blanks; double quotes keep blanks together; `#` at the start of a word ends the line.
fn split_words(line: &str) -> Result<Vec<String>, PosError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err(PosError::Input("a quotation mark is not closed".into()));
    }
    words.extend(word);
    Ok(words)
}

/// Runs a script. Stops at the first result that was not expected, unless `keep_going`.
pub(crate) async fn run(
    terminal: &mut Terminal,
    text: &str,
    keep_going: bool,
    view: View,
    out: &mut (dyn Write + Send),
) -> Result<ExitStatus, PosError> {
    let mut failures = 0_u32;
    let mut trace = String::new();
    let mut rrn = String::new();
    let mut auth = String::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let at = |error: PosError| PosError::Input(format!("line {number}: {error}"));
        let Some(Step { words, expected }) = parse(line).map_err(at)? else { continue };
        let words = words
            .iter()
            .map(|word| word.replace("$trace", &trace).replace("$rrn", &rrn).replace("$auth", &auth));
        let command = Line::try_parse_from(words)
            .map_err(|error| {
                at(PosError::Input(error.to_string().lines().next().unwrap_or_default().to_owned()))
            })?
            .command;
        if !view.json {
            writeln!(out, "{number:>3} {}", without_secrets(line))?;
        }
        let result = match execute(terminal, command, view, false, out).await {
            Ok(Done::Outcome(outcome)) => {
                if outcome.approved {
                    trace = format!("{:06}", outcome.trace);
                    if let Some(number) = &outcome.rrn {
                        rrn.clone_from(number);
                    }
                    if let Some(code) = &outcome.auth_code {
                        auth.clone_from(code);
                    }
                }
                show::result_word(&outcome).to_owned()
            }
            Ok(Done::Quiet) => "ok".to_owned(),
            Err(error) => {
                writeln!(out, "  ! {error}")?;
                "error".to_owned()
            }
        };
        let good = match expected.as_deref() {
            None | Some("ok") => result != "error",
            Some(expected) => expected == result,
        };
        if !good {
            failures += 1;
            writeln!(
                out,
                "  ! line {number}: expected {}, got {result}",
                expected.as_deref().unwrap_or("ok")
            )?;
            if !keep_going {
                return Ok(ExitStatus::Declined);
            }
        }
    }
    Ok(if failures == 0 { ExitStatus::Done } else { ExitStatus::Declined })
}

/// The line as it may be shown: what follows an option for a secret is starred.
fn without_secrets(line: &str) -> String {
    const SECRET: [&str; 4] = ["--pin", "--pan", "--track2", "--component"];
    let mut hide = false;
    let mut shown = Vec::new();
    for word in line.split_whitespace() {
        let assigned =
            SECRET.iter().find(|option| word.strip_prefix(*option).is_some_and(|rest| rest.starts_with('=')));
        shown.push(match assigned {
            _ if hide => "***".to_owned(),
            Some(option) => format!("{option}=***"),
            None => word.to_owned(),
        });
        hide = SECRET.contains(&word);
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_and_secrets_not_echoed() {
        let Step { words, expected } =
            parse(r#"sale --amount 1.00 --name "a b" => 51 # why"#).unwrap().unwrap();
        assert_eq!(words, ["sale", "--amount", "1.00", "--name", "a b"]);
        assert_eq!(expected.as_deref(), Some("51"));
        assert!(parse("   # only a comment").unwrap().is_none());
        assert!(parse("sale => ").is_err());
        assert!(parse("\"open").is_err());
        assert_eq!(
            without_secrets("sale --pin 123456 --pan=622 --card L01"),
            "sale --pin *** --pan=*** --card L01"
        );
    }
}
