//! `pay.v1` and the counter's own words: what a request is to the flow, and what an end is to a caller.

use pay::request::PrintMode;
use pay::{
    CallCode, CallerId, CardResult, Currency, Cvm, EntryMode, Fen, Grant, Hint, Kind, Ledger, Merchant, Orig,
    Outcome, PayMethod, Reason, Receipt, Recover, Refusal, Request, RequestId, Response,
};
use receipt::{MaskedPan, Part, ReceiptDoc, Width, text};

use super::{About, wishes};
use crate::flow::{
    self, Chore, Desk, Ending, Errand, HostSays, HostStatus, Lang, Trade, Trouble, TroubleKind, Why,
};
use crate::panel::Said;
use crate::shell::Facts;

/// After how many milliseconds a caller asks again for an outcome that is not known: a terminal at rest sends its
/// reversal every twenty seconds.
const ASK_AGAIN_MS: u32 = 20_000;

/// What a request is to the terminal. What it cannot honour is refused, never passed over.
pub(super) fn work(
    request: &Request,
    caller: &CallerId,
    grant: &Grant,
    ledger: &Ledger,
) -> Result<Said, Refusal> {
    wishes::offered(request)?;
    let trade = match request.kind {
        Kind::Sale => Trade::Sale,
        Kind::Void => Trade::Void,
        Kind::Refund => Trade::Refund,
        Kind::Preauth => Trade::Preauth,
        Kind::PreauthVoid => Trade::PreauthVoid,
        Kind::PreauthComplete => Trade::PreauthComplete,
        Kind::PreauthCompleteVoid => Trade::PreauthCompleteVoid,
        Kind::Balance => Trade::Balance,
        Kind::Settle => return Ok(errand(request, caller, Chore::Desk(Desk::Settle))),
        Kind::SignIn => return Ok(errand(request, caller, Chore::Desk(Desk::SignIn))),
        Kind::SignOut => return Ok(errand(request, caller, Chore::Desk(Desk::SignOff))),
        Kind::Reprint => {
            let orig = request.orig.clone().unwrap_or_default();
            let trace =
                ledger.original(caller, Kind::Reprint, &orig).and_then(|entry| number(&entry.refs.trace_no));
            let trace = trace.ok_or_else(|| Refusal::of(CallCode::NoOriginal))?;
            return Ok(errand(request, caller, Chore::Reprint { trace }));
        }
        Kind::ScanRefund | Kind::PrintText | Kind::CardRead | Kind::Query | Kind::LastTrade | Kind::Abort => {
            return Err(wishes::not_offered("type"));
        }
    };
    let mut order = flow::Order {
        caller: caller.as_str().to_owned(),
        request_id: request.request_id.as_str().to_owned(),
        trade,
        amount: request.amount.map(Fen::get),
        original: flow::Original::default(),
        periods: None,
        points: None,
        print: wishes::prints(request),
        skip_result: request.ui.as_ref().and_then(|ui| ui.skip_result_page) == Some(true),
        wishes: wishes::of(request),
    };
    if let Some(orig) = &request.orig
        && trade.names() != flow::Names::Nothing
    {
        name(&mut order, request.kind, orig, caller, grant, ledger)?;
    }
    Ok(Said::Order(Box::new(order)))
}

fn errand(request: &Request, caller: &CallerId, what: Chore) -> Said {
    Said::Errand(Box::new(Errand {
        caller: caller.as_str().to_owned(),
        request_id: request.request_id.as_str().to_owned(),
        what,
        print: match what {
            // One copy, as the cashier's key prints it.
            Chore::Reprint { .. } if wishes::mode(request) == PrintMode::Default => flow::Print::Merchant,
            _ => wishes::prints(request),
        },
        lang: wishes::lang(request),
    }))
}

fn number(text: &Option<String>) -> Option<u32> {
    text.as_ref().and_then(|text| text.parse().ok())
}

