//! An order to the host: what was presented becomes the protocol's card, the order its request.

use std::sync::{Arc, PoisonError};

use hsm::EncryptedPinBlock;
use kernel::Answer;
use pos::{
    Adjustment, AuthorisedRequest, BalanceRequest, CardInput, Entry, OfflineSaleRequest, Points, PosError,
    ReadCard, RefundRequest, SaleRequest, SharedChip, Terminal, VoidRequest,
};
use zeroize::Zeroizing;

use super::{Lit, Presented, Shell};
use crate::chip::held;
use crate::flow::{self, Event, HostStatus, Order, Reading, Trade};
use crate::host;

impl Shell {
    pub(super) fn send(&mut self, reading: Reading) -> Lit<Event> {
        let Some(order) = self.flow.order().cloned() else {
            return Ok(Event::Failed(host::trouble(&PosError::Input("there is no order".into()))));
        };
        let cards = self.read_card(&order);
        let sent = self.ask(async |terminal| request(terminal, &order, cards, entry(reading)).await)?;
        Ok(match sent {
            Ok(outcome) => {
                let mut said = host::says(&outcome, self.terminal.last_record());
                said.sign = self.terminal.wants_signature(said.trace).filter(|_| outcome.approved);
                // A kernel that waits for a host that did not answer must come to its end.
                if said.status == Some(HostStatus::NoAnswer)
                    && let Presented::Chip(payment) = &self.presented
                {
                    held(payment).resume(Answer::HostUnreachable);
                }
                self.signal(
                    if outcome.approved { hal::Beep::Success } else { hal::Beep::Error },
                    outcome.approved.then_some(3),
                );
                Event::Host(Box::new(said))
            }
            Err(error) => Event::Failed(host::trouble(&error)),
        })
    }

    /// The card as the protocol takes it; nothing where the order names an earlier transaction.
    fn read_card(&mut self, order: &Order) -> Option<Cards> {
        let chip = order.trade.uses_chip();
        let presented = card_of(&self.presented, self.pin_block.take(), chip);
        let cards = match self.payer.take() {
            Some((payer, pin_block)) => Cards { card: card_of(&payer, pin_block, false)?, purse: presented },
            None => Cards { card: presented?, purse: None },
        };
        Some(cards)
    }
}

/// The card that pays, and the one that is loaded where that is another.
struct Cards {
    card: ReadCard,
    purse: Option<ReadCard>,
}

/// What was presented, as the protocol takes it. `chip`: its kernel takes part.
fn card_of(presented: &Presented, pin_block: Option<EncryptedPinBlock>, chip: bool) -> Option<ReadCard> {
    Some(match presented {
        Presented::Nothing | Presented::Card(_) => return None,
        Presented::Stripe(data) => ReadCard {
            pan: data.pan.clone(),
            expiry: Some(data.expiry.clone()),
            track2: data.track2.as_ref().map(|track| Zeroizing::new(track.reveal().replace('=', "D"))),
            sequence: None,
            chip: None,
            pin_block,
        },
        Presented::Keyed(pan, expiry) => ReadCard {
            pan: hal::CardNumber::clear(&pan.0),
            expiry: expiry.clone(),
            track2: None,
            sequence: None,
            chip: None,
            pin_block,
        },
        Presented::Chip(payment) => {
            let data = held(payment).data()?;
            let own = Arc::clone(payment);
            let shared: SharedChip = own;
            ReadCard {
                pan: data.pan,
                expiry: Some(data.expiry.as_str().to_owned()).filter(|expiry| expiry.len() == 4),
                track2: data.track2,
                sequence: data.sequence,
                chip: chip.then_some(shared),
                pin_block,
            }
        }
    })
}

fn entry(reading: Reading) -> Entry {
    match reading {
        Reading::Swipe => Entry::Swipe,
        Reading::Fallback => Entry::Fallback,
        Reading::Chip => Entry::Chip,
        Reading::Tap => Entry::Tap,
        Reading::Keyed => Entry::Manual,
    }
}

/// Whether the chip has approved by itself. One that has declined never comes so far.
fn has_approved(card: Option<&CardInput>) -> bool {
    let Some(CardInput::Read(ReadCard { chip: Some(chip), .. })) = card else { return false };
    !chip.lock().unwrap_or_else(PoisonError::into_inner).goes_online()
}

