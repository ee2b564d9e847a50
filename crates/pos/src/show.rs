//! How outcomes look: lines for people, JSON for programs, and the bytes of both frames, masked.

use iso8583::frame;
use iso8583::{Dialect, describe, mask};
use serde_json::{Value, json};

use crate::amount::yuan;
use crate::config::TerminalConfig;
use crate::connection::FRAME_MAX;
use crate::outcome::{Outcome, Status};
use crate::state::Record;
use crate::wire::answered;

/// The outcome on a few lines.
pub fn outcome_text(outcome: &Outcome) -> String {
    let row = outcome.kind.row();
    let mark = if outcome.approved { "✓" } else { "✗" };
    let code = outcome.response_code.as_deref().unwrap_or("--");
    let mut line = format!("{mark} {} {:<10} {code} {}", row.zh, row.en, outcome.text());
    let mut add = |name: &str, value: String| line.push_str(&format!("  {name} {value}"));
    if let Some(amount) = outcome.amount_fen {
        add("¥", yuan(amount));
    }
    if let Some(card) = &outcome.card {
        add("card", card.clone());
    }
    add("trace", format!("{:06}/{:06}", outcome.batch, outcome.trace));
    if let Some(rrn) = &outcome.rrn {
        add("rrn", rrn.clone());
    }
    if let Some(auth) = &outcome.auth_code {
        add("auth", auth.clone());
    }
    if let Some(balance) = outcome.balance {
        add("balance ¥", format!("{}{}", if balance.debit { "-" } else { "" }, yuan(balance.amount_fen)));
    }
    line.push('\n');
    if let Some(reason) = outcome.reversal {
        line.push_str(&format!("  待冲正 / reversal waits, reason {}\n", reason.code()));
    }
    for notice in &outcome.notices {
        line.push_str(&format!("  ! {notice}\n"));
    }
    line
}

/// What a script compares: the response code, or a word for what has none.
pub fn result_word(outcome: &Outcome) -> &str {
    match outcome.status {
        Status::Approved | Status::Declined => {
            // What the terminal approved by itself has no code.
            outcome.response_code.as_deref().unwrap_or(if outcome.approved { "ok" } else { "none" })
        }
        Status::DeclinedByChip => "chip-declined",
        Status::NoAnswer => "no-answer",
        Status::Unusable => "unusable",
        Status::ChipRefused => "chip-refused",
    }
}

/// The outcome as JSON, without card data beyond the masked number.
pub fn outcome_json(config: &TerminalConfig, outcome: &Outcome, with_bytes: bool) -> Value {
    let mut value = json!({
        "kind": outcome.kind,
        "result": result_word(outcome),
        "approved": outcome.approved,
        "response_code": outcome.response_code,
        "text_zh": outcome.text_zh,
        "text_en": outcome.text_en,
        "trace": outcome.trace,
        "batch": outcome.batch,
        "amount_fen": outcome.amount_fen,
        "card": outcome.card,
        "rrn": outcome.rrn,
        "auth_code": outcome.auth_code,
        "balance_fen": outcome.balance.map(|balance| balance.amount_fen),
        "reversal": outcome.reversal.map(|reason| reason.code()),
        "notices": outcome.notices,
        "receipt": outcome.receipt,
        "following": outcome.following.iter().map(|one| outcome_json(config, one, with_bytes)).collect::<Vec<_>>(),
        "preceding": outcome.preceding.iter().map(|one| outcome_json(config, one, with_bytes)).collect::<Vec<_>>(),
    });
    if with_bytes && let Some(object) = value.as_object_mut() {
        object.insert("request".into(), json!(frame_hex(config, &outcome.request)));
        object.insert(
            "response".into(),
            json!(outcome.response.as_deref().map(|frame| frame_hex(config, frame))),
        );
    }
    value
}

/// A frame, masked, as hexadecimal text. What cannot be parsed is shown by its length alone.
pub fn frame_hex(config: &TerminalConfig, bytes: &[u8]) -> String {
    let Some((head, body, dialect)) = split(config, bytes) else { return unreadable(bytes) };
    let Ok(message) = dialect.parse(body) else { return unreadable(bytes) };
    let mut masked = head.to_vec();
    mask::mask_message(&message, &mut masked);
    hex::encode_upper(masked)
}

/// A frame, masked and decoded: one field on a line, the bytes below.
pub fn frame_text(config: &TerminalConfig, bytes: &[u8]) -> String {
    let Some((_, body, dialect)) = split(config, bytes) else { return unreadable(bytes) };
    let Ok(message) = dialect.parse(body) else { return unreadable(bytes) };
    let mut text = describe::describe(&message).to_table(describe::Language::Chinese);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("  {}\n", frame_hex(config, bytes)));
    text
}

/// Both frames of an outcome and of what went before it.
pub fn bytes_text(config: &TerminalConfig, outcome: &Outcome) -> String {
    let mut text = String::new();
    if !outcome.request.is_empty() {
        text.push_str(&format!(
            "→ {} bytes\n{}",
            outcome.request.len(),
            frame_text(config, &outcome.request)
        ));
    }
    if let Some(response) = &outcome.response {
        text.push_str(&format!("← {} bytes\n{}", response.len(), frame_text(config, response)));
    }
    text
}

/// The journal as a table.
pub fn journal_text(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        let row = record.kind.row();
        text.push_str(&format!(
            "{:06}  {}  {:<6} ¥{:>12}  {}  rrn {}  auth {}{}\n",
            record.trace,
            record.at,
            row.en,
            yuan(record.amount_fen),
            record.pan,
            record.rrn.as_deref().unwrap_or("-"),
            record.auth_code.as_deref().unwrap_or("-"),
            if record.voided { "  已撤销/voided" } else { "" },
        ));
    }
    text
}

/// The parts of a frame before the message and of it, with its dialect. A request carries the block of the access
/// equipment, an answer does not.
fn split<'a>(config: &TerminalConfig, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'static Dialect)> {
    let (_, payload) = frame::split(bytes, FRAME_MAX).ok()??;
    let profile = config.speech().ok()?;
    let dialect = Dialect::for_profile(&profile);
    let readings = [frame::parse_pos(payload, &profile), answered(payload, &profile)];
    let body =
        readings.into_iter().flatten().map(|parts| parts.body).find(|body| dialect.parse(body).is_ok())?;
    let (head, body) = bytes.split_at_checked(bytes.len().checked_sub(body.len())?)?;
    Some((head, body, dialect))
}

fn unreadable(bytes: &[u8]) -> String {
    format!("({} bytes that are no frame of this dialect)\n", bytes.len())
}
