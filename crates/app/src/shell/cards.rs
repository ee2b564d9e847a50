//! The card: finding it, its kernel, its PIN, taking it away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hal::{
    Beep, CardDetector, Deadline, DetectRequest, ErrorKind, Found, HalError, IccReader, KernelProvider,
    OnlinePin, PinPad, PinRequest, PowerUp, RfReader, SwipeRequest, Tracks,
};
use iso8583::tlv;
use jiff::civil::DateTime;
use kernel::{
    AbortReason, Answer, BypassRule, Interface, Kernel, KernelParams, Other, Reason, Step, StepKind,
    TerminalData, TransParams,
};
use pos::CardInput;

use super::{Dark, Lit, Presented, Shell};
use crate::chip::{ChipPayment, Reader, held, reason};
use crate::faults::device;
use crate::flow::{Card, Event, KernelCall, KernelSays, Mark, PinSays, Trade, Trouble, TroubleKind, Why};
use crate::keys::DeviceKeys;
use crate::view::Hint;

/// A card that left the antenna after it had approved and before the terminal could read that (闪卡). What has not been
/// read is thrown away, and the same card is asked once more, this time for the host: the issuer decides, and a card that
/// has counted the payment already puts its counters right with it.
pub(super) struct Torn {
    /// Its number, where it had told it.
    pan: Option<hal::CardNumber>,
    /// Until then it may finish.
    until: Deadline,
}

/// How long "take your card" waits before the terminal goes on.
const REMOVAL: Duration = Duration::from_secs(120);

impl Shell {
    /// The card that pays stays at hand while the one that is loaded is asked for.
    pub(super) fn keep_payer(&mut self) {
        if self.payer.is_none() {
            let presented = std::mem::replace(&mut self.presented, Presented::Nothing);
            self.payer = Some((presented, self.pin_block.take()));
        }
    }

