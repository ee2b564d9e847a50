//! The counter played without a terminal: what it asks, in which order it writes down and sends, and that no event, in
//! whatever place, leads anywhere but on.

use super::*;
use crate::view::Page;

fn at_the_menu() -> Flow {
    let mut flow = Flow::new(Rules { supervisor: false, ..Rules::default() }, "t");
    flow.start();
    flow.step(Event::Recovered { order: None, settling: false });
    flow
}

fn approved() -> Event {
    Event::Host(Box::new(HostSays {
        status: Some(HostStatus::Approved),
        code: Some("00".into()),
        ..HostSays::default()
    }))
}

/// Plays a script of events and gives the effects in their order.
fn play(flow: &mut Flow, events: Vec<Event>) -> Vec<Effect> {
    events.into_iter().map(|event| flow.step(event).effect).collect()
}

fn choose(trade: Trade) -> Event {
    Event::Input(Input::Trade { trade })
}

fn ready() -> Event {
    Event::Ready { batch: 7, trace: 124, preceding: Vec::new() }
}

/// A chip sale with PIN: the order is written down before the card is looked for, its numbers before it is sent, its end
/// before the slip and the result.
#[test]
fn a_chip_sale_writes_down_before_it_goes_on() {
    let mut flow = at_the_menu();
    let effects = play(
        &mut flow,
        vec![
            choose(Trade::Sale),
            Event::Input(Input::Amount { amount: 10_000 }),
            Event::Done,
            ready(),
            Event::Card(Card::Inserted),
            Event::Kernel(KernelSays::Pin { masked: "622424******0013".into(), bypass: false }),
            Event::Pin(PinSays::Entered),
            Event::Kernel(KernelSays::Online { masked: "622424******0013".into() }),
            Event::Done,
            approved(),
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Input(Input::Confirm),
            Event::Done,
            Event::Done,
            Event::Input(Input::Confirm),
        ],
    );
    assert!(matches!(effects[0], Effect::Wait));
    assert!(matches!(&effects[1], Effect::Journal(Mark::Accepted(order)) if order.amount == Some(10_000)));
    assert_eq!(effects[2], Effect::Prepare);
    assert!(matches!(
        effects[3],
        Effect::Detect { stripe: true, slot: true, field: true, fallback: false, second: false }
    ));
    assert_eq!(effects[4], Effect::Kernel(KernelCall::Start));
    assert_eq!(effects[5], Effect::Pin { bypass: false });
    assert_eq!(effects[6], Effect::Kernel(KernelCall::PinEntered));
    assert_eq!(effects[7], Effect::Journal(Mark::Online { batch: 7, trace: 124 }));
    assert_eq!(effects[8], Effect::Send(Reading::Chip));
    assert!(
        matches!(&effects[9], Effect::Journal(Mark::Ended(ending)) if ending.outcome == Outcome::Approved)
    );
    assert_eq!(effects[10], Effect::RemoveCard);
    assert_eq!(effects[11], Effect::Print { part: Part::Merchant, again: false });
    assert_eq!(effects[12], Effect::Journal(Mark::Printed(Part::Merchant)));
    assert_eq!(effects[13], Effect::Wait);
    assert_eq!(effects[14], Effect::Print { part: Part::Cardholder, again: false });
    assert_eq!(effects[15], Effect::Journal(Mark::Printed(Part::Cardholder)));
    assert_eq!(effects[16], Effect::Wait);
    assert_eq!(effects[17], Effect::Return);
    flow.step(Event::Done);
    assert!(flow.is_free());
}

