//! Power cuts at every moment a terminal can meet one, and what chips do after the host has spoken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use std::io;
use std::sync::{Arc, Mutex};

use host::{Fault, Host};
use pos::rules::Reason;
use pos::{
    BoxFuture, CardInput, Dial, Entry, KeyLayout, Link, Pin, PosError, SaleRequest, Status, Surroundings,
    Terminal,
};
use rig::Rig;
use tempfile::TempDir;

fn chip_sale(card: &str) -> SaleRequest {
    SaleRequest {
        amount_fen: 10_000,
        card: CardInput::deck(card).unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

/// A line that photographs the terminal's directory while the request is on its way: what the disk holds then is what
/// a terminal finds after the power went at that moment.
struct Camera {
    host: Host,
    from: std::path::PathBuf,
    before_sending: Arc<Mutex<Option<TempDir>>>,
    before_answer: Arc<Mutex<Option<TempDir>>>,
}

fn photograph(from: &std::path::Path) -> TempDir {
    let picture = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), picture.path().join(file.file_name())).unwrap();
    }
    picture
}

impl Dial for Camera {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        let lens = Lens {
            host: self.host.clone(),
            from: self.from.clone(),
            before_sending: Arc::clone(&self.before_sending),
            before_answer: Arc::clone(&self.before_answer),
            answer: None,
        };
        Box::pin(async move { Ok(Box::new(lens) as Box<dyn Link>) })
    }
}

struct Lens {
    host: Host,
    from: std::path::PathBuf,
    before_sending: Arc<Mutex<Option<TempDir>>>,
    before_answer: Arc<Mutex<Option<TempDir>>>,
    answer: Option<io::Result<Vec<u8>>>,
}

impl Link for Lens {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        *self.before_sending.lock().unwrap() = Some(photograph(&self.from));
        self.answer = self.host.answer(frame);
        *self.before_answer.lock().unwrap() = Some(photograph(&self.from));
        Box::pin(async { Ok(()) })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let answer = self.answer.take().unwrap();
        Box::pin(async move { answer })
    }

    fn is_usable(&mut self) -> bool {
        true
    }
}

/// Cut before the request leaves, and again between the host's approval and the terminal hearing it: both terminals
/// wake up with the reversal, send it, and have no sale; the one that lived has the sale and no reversal.
#[tokio::test]
async fn a_sale_survives_a_power_cut_at_either_side_of_the_line() {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    let Rig { host, terminal, surroundings, dir } = rig;
    drop(terminal);
    let camera = Camera {
        host: host.clone(),
        from: dir.path().to_owned(),
        before_sending: Arc::default(),
        before_answer: Arc::default(),
    };
    let pictures = [Arc::clone(&camera.before_sending), Arc::clone(&camera.before_answer)];
    let mut terminal =
        Terminal::open_in(dir.path(), Surroundings { dial: Some(Arc::new(camera)), ..surroundings.clone() })
            .unwrap();
    let outcome = terminal.sale(chip_sale("L01")).await.unwrap();
    assert!(outcome.approved && terminal.pending_reversal().is_none() && terminal.journal().len() == 1);

    for picture in pictures {
        let picture = picture.lock().unwrap().take().unwrap();
        let mut woken = Terminal::open_in(picture.path(), surroundings.clone()).unwrap();
        assert!(woken.journal().is_empty());
        let pending = woken.pending_reversal().unwrap();
        assert_eq!((pending.trace, pending.reason, pending.attempts), (outcome.trace, Reason::NoAnswer, 0));
        assert_eq!(woken.next_trace(), outcome.trace + 1);
        host.forget();
        let next = woken.sale(chip_sale("L01")).await.unwrap();
        assert!(next.approved);
        assert_eq!(host.mtis(), [400, 200]);
        assert_eq!(host.seen()[0].get(11), format!("{:06}", outcome.trace));
    }
}

