//! Restrictions, risk and the terminal's decision. Pure.

use crate::params::Application;

/// What the payment asks of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Cash,
    Goods,
}

/// Whether the card's usage control (9F07) allows it. `domestic`: issuer and terminal are in the same country.
pub(crate) const fn usage_allows(
    usage: [u8; 2],
    service: Service,
    domestic: bool,
    atm: bool,
    cashback: bool,
) -> bool {
    let [first, second] = usage;
    let place = if atm { 0x02 } else { 0x01 };
    let what = match (service, domestic) {
        (Service::Cash, true) => first & 0x80 != 0,
        (Service::Cash, false) => first & 0x40 != 0,
        (Service::Goods, true) => first & 0x28 != 0,
        (Service::Goods, false) => first & 0x14 != 0,
    };
    let back = if domestic { second & 0x80 != 0 } else { second & 0x40 != 0 };
    first & place != 0 && what && (!cashback || back)
}

/// Whether a payment below the floor limit is chosen to go online. `draw` is below 100.
pub(crate) fn chosen(amount: u64, floor: u64, app: &Application, draw: u8) -> bool {
    if amount >= floor {
        return false; // it goes online anyway
    }
    let (target, most) = (u64::from(app.target), u64::from(app.max_target.max(app.target)));
    let percent = if amount < app.threshold {
        target
    } else {
        let span = floor.saturating_sub(app.threshold).max(1);
        target + (most - target) * amount.saturating_sub(app.threshold) / span
    };
    u64::from(draw % 100) < percent
}

/// Consecutive offline payments: over the lower limit, over the upper limit, never online. Without counters both limits
/// count as exceeded.
pub(crate) fn velocity(
    atc: Option<u16>,
    last_online: Option<u16>,
    limits: Option<(u8, u8)>,
) -> (bool, bool, bool) {
    let new = last_online == Some(0);
    let Some((lower, upper)) = limits else { return (false, false, new) };
    match (atc, last_online) {
        (Some(atc), Some(last)) if atc > last => {
            let gap = atc - last;
            (gap > u16::from(lower), gap > u16::from(upper), new)
        }
        _ => (true, true, new),
    }
}

/// What the terminal asks the card for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Aac,
    Tc,
    Arqc,
}

/// Whether a result is one of those that the codes of terminal or issuer name.
pub(crate) fn meets(tvr: [u8; 5], terminal: [u8; 5], issuer: [u8; 5]) -> bool {
    tvr.iter().zip(terminal.iter().zip(issuer)).any(|(bits, (tac, iac))| bits & (tac | iac) != 0)
}

/// Terminal action analysis: denial, then online, else offline. `iac` is denial and online.
pub(crate) fn analyse(tvr: [u8; 5], app: &Application, iac: ([u8; 5], [u8; 5]), online_only: bool) -> Wanted {
    let (denial, online) = iac;
    if meets(tvr, app.tac_denial, denial) {
        Wanted::Aac
    } else if online_only || meets(tvr, app.tac_online, online) {
        Wanted::Arqc
    } else {
        Wanted::Tc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::parse_application;

    fn app() -> Application {
        let record = "9F0608A0000003330101019F08020030DF1105D84000A800DF1205D84004F800DF130500100000009F1B0400002710DF150400001388DF160180DF170120";
        parse_application(&hex::decode(record).unwrap()).unwrap()
    }

    /// Below the threshold one percentage, then rising to the other at the floor limit; above it no draw.
    #[test]
    fn the_random_choice_is_biased_by_the_amount() {
        let app = app();
        let share = |amount| (0..100).filter(|draw| chosen(amount, app.floor, &app, *draw)).count();
        assert_eq!(share(100), 20);
        assert_eq!(share(5_000), 20);
        assert_eq!(share(7_500), 50);
        assert_eq!(share(9_999), 79);
        assert_eq!(share(10_000), 0);
    }

    #[test]
    fn velocity_needs_both_counters() {
        assert_eq!(velocity(Some(5), Some(3), Some((1, 3))), (true, false, false));
        assert_eq!(velocity(Some(7), Some(3), Some((1, 3))), (true, true, false));
        assert_eq!(velocity(Some(4), Some(3), Some((1, 3))), (false, false, false));
        assert_eq!(velocity(None, Some(3), Some((1, 3))), (true, true, false));
        assert_eq!(velocity(Some(1), Some(0), None), (false, false, true));
    }

    #[test]
    fn denial_goes_before_online() {
        let app = app();
        let zero = [0; 5];
        let over_floor = [0, 0, 0, 0x80, 0];
        let not_allowed = [0, 0x10, 0, 0x80, 0];
        let all = [0xFF; 5];
        assert_eq!(analyse(zero, &app, (zero, zero), false), Wanted::Tc);
        assert_eq!(analyse(zero, &app, (zero, all), true), Wanted::Arqc);
        assert_eq!(analyse(over_floor, &app, (zero, zero), false), Wanted::Arqc);
        assert_eq!(analyse(not_allowed, &app, (zero, zero), false), Wanted::Aac);
        assert_eq!(analyse(over_floor, &app, ([0, 0, 0, 0x80, 0], zero), false), Wanted::Aac);
    }

    #[test]
    fn usage_control() {
        assert!(usage_allows([0xFF, 0x00], Service::Goods, true, false, false));
        assert!(!usage_allows([0xFF, 0x00], Service::Goods, true, false, true));
        assert!(!usage_allows([0x7F, 0x00], Service::Cash, true, false, false));
        assert!(
            !usage_allows([0xFE, 0x00], Service::Goods, true, false, false),
            "not at a terminal in a shop"
        );
        assert!(usage_allows([0x15, 0x00], Service::Goods, false, false, false));
    }
}