/// No answer: reversed before anything else, and the result says so; where even that fails the outcome stays unknown.
#[test]
fn what_has_no_answer_is_reversed_before_the_result() {
    for (through, outcome, why) in
        [(true, Outcome::Declined, Why::Reversed), (false, Outcome::Unknown, Why::NoAnswer)]
    {
        let mut flow = at_the_menu();
        play(
            &mut flow,
            vec![
                choose(Trade::Sale),
                Event::Input(Input::Amount { amount: 1 }),
                Event::Done,
                ready(),
                Event::Card(Card::Swiped { masked: "622424******0021".into() }),
                Event::Pin(PinSays::Entered),
                Event::Done,
            ],
        );
        let says = HostSays { status: Some(HostStatus::NoAnswer), reversal: true, ..HostSays::default() };
        assert_eq!(flow.step(Event::Host(Box::new(says))).effect, Effect::Reverse);
        let after = if through {
            approved()
        } else {
            Event::Failed(Trouble { kind: TroubleKind::NoConnection, text: "no line".into() })
        };
        let step = flow.step(after);
        let Effect::Journal(Mark::Ended(ending)) = step.effect else { panic!("{step:?}") };
        assert_eq!((ending.outcome, ending.why), (outcome, why));
    }
}

/// A chip that cannot be read is tried three times, then its stripe is taken; a swiped chip card is sent to the slot.
#[test]
fn the_stripe_of_a_chip_card_is_taken_only_after_its_chip_failed() {
    let mut flow = at_the_menu();
    play(
        &mut flow,
        vec![choose(Trade::Sale), Event::Input(Input::Amount { amount: 1 }), Event::Done, ready()],
    );
    let step = flow.step(Event::Card(Card::UseChip));
    assert!(matches!(step.view, View::Card { hint: Hint::Insert, stripe: false, slot: true, .. }));
    for tries in 1..=3 {
        flow.step(Event::Card(Card::Inserted));
        assert_eq!(flow.step(Event::Kernel(KernelSays::Fallback)).effect, Effect::RemoveCard);
        let step = flow.step(Event::Done);
        let fallback = tries == 3;
        assert!(
            matches!(step.effect, Effect::Detect { fallback: is, slot, .. } if is == fallback && slot != fallback),
            "try {tries}: {step:?}"
        );
    }
    flow.step(Event::Card(Card::Swiped { masked: "622424******0096".into() }));
    play(&mut flow, vec![Event::Pin(PinSays::Entered)]);
    assert_eq!(flow.step(Event::Done).effect, Effect::Send(Reading::Fallback));
}

/// The cashier's order that is broken off before its questions are answered leaves no trace; another app's always has an
/// end in the journal.
#[test]
fn an_order_that_is_broken_off_ends_in_the_journal_when_it_began_there() {
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::Sale), Event::Input(Input::Cancel)]);
    assert!(flow.is_free());
    let order = Order { caller: "shop".into(), ..Order::by_cashier(Trade::Sale, "r1".into()) };
    assert!(matches!(flow.step(Event::Order(Box::new(order))).effect, Effect::Journal(Mark::Accepted(_))));
    assert!(!flow.is_free());
    flow.step(Event::Done);
    let step = flow.step(Event::Input(Input::Cancel));
    assert!(matches!(step.effect, Effect::Journal(Mark::Ended(ending)) if ending.why == Why::Cancelled));
}

/// A void finds its sale, shows it, and takes its amount; a supervisor agrees first where the rules say so.
#[test]
fn a_void_shows_what_it_undoes_and_wants_a_supervisor() {
    let mut flow = Flow::new(Rules::default(), "t");
    flow.start();
    flow.step(Event::Recovered { order: None, settling: false });
    flow.step(choose(Trade::Void));
    let named = Input::Original { trace: Some(124), reference: None, auth_code: None, date: None };
    assert_eq!(flow.step(Event::Input(named)).effect, Effect::Find(124));
    let line = Line { trace: 124, amount: 10_000, here: true, offers: vec![Trade::Void], ..Line::default() };
    let step = flow.step(Event::Found(Box::new(line)));
    assert!(matches!(step.view, View::ConfirmOriginal { .. }));
    let step = flow.step(Event::Input(Input::Confirm));
    assert!(matches!(step.view, View::Supervisor { trade: Some(Trade::Void), wrong: false }));
    let login = Input::Login { operator: "99".into(), password: "12345678".into() };
    assert!(matches!(flow.step(Event::Input(login)).effect, Effect::Login { supervisor: true, .. }));
    let operator = Operator { number: "99".into(), supervisor: true };
    let step = flow.step(Event::Operator(operator));
    assert!(matches!(step.effect, Effect::Journal(Mark::Accepted(order)) if order.amount == Some(10_000)));
}

