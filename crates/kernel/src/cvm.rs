//! Verification of the holder: the card's list, rule by rule. Pure.

/// Terminal and payment, as far as the list asks for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub amount: u64,
    /// Currency of the payment is the card's.
    pub same_currency: bool,
    pub unattended: bool,
    pub cash: bool,
    pub cashback: bool,
    pub online_pin: bool,
    pub plain_pin: bool,
    pub signature: bool,
    pub none: bool,
    pub identity: bool,
}

/// A rule of the list that is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub code: u8,
    pub condition: u8,
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Fail,
    PlainPin {
        then_sign: bool,
    },
    OnlinePin,
    Signature,
    NoneNeeded,
    Identity,
    Unknown,
    /// Known, and this terminal cannot.
    Unsupported {
        pin: bool,
    },
}

impl Rule {
    /// The next rule if this one fails.
    pub(crate) const fn goes_on(self) -> bool {
        self.code & 0x40 != 0
    }

    pub(crate) const fn method(self, here: &Circumstances) -> Method {
        match self.code & 0x3F {
            0x00 => Method::Fail,
            0x01 if here.plain_pin => Method::PlainPin { then_sign: false },
            0x03 if here.plain_pin && here.signature => Method::PlainPin { then_sign: true },
            0x02 if here.online_pin => Method::OnlinePin,
            0x1E if here.signature => Method::Signature,
            0x1F if here.none => Method::NoneNeeded,
            0x20 if here.identity => Method::Identity,
            0x02 => Method::Unsupported { pin: true },
            // The card's own PIN is not used in China; a terminal without it is no broken PIN pad.
            0x01 | 0x03 | 0x04 | 0x05 | 0x1E | 0x1F | 0x20 => Method::Unsupported { pin: false },
            _ => Method::Unknown,
        }
    }

    const fn supported(self, here: &Circumstances) -> bool {
        !matches!(self.method(here), Method::Unsupported { .. } | Method::Unknown)
    }

    /// Whether the rule counts for this payment.
    const fn applies(self, here: &Circumstances, x: u64, y: u64) -> bool {
        match self.condition {
            0x00 => true,
            0x01 => here.cash && here.unattended,
            0x02 => !here.cash && !here.cashback,
            0x03 => self.supported(here),
            0x04 => here.cash && !here.unattended,
            0x05 => here.cashback,
            0x06 => here.same_currency && here.amount < x,
            0x07 => here.same_currency && here.amount > x,
            0x08 => here.same_currency && here.amount < y,
            0x09 => here.same_currency && here.amount > y,
            _ => false,
        }
    }
}

/// The first rule at or after place `from` that counts, and the place after it. None: the list is at its end.
pub(crate) fn next_rule(list: &[u8], from: usize, here: &Circumstances) -> Option<(Rule, usize)> {
    let (x, rest) = list.split_first_chunk::<4>()?;
    let (y, rules) = rest.split_first_chunk::<4>()?;
    let (x, y) = (u64::from(u32::from_be_bytes(*x)), u64::from(u32::from_be_bytes(*y)));
    let (pairs, _) = rules.as_chunks::<2>();
    pairs.iter().enumerate().skip(from).find_map(|(at, [code, condition])| {
        let rule = Rule { code: *code, condition: *condition };
        rule.applies(here, x, y).then_some((rule, at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Circumstances = Circumstances {
        amount: 10_000,
        same_currency: true,
        unattended: false,
        cash: false,
        cashback: false,
        online_pin: true,
        plain_pin: false,
        signature: true,
        none: false,
        identity: false,
    };

    fn methods(list: &str, here: &Circumstances) -> Vec<Method> {
        let list = hex::decode(list).unwrap();
        let mut from = 0;
        let mut out = Vec::new();
        while let Some((rule, next)) = next_rule(&list, from, here) {
            out.push(rule.method(here));
            from = next;
        }
        out
    }

    /// The list of the deck's cards on three terminals.
    #[test]
    fn the_decks_list() {
        let list = "000000000000000042031E031F00";
        assert_eq!(
            methods(list, &HERE),
            [Method::OnlinePin, Method::Signature, Method::Unsupported { pin: false }]
        );
        let no_pad = Circumstances { online_pin: false, ..HERE };
        assert_eq!(methods(list, &no_pad), [Method::Signature, Method::Unsupported { pin: false }]);
        let unattended = Circumstances { signature: false, none: true, ..HERE };
        assert_eq!(methods(list, &unattended), [Method::OnlinePin, Method::NoneNeeded]);
    }

    /// Under and over X and Y: at the amount itself neither holds.
    #[test]
    fn limits_of_the_list() {
        let list = "00002710000000001F061E074207";
        let at = |amount| methods(list, &Circumstances { amount, none: true, ..HERE });
        assert_eq!(at(9_999), [Method::NoneNeeded]);
        assert_eq!(at(10_000), []);
        assert_eq!(at(10_001), [Method::Signature, Method::OnlinePin]);
        assert_eq!(methods(list, &Circumstances { same_currency: false, amount: 1, ..HERE }), []);
    }

    #[test]
    fn unknown_codes_and_conditions() {
        assert_eq!(methods("000000000000000006000055", &HERE), [Method::Unknown]);
        assert_eq!(methods("00000000", &HERE), []);
        assert_eq!(methods("0000000000000000420042", &HERE), [Method::OnlinePin], "half a rule is none");
    }
}
