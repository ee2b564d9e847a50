//! Two kernels, one card: ours and the contact flow of the crate `emv`, which shares no line with it but the recovery
//! of certificates. Both must send the same commands to the same card, in the same order, and find out the same.
//!
//! Known differences, both after the first cryptogram, where the comparison is by outcome alone: the other flow fills tag
//! 8A of the second cryptogram's list with zeros, and it takes no second signed cryptogram (its store refuses the
//! dynamic number a second time).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use cardsim::{CardGone, Interface as Side};
use emv::Tlv;
use emv::contact::online_processing::{OnlineAuthorisationOutcome, OnlineAuthorisationResponse};
use emv::contact::terminal::{Terminal, TerminalApplication};
use emv::contact::transaction::TransactionInputs;
use emv::contact::transaction_driver::Transaction;
use emv::contact::transaction_flow::{self, HostMediated, TransactionFlowStep};
use emv::core::apdu::{Command, Response};
use emv::core::card_reader::CardReader;
use emv::core::oda::CaPublicKey;
use emv::de::additional_terminal_capabilities::AdditionalTerminalCapabilities;
use emv::de::authorisation_response_code::AuthorisationResponseCode;
use emv::de::terminal_capabilities::TerminalCapabilities;
use emv::de::terminal_type::TerminalType;
use kernel::{Answer, CardChannel, ChannelError, Interface, Kernel, StepKind};
use rig::{Reader, TODAY, UNIONPAY, host, loaded, params, sale};

/// A card that writes down what it is asked.
struct Witness {
    reader: Reader,
    seen: Vec<String>,
}

impl Witness {
    fn new(id: &str, switches: &[&str]) -> Self {
        let mut profile = cardsim::deck::find(id).unwrap();
        if id == "L14" {
            profile.behaviour.clear(); // with its signature right: CDA
        }
        profile.behaviour.extend(switches.iter().map(|text| text.parse::<cardsim::Behaviour>().unwrap()));
        Self { reader: rig::powered(profile, Side::Contact), seen: Vec::new() }
    }
}

impl CardChannel for Witness {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        self.seen.push(hex::encode_upper(apdu));
        self.reader.transmit(apdu)
    }
}

impl CardReader for Witness {
    type Error = CardGone;

    fn transmit(&mut self, command: &Command) -> Result<Response, CardGone> {
        let bytes = command.to_bytes().unwrap();
        self.seen.push(hex::encode_upper(&bytes));
        Ok(Response::parse(&self.reader.0.transmit(&bytes)?).unwrap())
    }
}

fn their_terminal() -> Terminal {
    let application = |aid: &str| TerminalApplication {
        aid: hex::decode(aid).unwrap(),
        partial_match_allowed: true,
        application_version_number: [0x00, 0x30],
        terminal_floor_limit: 1,
        terminal_risk_management_data: None,
        default_ddol: Some(vec![0x9F, 0x37, 0x04]),
        default_tdol: None,
        tac_denial: Some([0x00, 0x10, 0x00, 0x00, 0x00]),
        tac_online: Some([0xD8, 0x40, 0x04, 0xF8, 0x00]),
        tac_default: Some([0xD8, 0x40, 0x00, 0xA8, 0x00]),
        rts_target_percentage: Some(0),
        rts_max_target_percentage: Some(0),
        rts_threshold_value: Some(0),
    };
    Terminal {
        terminal_type: TerminalType::parse(&[0x22]).unwrap(),
        terminal_capabilities: TerminalCapabilities::parse(&[0xE0, 0xF0, 0xC8]).unwrap(),
        additional_terminal_capabilities: AdditionalTerminalCapabilities::parse(&[
            0x60, 0x00, 0xF0, 0xA0, 0x01,
        ])
        .unwrap(),
        terminal_country_code: 156,
        terminal_identification: *b"00000001",
        ifd_serial_number: *b"POSPLAB1",
        merchant_category_code: 0x5311,
        merchant_identifier: *b"898000000000001",
        merchant_name_and_location: b"LAB".to_vec(),
        acquirer_identifier: None,
        cardholder_selection_and_confirmation_supported: true,
        applications: ["A000000333010101", "A000000333010102", "A000000333010103"].map(application).into(),
    }
}

fn their_inputs(amount: u64) -> TransactionInputs {
    TransactionInputs {
        amount_authorised: amount,
        amount_other: 0,
        transaction_currency_code: 156,
        transaction_currency_exponent: 2,
        transaction_date: TODAY,
        transaction_time: [0x10, 0x15, 0x30],
        transaction_type: 0,
        transaction_sequence_counter: 124,
        unpredictable_number: [0x1A, 0x2B, 0x3C, 0x4D],
    }
}

/// What a kernel found: commands up to the first cryptogram, verification results, and the end in a word.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    commands: Vec<String>,
    tvr: Vec<u8>,
    end: &'static str,
}

fn up_to_the_first_cryptogram(seen: &[String]) -> Vec<String> {
    let last = seen.iter().position(|command| command.starts_with("80AE")).map_or(seen.len(), |at| at + 1);
    seen[..last].to_vec()
}