/// What the cashier wants gone is taken back in its own way, whichever key was pressed; what nothing takes back is refused
/// before anybody is bothered. A cash load is in a chip, so its card is asked for.
#[test]
fn a_void_is_of_the_kind_that_its_original_needs() {
    let mut flow = at_the_menu();
    flow.step(choose(Trade::Void));
    let named =
        Event::Input(Input::Original { trace: Some(9), reference: None, auth_code: None, date: None });
    flow.step(named.clone());
    let line = |offers| Event::Found(Box::new(Line { trace: 9, amount: 500, offers, ..Line::default() }));
    let step = flow.step(line(Vec::new()));
    assert!(matches!(step.view, View::Original { wrong: Some(_), .. }), "{step:?}");
    flow.step(named);
    let step = flow.step(line(vec![Trade::CashLoadVoid]));
    assert!(matches!(step.view, View::ConfirmOriginal { trade: Trade::CashLoadVoid, .. }), "{step:?}");
    play(&mut flow, vec![Event::Input(Input::Confirm), Event::Done]);
    let step = flow.step(ready());
    assert!(
        matches!(step.effect, Effect::Detect { stripe: false, slot: true, field: false, .. }),
        "{step:?}"
    );
}

/// Two cards: the stripe and the PIN of the one that pays, then the chip of the one that is loaded, whose own PIN nobody
/// wants; what the message says of the reading is that of the card that pays. Without its PIN nothing is taken.
#[test]
fn a_load_from_another_card_asks_for_both() {
    let mut flow = at_the_menu();
    play(
        &mut flow,
        vec![choose(Trade::TransferLoad), Event::Input(Input::Amount { amount: 500 }), Event::Done],
    );
    let step = flow.step(ready());
    assert!(
        matches!(step.effect, Effect::Detect { stripe: true, slot: false, second: false, .. }),
        "{step:?}"
    );
    let step = flow.step(Event::Card(Card::Swiped { masked: "622424******0120".into() }));
    assert_eq!(step.effect, Effect::Pin { bypass: false });
    let step = flow.step(Event::Pin(PinSays::Entered));
    assert!(
        matches!(step.effect, Effect::Detect { stripe: false, slot: true, second: true, .. }),
        "{step:?}"
    );
    assert_eq!(flow.step(Event::Card(Card::Inserted)).effect, Effect::Kernel(KernelCall::Start));
    let masked = || "622424******0021".to_owned();
    let step = flow.step(Event::Kernel(KernelSays::Pin { masked: masked(), bypass: true }));
    assert_eq!(step.effect, Effect::Kernel(KernelCall::PinBypassed));
    flow.step(Event::Kernel(KernelSays::Online { masked: masked() }));
    assert_eq!(flow.step(Event::Done).effect, Effect::Send(Reading::Swipe));
    flow.step(approved());
    assert_eq!(flow.step(Event::Done).effect, Effect::RemoveCard, "the loaded card is in the slot");
}

/// A purse is in its chip: when that cannot be read there is no stripe to fall back to.
#[test]
fn a_purse_that_cannot_be_read_is_not_loaded() {
    let mut flow = at_the_menu();
    play(
        &mut flow,
        vec![choose(Trade::Load), Event::Input(Input::Amount { amount: 500 }), Event::Done, ready()],
    );
    for _ in 0..3 {
        play(&mut flow, vec![Event::Card(Card::Inserted), Event::Kernel(KernelSays::Fallback)]);
        let step = flow.step(Event::Done);
        if let Effect::Journal(Mark::Ended(ending)) = step.effect {
            assert_eq!(ending.why, Why::Card { reason: "unreadable".into() });
            return;
        }
    }
    panic!("{flow:?}");
}

