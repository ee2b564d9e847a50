//! What a caller wants beside its payment, field by field: honoured, or refused by the name of the field. Nothing is passed
//! over: a caller that asked for two copies and got one would think it had them.

use pay::request::{Goods, PrintMode};
use pay::{Kind, PayMethod, Refusal, Request};

use crate::flow::{self, Lang, Wishes};

/// Characters of the line about what is bought, at most: what a small screen has beside an amount.
const NOTE_MAX: usize = 128;

/// Whether a payer stands at the terminal for it.
const fn is_counter(kind: Kind) -> bool {
    !matches!(kind, Kind::Settle | Kind::SignIn | Kind::SignOut | Kind::Reprint)
}

/// What this terminal can do of what `pay.v1` knows.
pub(super) fn offered(request: &Request) -> Result<(), Refusal> {
    let (kind, row) = (request.kind, request.kind.row());
    let (print, ui, order) = (request.print.as_ref(), request.ui.as_ref(), request.order.as_ref());
    let counter = is_counter(kind);
    let printable = match (kind, mode(request)) {
        (_, PrintMode::Default) => true,
        (Kind::Reprint, mode) => !matches!(mode, PrintMode::None | PrintMode::Caller),
        (Kind::Settle, mode) => matches!(mode, PrintMode::None | PrintMode::Merchant),
        (_, PrintMode::None) => true,
        _ => row.money,
    };
    let wrong = [
        ("amount", request.amount.is_some() && !row.money),
        ("tip", request.tip.is_some_and(|tip| tip.get() > 0)),
        (
            "pay_method",
            !matches!(request.pay_method, None | Some(PayMethod::Any))
                && (request.pay_method != Some(PayMethod::Card) || !counter),
        ),
        ("lock_method", request.lock_method == Some(true) && request.pay_method != Some(PayMethod::Card)),
        ("auth_code", request.auth_code.is_some()),
        ("order.desc", !counter && order.is_some_and(|order| order.desc.is_some())),
        ("order.goods", !counter && order.is_some_and(|order| order.goods.is_some())),
        ("order.operator_id", !counter && order.is_some_and(|order| order.operator_id.is_some())),
        ("order.store_id", order.is_some_and(|order| order.store_id.is_some())),
        ("order.table_no", !counter && order.is_some_and(|order| order.table_no.is_some())),
        ("orig", request.orig.is_some() && !row.orig),
        ("notify", request.notify.is_some()),
        ("print.mode", !printable),
        ("print.extra_lines", print.is_some_and(|print| !print.extra_lines.is_empty())),
        ("print.logo_id", print.is_some_and(|print| print.logo_id.is_some())),
        ("print.copies", print.is_some_and(|print| print.copies.is_some_and(|copies| copies > 1))),
        ("ui.allow_cancel", ui.is_some_and(|ui| ui.allow_cancel == Some(false))),
        ("ui.lang", ui.is_some_and(|ui| ui.lang.is_some()) && lang(request).is_none()),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        Some((field, _)) => Err(not_offered(field)),
        None => Ok(()),
    }
}

pub(super) fn not_offered(field: &str) -> Refusal {
    Refusal::field(field, "this terminal does not offer it")
}

pub(super) fn mode(request: &Request) -> PrintMode {
    request.print.as_ref().map(|print| print.mode).unwrap_or_default()
}

pub(super) fn prints(request: &Request) -> flow::Print {
    match mode(request) {
        PrintMode::Default | PrintMode::Both => flow::Print::Both,
        PrintMode::Merchant => flow::Print::Merchant,
        PrintMode::Customer => flow::Print::Cardholder,
        PrintMode::None | PrintMode::Caller => flow::Print::Nothing,
    }
}

/// The language that is asked for, when it is one of ours.
pub(super) fn lang(request: &Request) -> Option<Lang> {
    match request.ui.as_ref()?.lang.as_ref()?.as_str() {
        "zh" => Some(Lang::Zh),
        "en" => Some(Lang::En),
        _ => None,
    }
}

pub(super) fn of(request: &Request) -> Wishes {
    let order = request.order.as_ref();
    Wishes {
        lang: lang(request),
        note: note(request),
        result_ms: request.ui.as_ref().and_then(|ui| ui.result_timeout_ms),
        operator: order.and_then(|order| order.operator_id.as_ref()).map(|text| text.as_str().to_owned()),
    }
}

/// What is bought, item by item where the caller says so, and at which table; cut where the screen ends.
fn note(request: &Request) -> Option<String> {
    let order = request.order.as_ref()?;
    let desc = order.desc.as_ref().map(|text| text.as_str().to_owned());
    let goods = order.goods.iter().flatten().map(item);
    let table = order.table_no.as_ref().map(|text| format!("桌 / table {}", text.as_str()));
    let parts: Vec<String> =
        desc.into_iter().chain(goods).chain(table).filter(|part| !part.is_empty()).collect();
    let line = parts.join(" · ");
    if line.is_empty() {
        return None;
    }
    if line.chars().count() <= NOTE_MAX {
        return Some(line);
    }
    Some(line.chars().take(NOTE_MAX - 1).chain(['…']).collect())
}

fn item(goods: &Goods) -> String {
    let mut text = goods.name.as_str().to_owned();
    if let Some(quantity) = goods.quantity {
        text.push_str(&format!(" ×{quantity}"));
    }
    if let Some(price) = goods.price {
        let fen = price.get();
        text.push_str(&format!(" ¥{}.{:02}", fen / 100, fen % 100));
    }
    text
}

/// A text in the language asked for, or in both.
pub(super) fn told(zh: &str, en: &str, lang: Option<Lang>) -> String {
    match lang {
        Some(Lang::Zh) => zh.to_owned(),
        Some(Lang::En) => en.to_owned(),
        None => format!("{zh} / {en}"),
    }
}
