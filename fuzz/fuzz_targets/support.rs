//! What every target does with a message that was accepted.

use iso8583::describe::{Language, describe};
use iso8583::mask::mask_message;
use iso8583::subfield::{BatchDetail48, Original61, OriginalData90, PosField60, Totals48};
use iso8583::{Dialect, Draft};

pub fn exercise(dialect: &'static Dialect, data: &[u8]) {
    let Ok(message) = dialect.parse(data) else { return };
    let mut draft = Draft::new();
    draft.start(dialect, message.mti());
    for field in message.fields() {
        draft.put_field(&field).expect("a field of this dialect");
    }
    let mut out = Vec::new();
    draft.write(&mut out).expect("a message of this dialect");
    assert_eq!(out, data, "rebuilt to the same bytes");

    out.clear();
    mask_message(&message, &mut out);
    assert_eq!(out.len(), data.len());
    assert_eq!(dialect.parse(&out).expect("a masked copy is a message").bitmap(), message.bitmap());

    let _ = message.check_chip_data();
    let _ = message.mac_block();
    let _ = (PosField60::of(&message), Original61::of(&message), Totals48::of(&message));
    let _ = OriginalData90::of(&message);
    if let Ok(Some(details)) = BatchDetail48::of(&message) {
        details.lines().for_each(drop);
    }
    out.clear();
    iso8583::cups::mac_text(&message, &mut out);
    assert!(!describe(&message).to_table(Language::Both).is_empty());
}