/// Where the terminal may not sell without the host, neither key begins an order; all others do.
#[test]
fn a_terminal_that_must_ask_the_host_refuses_the_keys_that_do_not() {
    for trade in Trade::ALL {
        let mut flow = at_the_menu();
        flow.obey(true, false, 10_000);
        let view = flow.step(choose(trade)).view;
        let refused = matches!(view, View::Trouble { .. });
        assert_eq!(refused, matches!(trade, Trade::OfflineSale | Trade::OfflineChip), "{view:?}");
        assert_eq!(flow.order().is_none(), refused);
    }
}

/// Above the limit a sale offline needs the code that the issuer gave by telephone; up to it none. A card that approves by
/// itself must do so: one that wants the host does not pay.
#[test]
fn offline_sales_keep_to_the_limit() {
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::OfflineSale)]);
    let step = flow.step(Event::Input(Input::Amount { amount: 10_001 }));
    assert!(matches!(step.view, View::Voice { needed: true, wrong: None, .. }), "{step:?}");
    let step = flow.step(Event::Input(Input::Voice { code: None }));
    assert!(matches!(step.view, View::Voice { wrong: Some(_), .. }), "{step:?}");
    let step = flow.step(Event::Input(Input::Voice { code: Some("A1B2C3".into()) }));
    assert!(
        matches!(&step.effect, Effect::Journal(Mark::Accepted(order)) if order.original.auth_code.as_deref() == Some("A1B2C3")),
        "{step:?}"
    );
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::OfflineChip)]);
    let step = flow.step(Event::Input(Input::Amount { amount: 10_001 }));
    assert!(matches!(step.view, View::Amount { wrong: Some(_), .. }), "{step:?}");
    play(&mut flow, vec![Event::Input(Input::Amount { amount: 500 }), Event::Done, ready()]);
    flow.step(Event::Card(Card::Inserted));
    let step = flow.step(Event::Kernel(KernelSays::Online { masked: "622424******0013".into() }));
    assert_eq!(step.effect, Effect::Kernel(KernelCall::Abort));
    let step = flow.step(Event::Done);
    assert!(
        matches!(step.effect, Effect::Journal(Mark::Ended(ending)) if ending.outcome == Outcome::Declined)
    );
}

/// Who must sign does so before the slip is printed; of three scribbles that are none the paper has its line.
#[test]
fn a_signature_comes_before_the_slip() {
    let sold = || {
        let mut flow = at_the_menu();
        flow.rules.esign = true;
        let sign = Some("01241125".to_owned());
        let says = HostSays { status: Some(HostStatus::Approved), trace: 124, sign, ..HostSays::default() };
        let effects = play(
            &mut flow,
            vec![
                choose(Trade::Sale),
                Event::Input(Input::Amount { amount: 1 }),
                Event::Done,
                ready(),
                Event::Card(Card::Swiped { masked: "622424******0021".into() }),
                Event::Pin(PinSays::Bypassed),
                Event::Done,
                Event::Host(Box::new(says)),
                Event::Done,
            ],
        );
        assert_eq!(effects.last(), Some(&Effect::Sign { trace: 124, code: "01241125".into() }));
        flow
    };
    let printed = Effect::Print { part: Part::Merchant, again: false };
    assert_eq!(sold().step(Event::Signed(SignSays::Taken)).effect, printed);
    let mut flow = sold();
    for _ in 0..2 {
        let step = flow.step(Event::Signed(SignSays::Empty));
        assert!(matches!(step.view, View::Sign { again: true, .. }), "{step:?}");
    }
    assert_eq!(flow.step(Event::Signed(SignSays::Empty)).effect, printed);
}

