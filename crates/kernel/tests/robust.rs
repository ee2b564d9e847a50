//! Cards and hosts that say anything: the kernel ends every payment, and never approves what no card approved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use cardsim::Interface as Side;
use kernel::{Answer, CardChannel, ChannelError, Interface, Kernel, StepKind};
use proptest::prelude::*;
use rig::{card, loaded, params, sale};

/// A good card whose answers are damaged now and then.
struct Damaged {
    inner: rig::Reader,
    damage: Vec<(usize, usize, u8)>,
    at: usize,
}

impl CardChannel for Damaged {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut answer = self.inner.transmit(apdu)?;
        let at = self.at;
        self.at += 1;
        for (command, place, with) in &self.damage {
            if *command == at && !answer.is_empty() {
                let place = place % answer.len();
                match with % 4 {
                    0 => answer[place] ^= with | 1,
                    1 => answer.truncate(place),
                    2 => answer.insert(place, *with),
                    _ => answer[place] = 0xFF,
                }
            }
        }
        Ok(answer)
    }
}

/// A card that says anything at all.
struct Noise(Vec<Vec<u8>>);

impl CardChannel for Noise {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut answer = self.0.pop().ok_or(ChannelError::Mute)?;
        answer.extend([0x90, 0x00]);
        Ok(answer)
    }
}

fn play(card: &mut dyn CardChannel, interface: Interface, field55: Vec<u8>) -> (StepKind, usize) {
    let mut kernel = loaded(&params());
    let mut step = kernel.start(sale(10_000, interface), card);
    let mut steps = 0;
    while !step.is_end() {
        steps += 1;
        assert!(steps < 100, "no end");
        let answer = match &step.kind {
            StepKind::SelectApp { .. } => Answer::AppChosen(0),
            StepKind::ConfirmApp { .. } => Answer::Confirmed,
            StepKind::NeedPin { .. } => Answer::PinEntered,
            _ => Answer::HostAnswer { code: *b"00", field55: field55.clone() },
        };
        step = kernel.resume(answer, card);
        let _ = (kernel.dump(), kernel.chip_data(), kernel.get_tlv(0x9F26));
    }
    (step.kind, steps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_damaged_answer_ends_the_payment_somehow(
        damage in proptest::collection::vec((0_usize..16, any::<usize>(), any::<u8>()), 1..4),
        tap in any::<bool>(),
    ) {
        let (side, interface) = if tap { (Side::Contactless, Interface::Contactless) } else { (Side::Contact, Interface::Contact) };
        let mut reader = Damaged { inner: card("L01", side, &[]), damage, at: 0 };
        play(&mut reader, interface, Vec::new());
    }

    #[test]
    fn a_card_that_says_anything_approves_nothing_in_the_slot(
        answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..40),
        tap in any::<bool>(),
    ) {
        let interface = if tap { Interface::Contactless } else { Interface::Contact };
        let (kind, _) = play(&mut Noise(answers), interface, Vec::new());
        let approved = matches!(kind, StepKind::Approved { .. });
        prop_assert!(!approved);
    }

    /// Whatever the host's field 55 is: a wrong issuer cryptogram never leads to an approval.
    #[test]
    fn any_field_55_of_the_host_is_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        arpc in any::<[u8; 10]>(),
    ) {
        play(&mut card("L01", Side::Contact, &[]), Interface::Contact, bytes);
        let mut wrong = vec![0x91, 0x0A];
        wrong.extend(arpc);
        let (kind, _) = play(&mut card("L01", Side::Contact, &[]), Interface::Contact, wrong);
        let reversed = matches!(&kind, StepKind::Declined { follow_up, .. } if follow_up.reversal == Some(*b"06"));
        prop_assert!(reversed);
    }
}
