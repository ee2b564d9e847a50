//! `pay.v1` and the counter's own words: what a request is to the flow, and what an end is to a caller.

use pay::{
    CallCode, CallerId, CardResult, Currency, Cvm, EntryMode, Fen, Hint, Kind, Ledger, Merchant, Orig,
    Outcome, PayMethod, Reason, Receipt, Recover, Refusal, Request, RequestId, Response,
};
use receipt::{MaskedPan, Part, ReceiptDoc, Width, text};

use super::About;
use crate::flow::{
    self, Chore, Desk, Ending, Errand, HostSays, HostStatus, Trade, Trouble, TroubleKind, Why,
};
use crate::panel::Said;
use crate::shell::Facts;

/// After how many milliseconds a caller asks again for an outcome that is not known: a terminal at rest sends its
/// reversal every twenty seconds.
const ASK_AGAIN_MS: u32 = 20_000;

/// What a request is to the terminal. What it cannot honour is refused, never passed over.
pub(super) fn work(request: &Request, caller: &CallerId, ledger: &Ledger) -> Result<Said, Refusal> {
    offered(request)?;
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
            return Err(not_offered("type"));
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
        print: prints(request),
        skip_result: request.ui.as_ref().and_then(|ui| ui.skip_result_page) == Some(true),
    };
    if let Some(orig) = &request.orig
        && trade.names() != flow::Names::Nothing
    {
        name(&mut order, request.kind, orig, caller, ledger)?;
    }
    Ok(Said::Order(Box::new(order)))
}

/// What this terminal can do of what `pay.v1` knows.
fn offered(request: &Request) -> Result<(), Refusal> {
    let print = request.print.as_ref();
    let wrong = [
        ("tip", request.tip.is_some_and(|tip| tip.get() > 0)),
        ("pay_method", !matches!(request.pay_method, None | Some(PayMethod::Any | PayMethod::Card))),
        ("auth_code", request.auth_code.is_some()),
        ("notify", request.notify.is_some()),
        ("print.extra_lines", print.is_some_and(|print| !print.extra_lines.is_empty())),
        ("print.logo_id", print.is_some_and(|print| print.logo_id.is_some())),
        ("print.copies", print.is_some_and(|print| print.copies.is_some_and(|copies| copies > 1))),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        Some((field, _)) => Err(not_offered(field)),
        None => Ok(()),
    }
}

fn not_offered(field: &str) -> Refusal {
    Refusal::field(field, "this terminal does not offer it")
}

fn prints(request: &Request) -> flow::Print {
    use pay::request::PrintMode;
    match request.print.as_ref().map(|print| print.mode).unwrap_or_default() {
        PrintMode::Default | PrintMode::Both => flow::Print::Both,
        PrintMode::Merchant => flow::Print::Merchant,
        PrintMode::Customer => flow::Print::Cardholder,
        PrintMode::None | PrintMode::Caller => flow::Print::Nothing,
    }
}

fn errand(request: &Request, caller: &CallerId, what: Chore) -> Said {
    Said::Errand(Box::new(Errand {
        caller: caller.as_str().to_owned(),
        request_id: request.request_id.as_str().to_owned(),
        what,
        print: prints(request) != flow::Print::Nothing,
    }))
}

fn number(text: &Option<String>) -> Option<u32> {
    text.as_ref().and_then(|text| text.parse().ok())
}