/// A scanned slip names the original as its numbers would; one of another batch serves for a refund and not for a void;
/// from the menu it is shown with what can be done.
#[test]
fn a_scanned_slip_names_the_original() {
    let slip = |here| {
        let reference = Some("112410000001".to_owned());
        let offers = vec![Trade::Void, Trade::Refund];
        let line = Line { trace: 124, reference, date: "1124".into(), here, offers, ..Line::default() };
        Event::Scanned(Box::new(line))
    };
    let mut flow = at_the_menu();
    flow.step(choose(Trade::Void));
    assert_eq!(flow.step(Event::Input(Input::Scan)).effect, Effect::Scan);
    assert_eq!(flow.step(slip(true)).effect, Effect::Find(124));
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::Void), Event::Input(Input::Scan)]);
    let step = flow.step(slip(false));
    assert!(matches!(step.view, View::Original { wrong: Some(_), .. }), "{step:?}");
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::Refund), Event::Input(Input::Scan)]);
    assert!(matches!(flow.step(slip(false)).view, View::Amount { .. }));
    let mut flow = at_the_menu();
    flow.step(Event::Input(Input::Scan));
    assert!(matches!(flow.step(slip(true)).view, View::Detail { .. }));
    let step = flow.step(Event::Input(Input::Trade { trade: Trade::Void }));
    assert_eq!(step.effect, Effect::Find(124));
    let mut flow = at_the_menu();
    play(&mut flow, vec![choose(Trade::Void), Event::Input(Input::Scan)]);
    let step = flow.step(Event::NoCard(Why::Cancelled));
    assert!(matches!(step.view, View::Original { wrong: None, .. }), "the numbers may be keyed: {step:?}");
}

/// The printer stops in the middle: the trade stays, the whole slip is printed again with its mark, or given up.
#[test]
fn paper_never_changes_an_outcome() {
    let mut flow = at_the_menu();
    play(
        &mut flow,
        vec![
            choose(Trade::Sale),
            Event::Input(Input::Amount { amount: 1 }),
            Event::Done,
            ready(),
            Event::Card(Card::Swiped { masked: "622424******0021".into() }),
            Event::Pin(PinSays::Bypassed),
            Event::Done,
            approved(),
            Event::Done,
        ],
    );
    let no_paper = || Event::Failed(Trouble { kind: TroubleKind::Device, text: "no_paper".into() });
    assert!(matches!(flow.step(no_paper()).view, View::Paper { .. }));
    let step = flow.step(Event::Input(Input::Confirm));
    assert_eq!(step.effect, Effect::Print { part: Part::Merchant, again: true });
    flow.step(no_paper());
    let step = flow.step(Event::Input(Input::Cancel));
    assert!(matches!(step.view, View::Result { ending, .. } if ending.outcome == Outcome::Approved));
}

/// What was under way when the power went is an order still: both copies, its result, and the answer to whoever ordered it.
///
/// Once it was none: the second copy and the answer to another app were forgotten with the first copy, and the first was
/// offered again at every start.
#[test]
fn an_order_from_before_the_power_went_comes_to_its_end() {
    let recovered = |unprinted| {
        let order = Order { amount: Some(100), ..Order::by_cashier(Trade::Sale, "t-1".into()) };
        let ending = Ending { outcome: Outcome::Approved, why: Why::Host, host: None };
        Event::Recovered { order: Some(Box::new(Recovered { order, ending, unprinted })), settling: false }
    };
    let mut flow = Flow::new(Rules::default(), "t");
    flow.start();
    let step = flow.step(recovered(Some(Part::Merchant)));
    assert!(matches!(step.view, View::Paper { part: Part::Merchant, .. }));
    // A key that means nothing here changes nothing.
    let step = flow.step(Event::Input(Input::Reprint));
    assert!(matches!(step.view, View::Paper { part: Part::Merchant, .. }));
    let effects = play(
        &mut flow,
        vec![
            Event::Input(Input::Confirm),
            Event::Done,
            Event::Done,
            Event::Input(Input::Confirm),
            Event::Done,
            Event::Done,
            Event::Input(Input::Confirm),
        ],
    );
    assert_eq!(effects[0], Effect::Print { part: Part::Merchant, again: true });
    assert_eq!(effects[3], Effect::Print { part: Part::Cardholder, again: false });
    assert_eq!(effects[6], Effect::Return);
    // Refused paper is no reason to keep the answer.
    for unprinted in [Some(Part::Merchant), None] {
        let mut flow = Flow::new(Rules::default(), "t");
        flow.start();
        flow.step(recovered(unprinted));
        if unprinted.is_some() {
            flow.step(Event::Input(Input::Cancel));
        }
        assert_eq!(flow.step(Event::Input(Input::Confirm)).effect, Effect::Return);
    }
}