fn theirs(id: &str, switches: &[&str], amount: u64) -> Found {
    let terminal = their_terminal();
    let modulus = cardsim::lab::ca(0xF1).unwrap().modulus();
    let keys = [CaPublicKey { rid: UNIONPAY, index: 0xF1, modulus, exponent: vec![3] }];
    let witness = Witness::new(id, switches);
    let pan = witness.reader.0.profile().pan.clone();
    let mut tx = Transaction::new(witness, &terminal, their_inputs(amount), HostMediated);
    let mut step = transaction_flow::start(&mut tx, &keys, &[], &[], Some(50)).unwrap();
    let mut end = "?";
    let mut tvr = None;
    for _ in 0..6 {
        step = match step {
            TransactionFlowStep::SelectApplication { mut candidates } => {
                let name = candidates[0].df_name.clone();
                transaction_flow::continue_with_application(
                    &mut tx,
                    &keys,
                    &[],
                    &[],
                    Some(50),
                    &mut candidates,
                    &name,
                )
                .unwrap()
            }
            TransactionFlowStep::CardholderVerification { .. } => {
                transaction_flow::submit_pin(&mut tx, &keys, Some(50), &[], |_| false).unwrap()
            }
            TransactionFlowStep::OnlineRequest { first_generate_ac } => {
                tvr.get_or_insert(tx.ctx.tvr.to_bytes().to_vec());
                // Inside a signature when the card signs its cryptograms.
                let cryptogram: [u8; 8] = first_generate_ac
                    .ac
                    .unwrap_or_else(|| tx.ctx.tag_store.get(emv::Tag(0x9F26)).unwrap().try_into().unwrap());
                // The request as our own message has it, from their data.
                let mut field55 = Vec::new();
                let mut put = |tag: u32, value: &[u8]| iso8583::tlv::write(&mut field55, tag, value);
                put(0x9F26, &cryptogram);
                put(0x9F10, first_generate_ac.iad.as_ref().unwrap());
                put(0x9F37, &[0x1A, 0x2B, 0x3C, 0x4D]);
                put(0x9F36, &first_generate_ac.atc);
                put(0x95, tvr.as_ref().unwrap());
                put(0x9A, &TODAY);
                put(0x9C, &[0]);
                put(0x9F02, &hex::decode(format!("{amount:012}")).unwrap());
                put(0x5F2A, &[0x01, 0x56]);
                put(0x82, &tx.ctx.aip.as_ref().unwrap().to_bytes());
                put(0x9F1A, &[0x01, 0x56]);
                put(0x9F03, &[0; 6]);
                let Answer::HostAnswer { field55, .. } = host(rig::Host::Approves, &pan, &field55) else {
                    panic!("no answer");
                };
                let proof = iso8583::tlv::find(&field55, 0x91).unwrap().map(<[u8]>::to_vec);
                let response = OnlineAuthorisationResponse {
                    authorisation_response_code: AuthorisationResponseCode::parse(b"00").unwrap(),
                    issuer_authentication_data: proof,
                    issuer_scripts: Vec::<Tlv>::new(),
                };
                transaction_flow::submit_authorisation_response(
                    &mut tx,
                    &first_generate_ac,
                    &response,
                    OnlineAuthorisationOutcome::Approved,
                )
                .unwrap()
            }
            TransactionFlowStep::Approved { .. } => {
                end = "approved";
                break;
            }
            TransactionFlowStep::Declined { .. } => {
                end = "declined";
                break;
            }
            TransactionFlowStep::Terminated { .. } => {
                end = "terminated";
                break;
            }
        };
    }
    let tvr = tvr.unwrap_or_else(|| tx.ctx.tvr.to_bytes().to_vec());
    Found { commands: up_to_the_first_cryptogram(&tx.card.seen), tvr, end }
}

fn ours(id: &str, switches: &[&str], amount: u64) -> Found {
    let mut kernel = loaded(&params());
    let mut witness = Witness::new(id, switches);
    let pan = witness.reader.0.profile().pan.clone();
    let mut step = kernel.start(sale(amount, Interface::Contact), &mut witness);
    let mut tvr = None;
    let end = loop {
        let answer = match &step.kind {
            StepKind::SelectApp { .. } => Answer::AppChosen(0),
            StepKind::NeedPin { .. } => Answer::PinEntered,
            StepKind::OnlineRequired { field55, .. } => {
                tvr.get_or_insert(step.tvr.to_vec());
                host(rig::Host::Approves, &pan, field55)
            }
            StepKind::Approved { .. } => break "approved",
            StepKind::Declined { .. } => break "declined",
            StepKind::Terminated { .. } => break "terminated",
            other => panic!("{other:?}"),
        };
        step = kernel.resume(answer, &mut witness);
    };
    let tvr = tvr.unwrap_or_else(|| step.tvr.to_vec());
    Found { commands: up_to_the_first_cryptogram(&witness.seen), tvr, end }
}

#[test]
fn two_kernels_ask_the_same_of_a_card() {
    let cards = ["L01", "L02", "L03", "L04", "L05", "L06", "L07", "L10", "L11", "L12"];
    for id in cards {
        for amount in [1, 10_000, 99_999_999] {
            assert_eq!(ours(id, &[], amount), theirs(id, &[], amount), "{id} {amount}");
        }
    }
    for switches in [
        &["bad_sdad"][..],
        &["bad_cert"],
        &["unknown_tags"],
        &["long_records"],
        &["sw(CA,6A88)"],
        &["ac2(aac)"],
        &["arpc(bad)"],
        &["arpc(absent)"],
    ] {
        assert_eq!(ours("L01", switches, 10_000), theirs("L01", switches, 10_000), "{switches:?}");
    }
}

/// A card that signs its cryptograms (CDA): the same commands, and both find the first signature right.
#[test]
fn two_kernels_believe_the_same_signature() {
    for amount in [1, 10_000] {
        let (ours, theirs) = (ours("L14", &[], amount), theirs("L14", &[], amount));
        assert_eq!((&ours.commands, &ours.tvr, ours.end), (&theirs.commands, &theirs.tvr, "approved"));
        assert!(ours.commands.last().unwrap().starts_with("80AE90"), "a signature is asked for");
    }
}