/// Whatever is pending survives: the reversal with its reason and attempts, journal, trace, batch, keys.
#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    let sale = rig.sale(700);
    rig.terminal.sale(sale).await.unwrap();
    rig.host.faults([Fault::Change(11, "000777"), Fault::Silent]);
    let sale = rig.sale(900);
    let lost = rig.terminal.sale(sale).await.unwrap();
    rig.terminal.send_reversal().await.unwrap();
    let mut rig = rig.power_cycle();
    let pending = rig.terminal.pending_reversal().unwrap();
    assert_eq!((pending.trace, pending.reason, pending.attempts), (lost.trace, Reason::Unusable, 1));
    assert_eq!(rig.terminal.journal()[0].amount_fen, 700);
    assert_eq!(rig.terminal.next_trace(), lost.trace + 1);
    let sale = rig.sale(900);
    assert!(rig.terminal.sale(sale).await.unwrap().approved);
    let mut rig = rig.power_cycle();
    assert!(rig.terminal.reprint_last().await.unwrap().contains("重打印凭证 第1次"));
}

/// A damaged state file is said to be damaged; it is never replaced by a fresh one.
#[tokio::test]
async fn a_damaged_state_is_refused() {
    let rig = Rig::signed_in(KeyLayout::TripleDes).await;
    let Rig { terminal, surroundings, dir, .. } = rig;
    drop(terminal);
    std::fs::write(dir.path().join("state.json"), b"{\"version\":1").unwrap();
    assert!(matches!(Terminal::open_in(dir.path(), surroundings.clone()), Err(PosError::Damaged { .. })));
    std::fs::remove_file(dir.path().join("master.key")).unwrap();
    assert!(Terminal::open_in(dir.path(), surroundings).is_err());
}

/// L05: the issuer's cryptogram is wrong, so the card refuses what the host approved: reversal 06 with the card's
/// verdict in field 55.
#[tokio::test]
async fn a_card_that_refuses_the_issuer_is_reversed_with_06() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.faults([Fault::Chip("910A00000000000000003030")]);
    let outcome = rig.terminal.sale(chip_sale("L05")).await.unwrap();
    assert_eq!((outcome.status, outcome.approved), (Status::ChipRefused, false));
    assert_eq!((outcome.response_code.as_deref(), outcome.reversal), (Some("00"), Some(Reason::Unusable)));
    assert!(rig.terminal.journal().is_empty() && outcome.receipt.is_none());
    rig.terminal.send_reversal().await.unwrap();
    let reversal = rig.host.last();
    assert_eq!(reversal.get(39), "06");
    assert_eq!(reversal.get(55), "950500000480409F1E08504F53504C4142319F100807010103280002019F36020012");
}

/// L08 leaves the slot after the ARQC; a time-out carries the card's first verdict.
#[tokio::test]
async fn a_pulled_card_and_a_time_out() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    let outcome = rig.terminal.sale(chip_sale("L08")).await.unwrap();
    assert_eq!((outcome.status, outcome.reversal), (Status::ChipRefused, Some(Reason::Unusable)));
    rig.host.faults([Fault::None, Fault::Silent]);
    let lost = rig.terminal.sale(chip_sale("L01")).await.unwrap();
    assert_eq!(lost.preceding[0].kind, pos::Kind::Reversal);
    rig.terminal.send_reversal().await.unwrap();
    let reversal = rig.host.last();
    assert_eq!(reversal.get(39), "98");
    assert_eq!(reversal.get(55), "950500000480009F1E08504F53504C4142319F100807010103A00002019F36020012");
    assert_eq!((reversal.get(22), reversal.get(23)), ("051".into(), "001".into()));
}

/// L07 declines before anything goes out; L09 does not answer, and the stripe says that it is a fallback.
#[tokio::test]
async fn cards_that_never_go_online_by_chip() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    let outcome = rig.terminal.sale(chip_sale("L07")).await.unwrap();
    assert_eq!((outcome.status, outcome.reversal), (Status::DeclinedByChip, None));
    assert!(matches!(rig.terminal.sale(chip_sale("L09")).await, Err(PosError::ChipMute)));
    assert!(rig.host.seen().is_empty() && rig.terminal.pending_reversal().is_none());
    let fallback = SaleRequest { entry: Entry::Fallback, ..chip_sale("L09") };
    assert!(rig.terminal.sale(fallback).await.unwrap().approved);
    let seen = rig.host.last();
    assert_eq!((seen.get(22), seen.get(60)), ("801".into(), "22000001000520".into()));
    assert!(!seen.fields().contains(&55) && !seen.fields().contains(&23));
}