    pub(super) fn detect(&mut self, fallback: bool, stripe: bool, slot: bool, field: bool) -> Lit<Event> {
        self.presented = Presented::Nothing;
        self.pin_block = None;
        let request = DetectRequest {
            mag: stripe,
            icc: slot,
            rf: field,
            swipe: SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: self.readers_key() },
            fallback,
        };
        let found = self.open::<dyn CardDetector>().and_then(|detector| {
            let wait = self.torn.as_ref().map_or(self.config.card, |torn| {
                let once = Duration::from_secs(self.config.quickpass.torn_seconds.into());
                once.min(torn.until.remaining())
            });
            let call = detector.call_with(wait, &self.around.power);
            self.around.panel.cancels(Some(&call.cancel));
            let found = detector.get()?.detect(&request, &call);
            self.around.panel.cancels(None);
            found
        });
        let keyed = self.around.panel.keyed();
        Ok(match found {
            Ok(Found::Swiped(data)) => {
                self.signal(Beep::Ready, Some(0));
                let masked = data.pan.masked();
                self.presented = Presented::Stripe(data);
                Event::Card(Card::Swiped { masked })
            }
            Ok(Found::UseChip { .. }) => Event::Card(Card::UseChip),
            Ok(Found::Inserted) => {
                self.signal(Beep::Ready, Some(1));
                self.in_slot = true;
                self.presented = Presented::Card(true);
                Event::Card(Card::Inserted)
            }
            Ok(Found::Tapped(_)) => {
                self.signal(Beep::Ready, Some(2));
                self.presented = Presented::Card(false);
                Event::Card(Card::Tapped)
            }
            Err(error) => {
                let error = self.lit(error)?;
                match error.kind {
                    ErrorKind::UserCancelled => match keyed {
                        Some((pan, expiry)) if CardInput::keyed(&pan.0, expiry.as_deref()).is_err() => {
                            Event::Again(Hint::KeyAgain)
                        }
                        Some((pan, expiry)) => {
                            let masked = pos::mask(&pan.0);
                            self.presented = Presented::Keyed(pan, expiry);
                            Event::Card(Card::Keyed { masked })
                        }
                        None => Event::NoCard(Why::Cancelled),
                    },
                    ErrorKind::Timeout => Event::NoCard(Why::TimedOut),
                    ErrorKind::MultipleCards => Event::Again(Hint::OneCard),
                    ErrorKind::Comm => Event::Again(Hint::SwipeAgain),
                    _ => Event::Failed(device(&error)),
                }
            }
        })
    }

    /// The track key, where the reader enciphers what it reads.
    fn readers_key(&self) -> Option<hal::KeySlot> {
        let keys = self.terminal.working_keys().filter(|_| self.terminal.config().hides_numbers())?;
        keys.track.as_ref().and_then(|key| DeviceKeys::slot(key).ok())
    }

    pub(super) fn kernel(&mut self, call: KernelCall) -> Lit<Event> {
        let step = match call {
            KernelCall::Start => match self.power_up()? {
                Ok(payment) => {
                    let params = self.trans_params();
                    let step = held(&payment).start(params);
                    self.presented = Presented::Chip(payment);
                    step
                }
                Err(event) => return Ok(event),
            },
            KernelCall::Choose(index) => self.resume(Answer::AppChosen(index)),
            KernelCall::Confirmed => self.resume(Answer::Confirmed),
            KernelCall::PinEntered => self.resume(Answer::PinEntered),
            KernelCall::PinBypassed => self.resume(Answer::PinBypassed),
            KernelCall::Abort => {
                if let Presented::Chip(payment) = &self.presented {
                    held(payment).abort(AbortReason::Cancelled);
                }
                return Ok(Event::Kernel(KernelSays::Terminated("Aborted".to_owned())));
            }
        };
        if self.around.power.is_cancelled() {
            return Err(Dark);
        }
        match self.tear(&step) {
            Some(KernelSays::OtherCard) => self.other_card_leaves(),
            Some(says) => Ok(Event::Kernel(says)),
            None => Ok(Event::Kernel(self.says(&step))),
        }
    }

    /// What a step says of a card that was torn away, or should be it.
    fn tear(&mut self, step: &Step) -> Option<KernelSays> {
        let Presented::Chip(payment) = &self.presented else { return None };
        let mut payment = held(payment);
        let pan = payment.data().map(|data| data.pan);
        if step.reason == Reason::Torn {
            let seconds = self.config.quickpass.torn_record_seconds;
            let until = Deadline::after(Duration::from_secs(seconds.into()));
            self.torn.get_or_insert(Torn { pan, until });
            return Some(KernelSays::Torn);
        }
        let goes_on = matches!(
            step.kind,
            StepKind::NeedPin { .. } | StepKind::OnlineRequired { .. } | StepKind::Approved { .. }
        );
        let torn = self.torn.as_ref()?.pan.as_ref()?;
        (goes_on && pan.as_ref() != Some(torn)).then(|| {
            payment.abort(AbortReason::Other);
            KernelSays::OtherCard
        })
    }

    /// A card that is not the one that was torn away must leave, or it would be found again at once.
    fn other_card_leaves(&mut self) -> Lit<Event> {
        self.presented = Presented::Nothing;
        let until = self.torn.as_ref().map_or(Duration::ZERO, |torn| torn.until.remaining());
        let left = self.open::<dyn RfReader>().and_then(|reader| {
            reader.get()?.halt()?;
            let call = reader.call_with(until, &self.around.power);
            self.around.panel.cancels(Some(&call.cancel));
            let left = reader.get()?.wait_removed(&call);
            self.around.panel.cancels(None);
            left
        });
        match left {
            Ok(()) => Ok(Event::Kernel(KernelSays::OtherCard)),
            Err(error) => match self.lit(error)?.kind {
                ErrorKind::UserCancelled => Ok(Event::NoCard(Why::Cancelled)),
                _ => Ok(Event::NoCard(Why::TimedOut)),
            },
        }
    }

    /// An order that ends without the host having heard of a card that was torn away: the operator can look it up.
    pub(super) fn keep_torn(&mut self, mark: &Mark) -> Lit<()> {
        let Mark::Ended(ending) = mark else { return Ok(()) };
        let Some(torn) = self.torn.take().filter(|_| ending.host.is_none()) else { return Ok(()) };
        let card = torn.pan.map(|pan| pan.masked()).unwrap_or_default();
        let fen = self.flow.order().and_then(|order| order.amount).unwrap_or_default();
        let (yuan, cents) = (fen / 100, fen % 100);
        let text = format!(
            "闪卡 {card} {yuan}.{cents:02}: 卡片可能已扣款, 交易未完成 / torn tap: the card may have counted it, the payment did not happen"
        );
        if let Err(error) = self.ask(async |terminal| terminal.note(text).await)? {
            tracing::error!(%error, "a torn tap cannot be written down");
        }
        Ok(())
    }

    fn resume(&self, answer: Answer) -> Step {
        match &self.presented {
            Presented::Chip(payment) => held(payment).resume(answer),
            _ => Step {
                kind: StepKind::Terminated { follow_up: kernel::FollowUp::default() },
                tvr: [0; 5],
                tsi: [0; 2],
                reason: kernel::Reason::OutOfOrder,
            },
        }
    }

    /// Gives the card current and a kernel.
    fn power_up(&mut self) -> Lit<Result<Arc<Mutex<ChipPayment>>, Event>> {
        let in_slot = matches!(self.presented, Presented::Card(true));
        // The payment of the last try still holds its reader.
        self.presented = Presented::Nothing;
        let reaches = self.open::<dyn KernelProvider>().and_then(|lease| Ok(lease.get()?.reaches_card()));
        let reader = if reaches.is_ok_and(|reaches| reaches) {
            Ok(Reader::Own)
        } else if in_slot {
            self.open::<dyn IccReader>().and_then(|lease| {
                lease.get()?.power_up(&PowerUp::default())?;
                Ok(Reader::Slot(lease))
            })
        } else {
            self.open::<dyn RfReader>().and_then(|lease| {
                lease.get()?.activate()?;
                Ok(Reader::Field(lease))
            })
        };
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                let error = self.lit(error)?;
                let says = match error.kind {
                    ErrorKind::CardMute => KernelSays::Fallback,
                    ErrorKind::CardRemoved | ErrorKind::NoCard | ErrorKind::Comm if in_slot => {
                        KernelSays::Other(Hint::TryAgain)
                    }
                    ErrorKind::CardRemoved | ErrorKind::NoCard | ErrorKind::Comm => {
                        KernelSays::Other(Hint::Tap)
                    }
                    _ => return Ok(Err(Event::Failed(device(&error)))),
                };
                return Ok(Err(Event::Kernel(says)));
            }
        };
        let kernel = match self.loaded_kernel() {
            Ok(kernel) => kernel,
            Err(trouble) => return Ok(Err(Event::Failed(trouble))),
        };
        Ok(Ok(Arc::new(Mutex::new(ChipPayment::new(kernel, reader, self.around.power.clone())))))
    }

    fn loaded_kernel(&self) -> Result<Box<dyn Kernel>, Trouble> {
        let provider = self.open::<dyn KernelProvider>().map_err(|error| device(&error))?;
        let kernel = provider.get().and_then(|provider| provider.kernel());
        let mut kernel = kernel.map_err(|error| device(&error))?;
        let serial = self.terminal.config().serial.as_str();
        let last = serial.get(serial.len().saturating_sub(8)..).unwrap_or(serial);
        let serial: [u8; 8] = last.as_bytes().try_into().unwrap_or(*b"00000000");
        let (mut aids, capks) = self.terminal.chip_tables();
        if self.flow.order().is_some_and(|order| order.trade == Trade::OfflineChip) {
            let limit = self.terminal.config().offline_limit_fen;
            aids = aids.iter().map(|record| offline(record, limit)).collect();
        }
        let [y3, y2] = bcd::<2>(u64::from(self.terminal.now().year().unsigned_abs()));
        let [_, _, month, day] = self.month_day();
        let what = match self.terminal.config().hides_numbers() {
            true => TerminalData::mpos(serial),
            false => TerminalData::smart_pos(serial),
        };
        let params = KernelParams {
            aids,
            capks,
            revoked: Vec::new(),
            terminal: TerminalData {
                merchant_name: self.terminal.config().merchant.clone(),
                reversal_with_atc: self.terminal.config().reversal_with_atc,
                // The counter counts the tries: each begins with a fresh kernel.
                chip_tries: 1,
                ..what
            },
            quickpass: self.config.quickpass.clone(),
            today: [y3, y2, month, day],
            production: self.config.production,
        };
        match kernel.load(&params) {
            Ok(_) => Ok(kernel),
            Err(errors) => {
                let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Err(Trouble {
                    kind: TroubleKind::Other,
                    text: format!("the chip tables are damaged: {text}"),
                })
            }
        }
    }

    fn month_day(&self) -> [u8; 4] {
        let now = self.terminal.now();
        let part = |value: i8| u64::from(value.unsigned_abs());
        bcd(part(now.month()) * 100 + part(now.day()))
    }

    fn trans_params(&self) -> TransParams {
        let now = self.terminal.now();
        let order = self.flow.order();
        let trade = order.map_or(Trade::Sale, |order| order.trade);
        let amount = order.and_then(|order| order.amount).unwrap_or_default();
        let [_, year] = bcd::<2>(u64::from(now.year().unsigned_abs()));
        let [_, _, month, day] = self.month_day();
        let mut random = [0; 5];
        if let Ok(crypto) = self.open::<dyn hal::CryptoBox>()
            && let Ok(bytes) = crypto.get().and_then(|crypto| crypto.random(random.len()))
        {
            random.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
        }
        let [un @ .., draw] = random;
        let interface = if self.in_slot { Interface::Contact } else { Interface::Contactless };
        TransParams {
            kind: match trade {
                Trade::Preauth | Trade::PreauthComplete => 0x03,
                Trade::Refund => 0x20,
                Trade::Balance => 0x31,
                Trade::Load => 0x60,
                Trade::TransferLoad => 0x62,
                Trade::CashLoad => 0x63,
                Trade::CashLoadVoid => 0x17,
                _ => 0x00,
            },
            // Offline there is nobody to see it, and that of a purse is not asked for.
            pin_allowed: !matches!(trade, Trade::OfflineChip | Trade::TransferLoad),
            bypass: if trade.demands_pin() { BypassRule::Never } else { BypassRule::CreditOnly },
            draw: draw % 100,
            force_online: !self.in_slot && self.needs_host(trade),
            ..TransParams::sale(
                amount,
                [year, month, day],
                hms(now),
                self.terminal.next_trace(),
                un,
                interface,
            )
        }
    }

    /// Whether a tapped card may not approve by itself: only a sale can be without the host, and not after a torn tap.
    fn needs_host(&self, trade: Trade) -> bool {
        trade != Trade::OfflineChip && (trade != Trade::Sale || self.torn.is_some())
    }

    fn says(&self, step: &Step) -> KernelSays {
        let masked = || match &self.presented {
            Presented::Chip(payment) => {
                held(payment).data().map(|data| data.pan.masked()).unwrap_or_default()
            }
            _ => String::new(),
        };
        match &step.kind {
            StepKind::SelectApp { candidates } => {
                KernelSays::Select(candidates.iter().map(|candidate| candidate.label.clone()).collect())
            }
            StepKind::ConfirmApp { candidate } => KernelSays::Confirm(candidate.label.clone()),
            StepKind::NeedPin { online: true, bypass_ok, .. } => {
                KernelSays::Pin { masked: masked(), bypass: *bypass_ok }
            }
            StepKind::NeedPin { tries_left, .. } => KernelSays::OfflinePin { tries: *tries_left },
            StepKind::OnlineRequired { .. } => KernelSays::Online { masked: masked() },
            StepKind::Approved { .. } => KernelSays::ApprovedOffline,
            StepKind::Declined { .. } => KernelSays::Declined(reason(step.reason)),
            StepKind::Fallback => KernelSays::Fallback,
            StepKind::TryOther(other) => KernelSays::Other(match other {
                Other::Contact => Hint::Insert,
                Other::Contactless => Hint::Tap,
                Other::Swipe => Hint::Swipe,
            }),
            StepKind::Terminated { .. } => KernelSays::Terminated(reason(step.reason)),
        }
    }

    pub(super) fn pin(&mut self, bypass: bool) -> Lit<Event> {
        let pan = match &self.presented {
            Presented::Chip(payment) => held(payment).data().map(|data| data.pan),
            Presented::Stripe(data) => Some(data.pan.clone()),
            Presented::Keyed(pan, _) => Some(hal::CardNumber::clear(&pan.0)),
            Presented::Nothing | Presented::Card(_) => None,
        };
        let keys = self.terminal.working_keys().map(|keys| (keys.layout, DeviceKeys::slot(&keys.pin)));
        let (Some(pan), Some((layout, Ok(key)))) = (pan, keys) else {
            return Ok(Event::Failed(Trouble {
                kind: TroubleKind::MustSignIn,
                text: "there is no PIN key".to_owned(),
            }));
        };
        let request = PinRequest {
            pan,
            key,
            format: layout.pin_format(),
            lengths: vec![4, 5, 6, 7, 8, 9, 10, 11, 12],
            bypass,
            random_layout: true,
            amount: self.flow.order().and_then(|order| order.amount),
        };
        let entered = self.open::<dyn PinPad>().and_then(|pad| {
            let call = pad.call_with(self.config.pin, &self.around.power);
            self.around.panel.cancels(Some(&call.cancel));
            let entered = pad.get()?.online_pin(&request, &|_| {}, &call);
            self.around.panel.cancels(None);
            entered
        });
        Ok(match entered {
            Ok(OnlinePin::Block(block)) => {
                self.pin_block = Some(block);
                Event::Pin(PinSays::Entered)
            }
            Ok(OnlinePin::Bypassed) => Event::Pin(PinSays::Bypassed),
            Err(error) => self.nobody(error)?,
        })
    }

    /// Waits until the card is gone; where it stays, the terminal goes on.
    pub(super) fn remove_card(&mut self) -> Lit<Event> {
        if let Presented::Chip(payment) = &self.presented {
            let _ = held(payment).power_down();
        }
        self.presented = Presented::Nothing;
        let gone = if self.in_slot {
            self.open::<dyn IccReader>().and_then(|reader| {
                let call = reader.call_with(REMOVAL, &self.around.power);
                reader.get()?.wait_removed(&call)
            })
        } else {
            self.open::<dyn RfReader>().and_then(|reader| reader.get()?.field_off())
        };
        self.in_slot = false;
        if let Err(error) = gone {
            let error: HalError = self.lit(error)?;
            tracing::debug!(%error, "the card stays in the terminal");
        }
        Ok(Event::Done)
    }
}

/// An application record for a payment that the card approves (modelled): the acquirer's offline limit stands in for the
/// application's floor limits, of the slot (9F1B) and of the antenna (DF19).
fn offline(record: &[u8], limit_fen: u64) -> Vec<u8> {
    let floor = u32::try_from(limit_fen.saturating_add(1)).unwrap_or(u32::MAX).to_be_bytes();
    let tapped = bcd::<6>(limit_fen);
    let mut out = Vec::with_capacity(record.len());
    for item in tlv::iter(record).map_while(Result::ok) {
        let value = match item.tag {
            0x9F1B => &floor[..],
            0xDF19 => &tapped[..],
            _ => item.value,
        };
        tlv::write(&mut out, item.tag, value);
    }
    out
}

/// `value` as packed decimal digits, right-justified.
fn bcd<const N: usize>(value: u64) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = value;
    for byte in out.iter_mut().rev() {
        let pair = (rest % 100) as u8;
        *byte = ((pair / 10) << 4) | (pair % 10);
        rest /= 100;
    }
    out
}

fn hms(now: DateTime) -> [u8; 3] {
    let part = |value: i8| u64::from(value.unsigned_abs());
    bcd(part(now.hour()) * 10_000 + part(now.minute()) * 100 + part(now.second()))
}