/// Fills in what the order refers to. A caller's own trade is found by any of its keys; what is voided in this terminal's
/// batch must be the caller's own. A trade of somebody else (another caller, the cashier, another terminal) is a matter of
/// the grant: with it, it is named by the numbers of its slip where the protocol finds it by those, and the host judges.
fn name(
    order: &mut flow::Order,
    kind: Kind,
    orig: &Orig,
    caller: &CallerId,
    grant: &Grant,
    ledger: &Ledger,
) -> Result<(), Refusal> {
    let missing = || Refusal::of(CallCode::NoOriginal);
    // Nothing but what the protocol asks for can be held against a trade that is not in this ledger.
    let only_slip = orig.request_id.is_none()
        && orig.order_no.is_none()
        && orig.trace_no.is_none()
        && orig.batch_no.is_none()
        && orig.channel_order_no.is_none();
    order.original = match ledger.original(caller, kind, orig) {
        Some(entry) => {
            let asked = order.amount;
            let has = entry.amount.map(Fen::get);
            if kind == Kind::Refund && has.is_some_and(|has| asked.unwrap_or_default() > has) {
                return Err(Refusal::of(CallCode::AboveOriginal));
            }
            // A void takes all of it back. Asking for a part is a mistake, not a smaller void.
            let all = matches!(kind, Kind::Void | Kind::PreauthVoid | Kind::PreauthCompleteVoid);
            if all && asked.is_some() && asked != has {
                return Err(Refusal::field("amount", "not that of the original, which is undone as a whole"));
            }
            if kind == Kind::PreauthVoid && order.amount.is_none() {
                order.amount = has;
            }
            let refs = &entry.refs;
            flow::Original {
                trace: number(&refs.trace_no),
                reference: refs.ref_no.clone(),
                auth_code: refs.auth_no.clone(),
                date: refs.time.as_ref().and_then(|time| time.get(..4)).map(str::to_owned),
            }
        }
        None if order.trade.names() == flow::Names::Trace || !only_slip => return Err(missing()),
        None if !grant.others => {
            let message = "orig: no trade of this caller, which may name no others".to_owned();
            return Err(Refusal { field: Some("orig".to_owned()), message, ..missing() });
        }
        None => {
            let (reference, auth_code) = (text(&orig.ref_no), text(&orig.auth_no));
            // The number that the protocol does not ask for would be passed over.
            let surplus = match order.trade.names() {
                flow::Names::Reference => auth_code.is_some(),
                _ => reference.is_some(),
            };
            if surplus {
                return Err(missing());
            }
            let date = orig.date.as_ref().and_then(|date| {
                let date = date.as_str();
                date.get(date.len().saturating_sub(4)..).map(str::to_owned)
            });
            flow::Original { trace: None, reference, auth_code, date }
        }
    };
    if !order.original.is_named(order.trade.names()) {
        return Err(missing());
    }
    if order.trade == Trade::PreauthVoid && order.amount.is_none() {
        return Err(Refusal::field("amount", "missing: the original is not this caller's"));
    }
    Ok(())
}

fn text<const MAX: usize>(text: &Option<pay::Text<MAX>>) -> Option<String> {
    text.as_ref().map(|text| text.as_str().to_owned())
}