/// A terminal that insists on the chip: no swipe, and a fallback only for the card whose chip just failed.
#[tokio::test]
async fn a_chip_card_is_swiped_only_after_its_chip_failed() {
    let mut config = Rig::config();
    config.insist_on_chip = true;
    let mut rig = Rig::with(config);
    rig.prepare(KeyLayout::TripleDesTrack).await;
    let read = |card, entry| SaleRequest { entry, ..chip_sale(card) };
    for (card, entry) in [("L09", Entry::Swipe), ("L09", Entry::Fallback)] {
        assert!(matches!(rig.terminal.sale(read(card, entry)).await, Err(PosError::OtherEntry(_))));
    }
    assert!(rig.terminal.sale(read("M01", Entry::Swipe)).await.unwrap().approved);
    assert!(matches!(rig.terminal.sale(chip_sale("L09")).await, Err(PosError::ChipMute)));
    let mut rig = rig.power_cycle();
    assert!(matches!(rig.terminal.sale(read("L01", Entry::Fallback)).await, Err(PosError::OtherEntry(_))));
    assert!(rig.terminal.sale(read("L09", Entry::Fallback)).await.unwrap().approved);

    let Rig { terminal, mut surroundings, dir, .. } = rig;
    drop(terminal);
    surroundings.clock = Arc::new(pos::clock::FixedClock("2026-11-24T02:16:31Z".parse().unwrap()));
    let mut late = Terminal::open_in(dir.path(), surroundings).unwrap();
    assert!(matches!(late.sale(read("L09", Entry::Fallback)).await, Err(PosError::OtherEntry(_))));
}

/// The futures may move between threads, so that a service can run many terminals.
#[test]
fn a_terminal_can_be_driven_from_any_thread() {
    fn moves<T: Send>(_: &T) {}
    fn check(terminal: &mut Terminal) {
        moves(&terminal.sale(chip_sale("L01")));
        moves(&terminal.settle());
        moves(&terminal.sign_in(KeyLayout::Sm4));
        moves(&terminal.send_reversal());
    }
    moves::<fn(&mut Terminal)>(&(check as fn(&mut Terminal)));
}

/// L06: a script that fails before the second cryptogram leaves the sale approved, and says so in TVR and DF31.
#[tokio::test]
async fn a_failed_script_does_not_undo_the_sale() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.faults([Fault::Chip("71139F180400000002860A04DA9F58050356B34A1A")]);
    let outcome = rig.terminal.sale(chip_sale("L06")).await.unwrap();
    assert!(outcome.approved);
    let chip = rig.terminal.journal()[0].chip.clone().unwrap();
    assert_eq!((chip.tvr.as_str(), chip.script_result.as_deref()), ("0000048020", Some("1100000002")));
}

/// Taps: no PIN up to the limit, then the PIN; a phone is only tapped and needs none. Two terminals share a deck.
#[tokio::test]
async fn taps_and_a_shared_deck() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    let tap = |card: &str, amount_fen, pin: Option<&str>| SaleRequest {
        amount_fen,
        card: CardInput::deck(card).unwrap(),
        entry: Entry::Tap,
        pin: pin.map(|pin| Pin::new(pin).unwrap()),
    };
    let outcome = rig.terminal.sale(tap("L01", 1_250, None)).await.unwrap();
    assert!(outcome.receipt.unwrap().contains("免密免签"));
    assert_eq!(rig.host.last().get(22), "072");
    assert!(matches!(rig.terminal.sale(tap("L01", 100_001, None)).await, Err(PosError::OtherEntry(_))));
    assert!(rig.terminal.sale(tap("L01", 100_001, Some("123456"))).await.unwrap().approved);
    assert_eq!(rig.host.last().get(22), "071");
    assert!(rig.terminal.sale(tap("L13", 200_000, None)).await.unwrap().approved);
    assert!(rig.terminal.sale(chip_sale("L13")).await.is_err());

    let counters = |rig: &Rig| std::fs::read_to_string(rig.dir.path().join("cards.json")).unwrap();
    assert!(counters(&rig).contains("\"L01\": 19"));
    let mut config = Rig::config();
    config.card_file = Some(rig.dir.path().join("cards.json"));
    let mut other = Rig::with(config);
    other.prepare(KeyLayout::TripleDesTrack).await;
    other.terminal.sale(chip_sale("L01")).await.unwrap();
    assert!(counters(&rig).contains("\"L01\": 20"));
}
