//! Rules that a request must keep, told from the request, its record and the merchant alone. Pure.

use acquiring::card::may_hold_number;
use acquiring::kind::{Hold, Kind, KindSpec, Side};
use acquiring::payment::PaymentRecord;
use acquiring::{Pan, ResponseCode, Secret};

use crate::Refusal;
use crate::authenticate::Authenticated;
use crate::payment::PaymentRequest;

/// Whether the transaction has an amount: it is a mandatory field then.
pub(crate) fn has_amount(spec: &KindSpec) -> bool {
    spec.mandatory.has(4)
}

/// Whether it gives back what was taken, which no rule about the card forbids.
pub(crate) fn is_undoing(spec: &KindSpec) -> bool {
    spec.stands_on.is_some_and(|rule| matches!(rule.hold, Hold::Cancel | Hold::Repay))
}

/// Rules that need nothing but the request and the merchant.
pub(crate) fn check_request(
    auth: &Authenticated,
    request: &PaymentRequest,
    record: &PaymentRecord,
    pan: &Pan,
) -> Result<(), Refusal> {
    let refuse = |code, reason| Err(Refusal::new(code, reason));
    if request.currency != 156 {
        return refuse(ResponseCode::FORMAT_ERROR, "currency is not 156");
    }
    if has_amount(auth.spec) && record.amount.is_zero() {
        return refuse(ResponseCode::INVALID_AMOUNT, "amount is zero");
    }
    if (auth.spec.side == Side::Debit || auth.spec.kind == Kind::Preauth)
        && auth.entry.merchant.limit_single.is_some_and(|limit| record.amount > limit)
    {
        return refuse(ResponseCode::OVER_LIMIT, "above the merchant's limit");
    }
    if auth.spec.chip_data && request.entry_mode.is_chip() && request.chip.is_none() {
        return refuse(ResponseCode::FORMAT_ERROR, "chip read without chip data");
    }
    let plan = request.plan.as_deref();
    match auth.spec.kind {
        Kind::Instalment if !plan.is_some_and(is_plan) => {
            return refuse(ResponseCode::FORMAT_ERROR, "field 62 has no periods and item");
        }
        Kind::PointsSale if !plan.is_some_and(is_points) => {
            return refuse(ResponseCode::FORMAT_ERROR, "field 60.7 names no points, or 62 no item");
        }
        // Its reversal must say the item again, and what could be a card number is not kept for that.
        Kind::Instalment | Kind::PointsSale if plan.is_some_and(|plan| may_hold_number(item_of(plan))) => {
            return refuse(ResponseCode::FORMAT_ERROR, "the item code could be a card number");
        }
        Kind::TransferLoad => check_transfer(request, pan)?,
        _ => {}
    }
    if request.entry_mode.has_pin() != request.pin.is_some() {
        return refuse(ResponseCode::FORMAT_ERROR, "entry mode and PIN disagree");
    }
    Ok(())
}

/// Characters of an item code.
const ITEM: usize = 30;

/// The item code, which is the end of an instalment's or points sale's text.
fn item_of(plan: &str) -> &str {
    plan.len().checked_sub(ITEM).and_then(|from| plan.get(from..)).unwrap_or(plan)
}

/// Periods, two digits, at least 2; then the item code, 30 characters of which some may be blank.
fn is_plan(text: &str) -> bool {
    let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let periods = digits.and_then(|digits| digits.parse::<u8>().ok());
    printable && text.len() == 2 + ITEM && periods.is_some_and(|periods| periods >= 2)
}

/// Whose points (60.7): 048 of the issuer, 065 of the alliance; then the item code.
fn is_points(text: &str) -> bool {
    let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    printable && text.len() == 3 + ITEM && matches!(text.get(..3), Some("048" | "065"))
}

/// The purse is in the chip of another card than the one that pays; the chip data is the purse's, so that the card that
/// pays is not read by its own chip (modelled).
fn check_transfer(request: &PaymentRequest, pan: &Pan) -> Result<(), Refusal> {
    let refuse = |code, reason| Err(Refusal::new(code, reason));
    let Some(purse) = &request.transfer_in else {
        return refuse(ResponseCode::FORMAT_ERROR, "fields 48 and 62 name no card to load");
    };
    if !purse.entry_mode.is_chip() || request.entry_mode.is_chip() {
        return refuse(ResponseCode::FORMAT_ERROR, "entry modes of the two cards do not fit");
    }
    if purse.pan == *pan {
        return refuse(ResponseCode::INVALID_TRANSACTION, "both cards are the same");
    }
    Ok(())
}

/// The account number, from field 2, track 2 or the chip; where two are given they must agree.
pub(crate) fn account_number(request: &PaymentRequest, track2: Option<&Secret>) -> Result<Pan, Refusal> {
    let from_track = match track2 {
        Some(track) => Some(
            Pan::from_track2(track.reveal_text())
                .map_err(|_| Refusal::new(ResponseCode::INVALID_CARD, "track 2 has no account number"))?,
        ),
        None => None,
    };
    let mut found: Option<&Pan> = None;
    for candidate in
        [request.pan.as_ref(), from_track.as_ref(), request.chip_pan.as_ref()].into_iter().flatten()
    {
        match found {
            Some(pan) if pan != candidate => {
                return Err(Refusal::new(ResponseCode::CARD_CHECK, "account numbers disagree"));
            }
            _ => found = Some(candidate),
        }
    }
    found.cloned().ok_or(Refusal::new(ResponseCode::FORMAT_ERROR, "no account number"))
}