/// A settlement that the power or the line has cut off needs no key: it goes on before the menu opens, after whatever an
/// order of before has left to say, and again each time the terminal has rested. Its slip and its end are as always; that
/// it could not go on is no screen in anybody's way.
#[test]
fn a_settlement_that_was_cut_off_goes_on_by_itself() {
    let settles = Effect::Desk(Desk::Settle);
    let mut flow = Flow::new(Rules { login: true, ..Rules::default() }, "t");
    flow.start();
    assert_eq!(flow.step(Event::Recovered { order: None, settling: true }).effect, settles);
    assert!(!flow.is_free());
    let no_line = Event::Failed(Trouble { kind: TroubleKind::SettlementOpen, text: "no line".into() });
    assert!(matches!(flow.step(no_line.clone()).view, View::Login { .. }));
    assert_eq!(flow.step(Event::Unsettled).effect, settles);
    let settled = HostSays { status: Some(HostStatus::Approved), ..HostSays::default() };
    assert_eq!(
        flow.step(Event::Told(Box::new(settled))).effect,
        Effect::Print { part: Part::Merchant, again: false }
    );
    assert!(matches!(flow.step(Event::Done).view, View::Told { desk: Desk::Settle, .. }));
    assert!(matches!(flow.step(Event::Idle).view, View::Login { .. }));

    // An order of before first, then the settlement.
    let order = Order { amount: Some(100), ..Order::by_cashier(Trade::Sale, "t-1".into()) };
    let ending = Ending { outcome: Outcome::Approved, why: Why::Host, host: None };
    let recovered = Recovered { order, ending, unprinted: None };
    let mut flow = Flow::new(Rules::default(), "t");
    flow.start();
    let step = flow.step(Event::Recovered { order: Some(Box::new(recovered)), settling: true });
    assert!(matches!(step.view, View::Result { .. }));
    assert_eq!(flow.step(Event::Input(Input::Confirm)).effect, Effect::Return);
    assert_eq!(flow.step(Event::Done).effect, settles);
    // Somebody who presses the key is told what stood in the way.
    flow.step(no_line.clone());
    flow.step(Event::Input(Input::Desk { desk: Desk::Settle }));
    flow.step(Event::Page(Box::default()));
    assert_eq!(flow.step(Event::Input(Input::Confirm)).effect, settles);
    assert!(matches!(flow.step(no_line).view, View::Trouble { .. }));
}

/// "Take your card" is for a card in the slot. One that was tapped is in its holder's hand: the antenna goes off, and no
/// screen says so.
///
/// Once both were asked to be taken, so that after a tap the words flashed by.
#[test]
fn only_a_card_in_the_slot_is_to_be_taken() {
    for (card, to_be_taken) in [(Card::Inserted, true), (Card::Tapped, false)] {
        let mut flow = at_the_menu();
        play(
            &mut flow,
            vec![
                choose(Trade::Sale),
                Event::Input(Input::Amount { amount: 100 }),
                Event::Done,
                ready(),
                Event::Card(card),
                Event::Kernel(KernelSays::Online { masked: "622424******0013".into() }),
                Event::Done,
                approved(),
            ],
        );
        let step = flow.step(Event::Done);
        assert_eq!(step.effect, Effect::RemoveCard);
        assert_eq!(step.view == View::RemoveCard, to_be_taken, "{:?}", step.view);
        let step = flow.step(Event::Done);
        assert_eq!(step.effect, Effect::Print { part: Part::Merchant, again: false });
    }
}

