//! Terminals that know no card numbers, since their readers keep them (device type 03, MPOS): a day of one at the node, with void,
//! reversal, tip and a batch that is uploaded; and another device that leaves numbers out, which is refused.
//!
//! The reader is played by the test: it has the terminal's keys, and hands out the masked number, the track under the track key
//! and the PIN block.

use hsm::{Hsm, PinFormat, SoftVault, WrappedKey};
use iso8583::CardNumber;
use pos::{
    Adjustment, CardInput, Entry, KeyLayout, KeyRef, Pin, ReadCard, SaleRequest, Status, Terminal,
    VoidRequest,
};
use serde_json::json;

use crate::support::{FIRST, Lab, NATIONAL, Setup};
use crate::{books_agree, code, sold};

/// The swiped card of the laboratory as its reader hands it out.
fn hidden_sale(terminal: &Terminal, amount_fen: u64) -> SaleRequest {
    let card = pos::deck::find("M01").unwrap();
    let vault = SoftVault::open_file(terminal.directory().join("master.key")).unwrap();
    let keys = terminal.working_keys().unwrap();
    let key = |key: &KeyRef| key.0.parse::<WrappedKey>().unwrap();
    let track = vault.encrypt_track(&card.track2(), &key(keys.track.as_ref().unwrap())).unwrap();
    let pin = Pin::new("123456").unwrap();
    let format = if keys.layout == KeyLayout::Sm4 { PinFormat::Sm4Extended } else { PinFormat::Iso0 };
    let block = vault.encrypt_pin(&pin, card.pan, &key(&keys.pin), format).unwrap();
    let read = ReadCard {
        pan: CardNumber::hidden(&pos::mask(card.pan)).unwrap(),
        expiry: Some(card.expiry.to_owned()),
        track2: Some(track.into()),
        sequence: None,
        chip: None,
        pin_block: Some(block),
    };
    SaleRequest { amount_fen, card: CardInput::Read(read), entry: Entry::Swipe, pin: None }
}

/// The terminal is now a device of this type.
fn becomes(terminal: &mut Terminal, device_type: &str) {
    let mut config = terminal.config().clone();
    config.device_type = Some(device_type.to_owned());
    config.serial = "RL00000001".to_owned();
    terminal.configure(config).unwrap();
}

/// Void, tip and reversal name their sale by its numbers, and the node finds its card in the journal. One payment is dreamt of, so
/// that the totals differ and every line goes up, with zeros for its number: the difference that is named is that one.
#[tokio::test]
async fn a_day_without_card_numbers_is_reversed_uploaded_and_settled() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    becomes(&mut terminal, "03");
    let request = hidden_sale(&terminal, 10_000);
    let dinner = sold(&mut terminal, request).await;
    assert_eq!(lab.payments(&[dinner.rrn.as_deref().unwrap()])[0]["card"], "622424******0120");
    let request = hidden_sale(&terminal, 2_000);
    let mistake = sold(&mut terminal, request).await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(mistake.trace)).await.unwrap()), "00");

    line.drop_next_answer();
    let request = hidden_sale(&terminal, 3_300);
    assert_eq!(terminal.sale(request).await.unwrap().status, Status::NoAnswer);
    assert!(terminal.send_reversal().await.unwrap().unwrap().approved);
    lab.payment_in(&["--amount-min", "33.00", "--amount-max", "33.00"], "reversed").await;

    terminal.adjust(dinner.trace, Adjustment::Tip(500)).await.unwrap();
    let uploads = terminal.upload_waiting().await.unwrap();
    assert!(uploads.len() == 1 && uploads[0].approved, "{uploads:?}");
    assert_eq!(lab.payments(&[dinner.rrn.as_deref().unwrap()])[0]["adjusted_fen"], json!(10_500));

    drop(terminal);
    let mut terminal = dreams(&lab);
    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    let notices = settled.notices.join("\n");
    assert!(notices.contains("totals differ") && !notices.contains("refused"), "{notices}");
    let differences = lab.good(&["settlement", "differences", "--terminal", FIRST, "--batch", "1"]);
    let named = differences.lines().any(|line| line.contains("000900") && line.contains("only_terminal"));
    assert!(named && differences.lines().count() == 2, "{differences}");
    books_agree(&lab).await;
}

/// The terminal comes back with a transaction in its journal that never was.
fn dreams(lab: &Lab) -> Terminal {
    lab.edit_terminal(FIRST, |state| {
        let journal = state["journal"].as_array_mut().unwrap();
        let mut dreamt = journal[0].clone();
        dreamt["trace"] = json!(900);
        journal.push(dreamt);
    });
    lab.reopen(FIRST)
}

/// The same messages from a smart POS (type 04), which has its cards' numbers and must tell them: the void and the upload are
/// refused, and the sale still stands.
#[tokio::test]
async fn another_device_without_card_numbers_is_refused() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    becomes(&mut terminal, "04");
    let request = hidden_sale(&terminal, 10_000);
    let sale = sold(&mut terminal, request).await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap()), "30");
    drop(terminal);
    let mut terminal = dreams(&lab);
    let settled = terminal.settle().await.unwrap();
    assert!(
        settled.notices.iter().any(|notice| notice.contains("2 items of the batch were refused")),
        "{settled:?}"
    );
    assert_eq!(lab.payments(&[sale.rrn.as_deref().unwrap()])[0]["state"], "approved");
}

/// Keys of SM4: 32 digits of the track are enciphered, and the PIN block stands behind field 59.
#[tokio::test]
async fn a_terminal_without_card_numbers_sells_under_sm4_keys() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.terminal(NATIONAL).await;
    becomes(&mut terminal, "03");
    assert_eq!(code(&terminal.sign_in(KeyLayout::Sm4).await.unwrap()), "00");
    let request = hidden_sale(&terminal, 4_400);
    let sale = sold(&mut terminal, request).await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap()), "00");
    books_agree(&lab).await;
}