async fn request(
    terminal: &mut Terminal,
    order: &Order,
    cards: Option<Cards>,
    entry: Entry,
) -> Result<pos::Outcome, PosError> {
    let missing = |what: &str| PosError::Input(format!("{what} is missing"));
    let (card, purse) = match cards {
        Some(Cards { card, purse }) => (Some(CardInput::Read(card)), purse.map(CardInput::Read)),
        None => (None, None),
    };
    let amount = order.amount.ok_or_else(|| missing("the amount"));
    let trace = order.original.trace.ok_or_else(|| missing("the voucher number"));
    let text = |text: &Option<String>, what: &str| text.clone().ok_or_else(|| missing(what));
    let sale = |card: Option<CardInput>| -> Result<SaleRequest, PosError> {
        Ok(SaleRequest {
            amount_fen: order.amount.ok_or_else(|| missing("the amount"))?,
            card: card.ok_or_else(|| missing("the card"))?,
            entry,
            pin: None,
        })
    };
    match order.trade {
        // A card that has approved is not asked twice, nor is the host before its upload.
        Trade::Sale if has_approved(card.as_ref()) => {
            let SaleRequest { amount_fen, card, entry, .. } = sale(card)?;
            terminal.offline_sale(OfflineSaleRequest { amount_fen, card, entry, auth_code: None }).await
        }
        Trade::Sale => terminal.sale(sale(card)?).await,
        Trade::Preauth => terminal.preauth(sale(card)?).await,
        Trade::Instalment => {
            let periods = order.periods.ok_or_else(|| missing("the number of instalments"))?;
            terminal.instalment(sale(card)?, periods, "").await
        }
        Trade::PointsSale => {
            let points = match order.points.ok_or_else(|| missing("whose points"))? {
                flow::Points::Issuer => Points::Issuer,
                flow::Points::Alliance => Points::Alliance,
            };
            terminal.points_sale(sale(card)?, points, "").await
        }
        Trade::Load => terminal.load(sale(card)?).await,
        Trade::TransferLoad => {
            let purse = purse.ok_or_else(|| missing("the card that is loaded"))?;
            terminal.load_from(sale(card)?, purse).await
        }
        Trade::CashLoad => terminal.load_cash(sale(card)?).await,
        Trade::Balance => {
            let card = card.ok_or_else(|| missing("the card"))?;
            terminal.balance(BalanceRequest { card, entry, pin: None }).await
        }
        Trade::Void | Trade::PreauthCompleteVoid | Trade::CashLoadVoid => {
            let card = card.map(|card| (card, entry));
            terminal.void(VoidRequest { trace: trace?, card, pin: None }).await
        }
        Trade::Refund | Trade::ChipRefund => {
            let refund = RefundRequest {
                amount_fen: amount?,
                card: card.ok_or_else(|| missing("the card"))?,
                entry,
                pin: None,
                original_rrn: text(&order.original.reference, "the reference number")?,
                original_date: text(&order.original.date, "the date")?,
            };
            match order.trade {
                Trade::ChipRefund => terminal.refund_chip(refund).await,
                _ => terminal.refund(refund).await,
            }
        }
        Trade::PreauthVoid | Trade::PreauthComplete => {
            let request = AuthorisedRequest {
                amount_fen: amount?,
                card: card.ok_or_else(|| missing("the card"))?,
                entry,
                pin: None,
                auth_code: text(&order.original.auth_code, "the authorisation code")?,
                date: text(&order.original.date, "the date")?,
                numbers: None,
            };
            match order.trade {
                Trade::PreauthVoid => terminal.void_preauth(request).await,
                _ => terminal.complete(request).await,
            }
        }
        Trade::OfflineSale | Trade::OfflineChip => {
            let card = card.ok_or_else(|| missing("the card"))?;
            let auth_code = order.original.auth_code.clone();
            terminal.offline_sale(OfflineSaleRequest { amount_fen: amount?, card, entry, auth_code }).await
        }
        Trade::Tip => terminal.adjust(trace?, Adjustment::Tip(amount?)).await,
    }
}