/// A card that left the antenna after it had approved (闪卡): only that card may go on, by the antenna alone. Whatever else
/// comes is passed over, and when it does not come the end says why, and nothing was sent.
#[test]
fn a_torn_tap_goes_on_with_the_same_card_or_ends_clearly() {
    let torn = || {
        let mut flow = at_the_menu();
        play(
            &mut flow,
            vec![
                choose(Trade::Sale),
                Event::Input(Input::Amount { amount: 100 }),
                Event::Done,
                ready(),
                Event::Card(Card::Tapped),
            ],
        );
        let step = flow.step(Event::Kernel(KernelSays::Torn));
        (flow, step)
    };
    let only_tap = Effect::Detect { fallback: false, stripe: false, slot: false, field: true, second: false };
    let (mut flow, step) = torn();
    assert!(matches!(step.view, View::Card { hint: Hint::TapSame, keyed: false, .. }));
    assert_eq!(step.effect, only_tap);
    for other in [KernelSays::OtherCard, KernelSays::Other(Hint::Insert), KernelSays::Fallback] {
        flow.step(Event::Card(Card::Tapped));
        assert_eq!(flow.step(Event::Kernel(other)).effect, only_tap);
    }
    assert_eq!(flow.step(Event::Again(Hint::OneCard)).effect, only_tap);
    flow.step(Event::Card(Card::Tapped));
    let step = flow.step(Event::Kernel(KernelSays::Online { masked: "622424******0013".into() }));
    assert!(matches!(step.effect, Effect::Journal(Mark::Online { .. })));

    for why in [Why::TimedOut, Why::Cancelled] {
        let (mut flow, _) = torn();
        let Effect::Journal(Mark::Ended(ending)) = flow.step(Event::NoCard(why)).effect else { panic!() };
        assert_eq!(ending.why, Why::Card { reason: "Torn".into() });
        assert_eq!((ending.outcome, ending.host), (Outcome::Declined, None));
    }
}

mod any_event {
    use proptest::prelude::*;

    use super::*;

    /// Events by number; above them each trade is chosen.
    const SINGLE: u8 = 53;