/// The response to an order that ended.
pub(super) fn ended(
    id: &RequestId,
    kind: Kind,
    ending: &Ending,
    order: &flow::Order,
    facts: &Facts<'_>,
    about: &About,
) -> Response {
    let lang = order.wishes.lang;
    let (code, reason) = code_of(&ending.why);
    let outcome = match (kind.row().money, ending.outcome) {
        (false, _) => Outcome::None,
        (true, flow::Outcome::Approved) => Outcome::Approved,
        (true, flow::Outcome::Declined) => Outcome::Declined,
        (true, flow::Outcome::Unknown) => Outcome::Unknown,
    };
    let code = match ending.outcome {
        flow::Outcome::Approved => CallCode::Handled,
        flow::Outcome::Declined => code,
        flow::Outcome::Unknown => CallCode::NoAnswer,
    };
    let mut response = Response {
        call_msg: Some(explained(code, &ending.why, lang)),
        reason: reason.filter(|_| outcome == Outcome::Declined),
        currency: kind.row().money.then_some(Currency::Cny),
        merchant: Some(Merchant { no: about.merchant.clone(), name: about.merchant_name.clone() }),
        operator: order.wishes.operator.clone(),
        terminal: Some(pay::Terminal { tid: about.terminal.clone(), sn: about.serial.clone() }),
        recover: (outcome == Outcome::Unknown)
            .then_some(Recover { hint: Hint::Query, next_query_ms: ASK_AGAIN_MS }),
        ..Response::of(code, outcome, Some(id.clone()))
    };
    if let Some(host) = &ending.host {
        host_said(&mut response, host, lang);
        if kind == Kind::Balance {
            response.balance = host.balance;
        }
        response.pay_method_used = Some(PayMethod::Card);
    }
    if let Some(record) = facts.record {
        let digits: String = record.at.chars().filter(char::is_ascii_digit).collect();
        response.trade_time_local = digits.get(4..14).map(str::to_owned);
        // The terminal's clock is China's.
        response.trade_time = Some(format!("{}+08:00", record.at.replace('/', "-").replace(' ', "T")));
        response.auth_no = Some(record.auth_code.clone().unwrap_or_default());
    }
    response.card = card(ending, facts).map(Box::new);
    // Both where the caller prints and where nobody does: it costs a caller that does not want it nothing.
    if order.print == flow::Print::Nothing && ending.outcome == flow::Outcome::Approved {
        response.receipt = facts.slip.as_ref().map(|slip| Box::new(receipt(slip)));
    }
    response
}

/// The merchant's copy, as wide as a narrow roll.
fn receipt(slip: &ReceiptDoc) -> Receipt {
    let slip = ReceiptDoc { width: Width::W58, ..slip.clone() };
    let lines = text::render(&slip, Part::Merchant).lines().map(str::to_owned).collect();
    Receipt { lines, image_png_b64: None, signature_ref: None }
}

fn host_said(response: &mut Response, host: &HostSays, lang: Option<Lang>) {
    response.resp_code.clone_from(&host.code);
    response.resp_msg = match (host.text_zh.as_str(), host.text_en.as_str()) {
        ("", "") => None,
        ("", one) | (one, "") => Some(one.to_owned()),
        (zh, en) => Some(wishes::told(zh, en, lang)),
    };
    response.trace_no = (host.trace > 0).then(|| format!("{:06}", host.trace));
    response.batch_no = (host.batch > 0).then(|| format!("{:06}", host.batch));
    response.ref_no.clone_from(&host.reference);
    response.auth_no.clone_from(&host.auth_code);
    response.settle_date.clone_from(&host.settle_date);
    response.amount = host.amount.and_then(|fen| Fen::new(fen).ok());
}

fn card(ending: &Ending, facts: &Facts<'_>) -> Option<CardResult> {
    use crate::flow::Reading;
    use pos::Entry;
    let of_host = ending.host.as_ref().and_then(|host| host.card.as_deref());
    let masked = MaskedPan::parse(facts.record.map(|record| record.pan.as_str()).or(of_host)?).ok()?;
    let entry = match (facts.record.map(|record| record.entry), facts.reading) {
        (Some(Entry::Swipe), _) | (None, Some(Reading::Swipe)) => EntryMode::Mag,
        (Some(Entry::Fallback), _) | (None, Some(Reading::Fallback)) => EntryMode::Fallback,
        (Some(Entry::Chip), _) | (None, Some(Reading::Chip)) => EntryMode::Icc,
        (Some(Entry::Tap), _) | (None, Some(Reading::Tap)) => EntryMode::Rf,
        (Some(Entry::Manual), _) | (None, Some(Reading::Keyed) | None) => return None,
    };
    let chip = facts.record.and_then(|record| record.chip.as_ref());
    let cryptogram =
        |name: &str| chip.filter(|chip| chip.cryptogram_name == name).map(|chip| chip.cryptogram.clone());
    let cvm = match (facts.record, chip) {
        (Some(record), _) if record.with_pin => Some(Cvm::Pin),
        (_, Some(chip)) if chip.on_device => Some(Cvm::Cdcvm),
        _ => None,
    };
    Some(CardResult {
        masked_pan: masked,
        kind: None,
        issuer: facts.record.and_then(|record| record.issuer.clone()),
        acquirer: facts.record.and_then(|record| record.acquirer.clone()),
        entry,
        aid: chip.map(|chip| chip.aid.clone()),
        app_label: chip.map(|chip| chip.label.clone()),
        tc: cryptogram("TC"),
        arqc: cryptogram("ARQC"),
        tvr: chip.map(|chip| chip.tvr.clone()),
        tsi: chip.map(|chip| chip.tsi.clone()),
        atc: chip.map(|chip| chip.atc.clone()),
        psn: chip.map(|chip| format!("{:03}", chip.sequence)),
        cvm,
    })
}