/// Fills in what the order refers to. A caller's own trade is found by any of its keys. One of another terminal can be
/// named by the numbers of its slip where the protocol finds it by those, and the host judges; what is voided in this
/// terminal's batch must be the caller's own.
fn name(
    order: &mut flow::Order,
    kind: Kind,
    orig: &Orig,
    caller: &CallerId,
    ledger: &Ledger,
) -> Result<(), Refusal> {
    let missing = || Refusal::of(CallCode::NoOriginal);
    order.original = match ledger.original(caller, kind, orig) {
        Some(entry) => {
            let asked = order.amount.unwrap_or_default();
            if kind == Kind::Refund && entry.amount.is_some_and(|amount| asked > amount.get()) {
                return Err(Refusal::of(CallCode::AboveOriginal));
            }
            if kind == Kind::PreauthVoid && order.amount.is_none() {
                order.amount = entry.amount.map(Fen::get);
            }
            let refs = &entry.refs;
            flow::Original {
                trace: number(&refs.trace_no),
                reference: refs.ref_no.clone(),
                auth_code: refs.auth_no.clone(),
                date: refs.time.as_ref().and_then(|time| time.get(..4)).map(str::to_owned),
            }
        }
        None if orig.request_id.is_some() || orig.order_no.is_some() => return Err(missing()),
        None if order.trade.names() == flow::Names::Trace => return Err(missing()),
        None => flow::Original {
            trace: None,
            reference: orig.ref_no.as_ref().map(|text| text.as_str().to_owned()),
            auth_code: orig.auth_no.as_ref().map(|text| text.as_str().to_owned()),
            date: orig.date.as_ref().and_then(|date| {
                let date = date.as_str();
                date.get(date.len().saturating_sub(4)..).map(str::to_owned)
            }),
        },
    };
    if !order.original.is_named(order.trade.names()) {
        return Err(missing());
    }
    if order.trade == Trade::PreauthVoid && order.amount.is_none() {
        return Err(Refusal::field("amount", "missing: the original is not this terminal's"));
    }
    Ok(())
}

/// The response to an order that ended.
pub(super) fn ended(
    id: &RequestId,
    kind: Kind,
    ending: &Ending,
    print: flow::Print,
    facts: &Facts<'_>,
    about: &About,
) -> Response {
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
        call_msg: Some(explained(code, &ending.why)),
        reason: reason.filter(|_| outcome == Outcome::Declined),
        currency: kind.row().money.then_some(Currency::Cny),
        merchant: Some(Merchant { no: about.merchant.clone(), name: about.merchant_name.clone() }),
        terminal: Some(pay::Terminal { tid: about.terminal.clone(), sn: about.serial.clone() }),
        recover: (outcome == Outcome::Unknown)
            .then_some(Recover { hint: Hint::Query, next_query_ms: ASK_AGAIN_MS }),
        ..Response::of(code, outcome, Some(id.clone()))
    };
    if let Some(host) = &ending.host {
        host_said(&mut response, host);
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
    if print == flow::Print::Nothing && ending.outcome == flow::Outcome::Approved {
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

fn host_said(response: &mut Response, host: &HostSays) {
    response.resp_code.clone_from(&host.code);
    response.resp_msg = match (host.text_zh.as_str(), host.text_en.as_str()) {
        ("", "") => None,
        ("", one) | (one, "") => Some(one.to_owned()),
        (zh, en) => Some(format!("{zh} / {en}")),
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
pub(super) fn done(id: &RequestId, said: Result<&HostSays, &Trouble>) -> Response {
    let of = |code| Response::of(code, Outcome::None, Some(id.clone()));
    match said {
        Ok(says) => {
            let code = match says.status {
                Some(HostStatus::NoAnswer) => CallCode::NoAnswer,
                _ => CallCode::Handled,
            };
            let notices = says.notices.join("; ");
            let mut response = of(code);
            host_said(&mut response, says);
            response.call_msg = Some(if notices.is_empty() { of_row(code) } else { notices });
            response
        }
        Err(trouble) => {
            let code = trouble_code(trouble);
            Response { call_msg: Some(format!("{}: {}", of_row(code), trouble.text)), ..of(code) }
        }
    }
}

fn of_row(code: CallCode) -> String {
    format!("{} / {}", code.row().zh, code.row().en)
}

fn explained(code: CallCode, why: &Why) -> String {
    match why {
        Why::Terminal(trouble) => format!("{}: {}", of_row(code), trouble.text),
        Why::Device { text, .. } => format!("{}: {text}", of_row(code)),
        Why::Card { reason } => format!("{}: {reason}", of_row(code)),
        _ => of_row(code),
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