    fn event(number: u8) -> Event {
        let trouble = || Trouble { kind: TroubleKind::Other, text: String::new() };
        let line =
            || Line { trace: 1, amount: 5, here: true, offers: vec![Trade::CashLoadVoid], ..Line::default() };
        let masked = || "622424******0013".to_owned();
        let trades = u8::try_from(Trade::ALL.len()).unwrap();
        if let Some(at) = number.checked_sub(SINGLE) {
            return choose(Trade::ALL[usize::from(at % trades)]);
        }
        let host = |status| Event::Host(Box::new(HostSays { status: Some(status), ..HostSays::default() }));
        match number {
            0 => Event::Done,
            1 => Event::Idle,
            2 => Event::Failed(trouble()),
            3 => Event::Input(Input::Confirm),
            4 => Event::Input(Input::Cancel),
            5 => Event::Input(Input::Amount { amount: 100 }),
            6 => Event::Input(Input::Points { points: Points::Alliance }),
            7 => Event::Input(Input::Voice { code: None }),
            8 => Event::Input(Input::Voice { code: Some("A1B2C3".into()) }),
            9 => Event::Input(Input::Waiting),
            10 => Event::Waiting(Vec::new()),
            11 => Event::Card(Card::Keyed { masked: masked() }),
            12 => Event::Kernel(KernelSays::ApprovedOffline),
            13 => Event::Pin(PinSays::Bypassed),
            14 => Event::Kernel(KernelSays::Terminated("no".into())),
            15 => Event::Input(Input::Amount { amount: 1_000_000 }),
            16 => Event::Kernel(KernelSays::Other(Hint::Swipe)),
            17 => Event::Input(Input::Original {
                trace: Some(1),
                reference: Some("112410000001".into()),
                auth_code: Some("123456".into()),
                date: Some("1124".into()),
            }),
            18 => Event::Found(Box::new(line())),
            19 => Event::Operator(Operator { number: "99".into(), supervisor: true }),
            20 => ready(),
            21 => Event::Card(Card::Inserted),
            22 => Event::Card(Card::Tapped),
            23 => Event::Card(Card::Swiped { masked: masked() }),
            24 => Event::Card(Card::UseChip),
            25 => Event::NoCard(Why::TimedOut),
            26 => Event::Kernel(KernelSays::Pin { masked: masked(), bypass: true }),
            27 => Event::Kernel(KernelSays::Online { masked: masked() }),
            28 => Event::Kernel(KernelSays::Declined("no".into())),
            29 => Event::Kernel(KernelSays::Fallback),
            30 => Event::Pin(PinSays::Entered),
            31 => host(HostStatus::Approved),
            32 => host(HostStatus::Declined),
            33 => Event::Host(Box::new(HostSays { reversal: true, ..HostSays::default() })),
            34 => Event::Page(Box::<Page>::default()),
            35 => Event::Told(Box::default()),
            36 => Event::Input(Input::Desk { desk: Desk::Settle }),
            37 => Event::Input(Input::List { page: 0 }),
            38 => Event::Input(Input::Pick { trace: 1 }),
            39 => Event::Input(Input::Reprint),
            40 => Event::Input(Input::Periods { periods: 3 }),
            41 => Event::Order(Box::new(Order {
                caller: "app".into(),
                amount: Some(1),
                ..Order::by_cashier(Trade::Sale, "r".into())
            })),
            42 => Event::Kernel(KernelSays::Select(vec!["a".into()])),
            43 => Event::Input(Input::Choose { index: 0 }),
            44 => Event::Recovered { order: None, settling: false },
            45 => Event::Unsettled,
            46 => Event::Again(Hint::OneCard),
            47 => Event::Input(Input::Scan),
            48 => Event::Scanned(Box::new(line())),
            49 => Event::Signed(SignSays::Empty),
            50 => Event::Signed(SignSays::Taken),
            51 => Event::Kernel(KernelSays::Torn),
            _ => Event::Host(Box::new(HostSays {
                status: Some(HostStatus::Approved),
                sign: Some("01241125".into()),
                ..HostSays::default()
            })),
        }
    }

    proptest! {
        /// Whatever happens in whatever order: what is sent was accepted and numbered before, and after an order was
        /// accepted its end is journaled before it is given back.
        #[test]
        fn nothing_is_sent_or_told_before_it_is_written_down(numbers in proptest::collection::vec(0_u8..SINGLE + 18, 1..120)) {
            let mut flow = at_the_menu();
            flow.rules.esign = true;
            let (mut accepted, mut numbered, mut ended) = (false, false, false);
            for number in numbers {
                let step = flow.step(event(number));
                match step.effect {
                    Effect::Journal(Mark::Accepted(_)) => (accepted, numbered, ended) = (true, false, false),
                    Effect::Journal(Mark::Online { .. }) => {
                        prop_assert!(accepted);
                        numbered = true;
                    }
                    Effect::Send(_) => {
                        prop_assert!(accepted && !ended && numbered, "{:?}", flow);
                    }
                    Effect::Journal(Mark::Ended(_)) => ended = true,
                    Effect::Return => prop_assert!(ended || !flow.accepted, "{:?}", flow),
                    _ => {}
                }
            }
        }
    }
}