/// The response to an errand.
pub(super) fn done(id: &RequestId, said: Result<&HostSays, &Trouble>, lang: Option<Lang>) -> Response {
    let of = |code| Response::of(code, Outcome::None, Some(id.clone()));
    match said {
        Ok(says) => {
            let code = match says.status {
                Some(HostStatus::NoAnswer) => CallCode::NoAnswer,
                _ => CallCode::Handled,
            };
            let notices = says.notices.join("; ");
            let mut response = of(code);
            host_said(&mut response, says, lang);
            response.call_msg = Some(if notices.is_empty() { of_row(code, lang) } else { notices });
            response
        }
        Err(trouble) => {
            let code = trouble_code(trouble);
            Response { call_msg: Some(format!("{}: {}", of_row(code, lang), trouble.text)), ..of(code) }
        }
    }
}

fn of_row(code: CallCode, lang: Option<Lang>) -> String {
    wishes::told(code.row().zh, code.row().en, lang)
}

fn explained(code: CallCode, why: &Why, lang: Option<Lang>) -> String {
    let row = of_row(code, lang);
    match why {
        Why::Terminal(trouble) => format!("{row}: {}", trouble.text),
        Why::Device { text, .. } => format!("{row}: {text}"),
        Why::Card { reason } => format!("{row}: {reason}"),
        _ => row,
    }
}

fn code_of(why: &Why) -> (CallCode, Option<Reason>) {
    match why {
        Why::Host => (CallCode::Handled, None),
        Why::Cancelled => (CallCode::Cancelled, Some(Reason::Cancelled)),
        Why::TimedOut => (CallCode::TimedOut, Some(Reason::TimedOut)),
        Why::Supervisor => (CallCode::SupervisorDeclined, None),
        Why::Card { .. } | Why::CardRefused => (CallCode::Handled, Some(Reason::CardRefused)),
        Why::Reversed => (CallCode::Handled, Some(Reason::Reversed)),
        Why::NoAnswer => (CallCode::NoAnswer, None),
        Why::Interrupted => (CallCode::NotSent, Some(Reason::Interrupted)),
        Why::Device { kind, .. } if kind == "pin_pad" => (CallCode::PinPad, None),
        Why::Device { .. } => (CallCode::Reader, None),
        Why::Terminal(trouble) => (trouble_code(trouble), None),
    }
}

fn trouble_code(trouble: &Trouble) -> CallCode {
    match trouble.kind {
        TroubleKind::NoMasterKey => CallCode::KeyMissing,
        TroubleKind::MustSignIn => CallCode::NotSignedIn,
        TroubleKind::NoConnection => CallCode::NotSent,
        TroubleKind::ReversalPending | TroubleKind::RefundOpen => CallCode::ReversalPending,
        // A full batch is as good as one that is being settled: it must be settled first.
        TroubleKind::SettlementOpen | TroubleKind::BatchFull => CallCode::Settling,
        TroubleKind::NotFound | TroubleKind::NotPossible => CallCode::NoOriginal,
        TroubleKind::Input => CallCode::BadField,
        TroubleKind::Device if trouble.text == hal::ErrorKind::NoPaper.name() => CallCode::NoPaper,
        TroubleKind::Device => CallCode::Reader,
        TroubleKind::Other => CallCode::Internal,
    }
}
