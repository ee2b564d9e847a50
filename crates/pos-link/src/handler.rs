//! The way of one frame from top to bottom.

use std::net::SocketAddr;
use std::sync::Arc;

use acquiring::ResponseCode;
use acquiring::kind::Kind;
use acquiring::settlement::BlockResult;
use engine::authenticate::{Authenticated, MacClaim, Refused, Rejected, TerminalMessage};
use engine::payment::Silent;
use engine::{OwnProfile, Refusal, TerminalEntry, Turn};
use iso8583::frame;
use iso8583::{BalanceAnswer, Message, Mti};

use crate::answer::{Address, Answer, AnswerError, Signing, is_signed};
use crate::management;
use crate::profile::Spoken;
use crate::request::{self, Head, Sender};
use crate::server::Link;

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An answer is in the buffer.
    Answer,
    /// The connection is closed, for this reason.
    Close(&'static str),
}

/// Takes a frame through and leaves the answer in `out`.
pub async fn handle(link: &Link, payload: &[u8], peer: SocketAddr, out: &mut Vec<u8>) -> Verdict {
    metrics::counter!("posp_link_frames_total").increment(1);
    let frame = match frame::parse_pos(payload, &link.spoken().profile) {
        Ok(frame) => frame,
        Err(error) => {
            if link.warnings.may_write() {
                tracing::warn!(%peer, %error, "frame refused");
            }
            return Verdict::Close("frame has no head");
        }
    };
    let address = Address { tpdu: frame.tpdu, header: frame.header };
    // What can be put off waits before it costs anything; all else is about what was begun.
    let mut turn = match is_put_off(frame.body) {
        true => Some(link.engine.intake().enter().await),
        false => None,
    };
    let message = match link.spoken().dialect.parse(frame.body) {
        Ok(message) => message,
        Err(error) => {
            // The fields cannot be trusted, but when the type can be read the terminal learns why.
            metrics::counter!("posp_link_malformed_total").increment(1);
            if link.warnings.may_write() {
                tracing::warn!(%peer, %error, "malformed message");
            }
            return match request_mti(link.spoken(), frame.body) {
                Some(mti) => finish(bare(link, mti, None, FORMAT), out, address, None),
                None => Verdict::Close("message type unreadable"),
            };
        }
    };
    if message.mti().is_response() {
        if link.warnings.may_write() {
            tracing::warn!(%peer, mti = %message.mti(), "a terminal sent an answer");
        }
        return Verdict::Close("an answer came from a terminal");
    }
    // The terminal is looked up before anything is judged: its merchant may have a profile of its own.
    let sender = Sender::read(&message);
    let entry = sender.and_then(|sender| link.engine.identify(sender.merchant, sender.terminal));
    let (spoken, mismatch) = match entry.as_ref().map(|entry| entry.profile) {
        Ok(OwnProfile::Own(place)) => {
            let own = link.config.profiles.at(place);
            (own, (!own.reads_as(link.spoken())).then_some(OTHER_FORM))
        }
        Ok(OwnProfile::Unknown) => (link.spoken(), Some(UNKNOWN_PROFILE)),
        Ok(OwnProfile::OfListener) | Err(_) => (link.spoken(), None),
    };
    if let Some(refusal) = mismatch {
        // Not signed: the keys are of the other profile's MAC, which the terminal may not compute here.
        note_refusal(link, peer, &message, refusal);
        return finish(bare(link, message.mti(), Some(&message), refusal), out, address, None);
    }
    if !spoken.knows_mti(message.mti().value()) {
        metrics::counter!("posp_link_unknown_mti_total").increment(1);
        if link.warnings.may_write() {
            tracing::warn!(%peer, mti = %message.mti(), "unknown message type");
        }
        return finish(bare(link, message.mti(), Some(&message), UNKNOWN_TYPE), out, address, None);
    }
    let head = match sender.and_then(|sender| Head::read(&message, sender, spoken)) {
        Ok(head) => head,
        Err(refusal) => {
            note_refusal(link, peer, &message, refusal);
            return refuse_unread(link, spoken, entry.ok(), &message, refusal, out, address);
        }
    };
    let way = Way { link, spoken, message: &message, head: &head, address };
    let refused = |refusal: Refusal| {
        note_refusal(link, peer, &message, refusal);
        refusal
    };
    if let Some(field) = request::missing_field(head.spec, &message, &spoken.profile) {
        if link.warnings.may_write() {
            tracing::warn!(%peer, kind = head.spec.code, field, "mandatory field missing");
        }
        let refusal = refused(Refusal::new(ResponseCode::FORMAT_ERROR, "mandatory field missing"));
        return refuse(way, entry.ok(), Refused { refusal, keys: None }, out);
    }
    let entry = match entry {
        Ok(entry) => entry,
        Err(refusal) => {
            return refuse(way, None, Refused { refusal: refused(refusal), keys: None }, out);
        }
    };
    match authenticate(way, &entry).await {
        Ok(auth) => serve(way, auth, &mut turn, out, peer).await,
        Err(Rejected::Refused(why)) => {
            refused(why.refusal);
            refuse(way, Some(entry), why, out)
        }
        Err(Rejected::Unknown) => Verdict::Close("the terminal's session cannot be read"),
    }
}

/// What is known of a message on its way, once it is known what it asks.
#[derive(Clone, Copy)]
struct Way<'a> {
    link: &'a Link,
    /// The profile in which it is answered.
    spoken: &'a Spoken,
    message: &'a Message<'a>,
    head: &'a Head,
    address: Address,
}

const OTHER_FORM: Refusal =
    Refusal::new(ResponseCode::BAD_ACQUIRER, "the merchant's profile is not read at this listener");
const NO_MAC_KEY: Refusal =
    Refusal::new(ResponseCode::NOT_SUPPORTED, "key layout has no MAC key of the profile's length");
const UNKNOWN_PROFILE: Refusal =
    Refusal::new(ResponseCode::BAD_ACQUIRER, "the merchant's profile is not configured");

const FORMAT: Refusal = Refusal::new(ResponseCode::FORMAT_ERROR, "malformed message");
const UNKNOWN_TYPE: Refusal = Refusal::new(ResponseCode::NOT_SUPPORTED, "unknown message type");

/// Whether a message asks for a new payment (0100, 0200): nothing is lost while it waits. Reversals, advices and settlements
/// go on at once.
fn is_put_off(body: &[u8]) -> bool {
    matches!(body, [0x01 | 0x02, 0x00, ..])
}

/// The type of a message that could not be parsed, when its first bytes are one of a known request.
fn request_mti(spoken: &Spoken, body: &[u8]) -> Option<Mti> {
    let [high, low, ..] = body else { return None };
    let digits = [high >> 4, high & 15, low >> 4, low & 15];
    if digits.iter().any(|digit| *digit > 9) {
        return None;
    }
    let value = digits.iter().fold(0u16, |value, digit| value * 10 + u16::from(*digit));
    spoken.knows_mti(value).then(|| Mti::new(value))
}

fn note_refusal(link: &Link, peer: SocketAddr, message: &Message<'_>, refusal: Refusal) {
    metrics::counter!("posp_link_refusals_total", "code" => refusal.code.as_str().to_owned(),
        "reason" => refusal.reason)
    .increment(1);
    if !link.warnings.may_write() {
        return;
    }
    tracing::warn!(
        %peer,
        mti = %message.mti(),
        merchant = message.text(42),
        terminal = message.text(41),
        trace = message.number(11),
        code = refusal.code.as_str(),
        reason = refusal.reason,
        "refused"
    );
}

async fn authenticate(way: Way<'_>, entry: &TerminalEntry) -> Result<Authenticated, Rejected> {
    let unsigned = |refusal| Rejected::Refused(Refused { refusal, keys: None });
    let Way { link, spoken, message, head, .. } = way;
    let mac = message.mac_block().zip(message.bytes_of(64)).map(|(block, value)| MacClaim { block, value });
    // A message outside a session names whatever batch the terminal is in; a sign-in's answer tells the right one.
    let batch = match head.spec.kind {
        kind if !kind.needs_session() => None,
        _ => Some(head.batch().map_err(unsigned)?),
    };
    let message = TerminalMessage {
        spec: head.spec,
        merchant: head.merchant,
        terminal: head.terminal,
        batch,
        mac,
        mac_algorithm: spoken.mac_algorithm(entry.cipher),
    };
    link.engine.authenticate(&message).await
}

/// Makes an answer with nothing but a code.
fn bare(
    link: &Link,
    mti: Mti,
    request: Option<&Message<'_>>,
    refusal: Refusal,
) -> Result<Answer, AnswerError> {
    let mut answer = Answer::bare(link.spoken().dialect, mti, request)?;
    answer.outcome(refusal.code, link.engine.now())?;
    Ok(answer)
}

/// Answers a message that is of no transaction we know; signed when it was and the terminal has keys.
fn refuse_unread(
    link: &Link,
    spoken: &Spoken,
    entry: Option<Arc<TerminalEntry>>,
    message: &Message<'_>,
    refusal: Refusal,
    out: &mut Vec<u8>,
    address: Address,
) -> Verdict {
    let made = bare(link, message.mti(), Some(message), refusal);
    let entry = entry.filter(|_| message.has(64));
    let keys = entry.as_ref().and_then(|entry| entry.session().keys);
    let signing = keys.as_deref().zip(entry.as_ref()).map(|(keys, entry)| Signing {
        engine: &link.engine,
        keys,
        algorithm: spoken.mac_algorithm(entry.cipher),
    });
    finish(made, out, address, signing)
}

/// Answers with a refusal in the form of the transaction, signed when the terminal has keys.
fn refuse(way: Way<'_>, entry: Option<Arc<TerminalEntry>>, refused: Refused, out: &mut Vec<u8>) -> Verdict {
    let Way { link, spoken, message, head, address } = way;
    let made = Answer::to(link.spoken().dialect, message, head.spec).and_then(|mut answer| {
        answer.outcome(refused.refusal.code, link.engine.now())?;
        answer.reference(link.engine.config().acquirer.as_str(), None)?;
        Ok(answer)
    });
    let keys = refused.keys.as_deref().filter(|_| is_signed(head.spec));
    let signing = keys.zip(entry.as_ref()).map(|(keys, entry)| Signing {
        engine: &link.engine,
        keys,
        algorithm: spoken.mac_algorithm(entry.cipher),
    });
    finish(made, out, address, signing)
}

fn finish(
    made: Result<Answer, AnswerError>,
    out: &mut Vec<u8>,
    address: Address,
    signing: Option<Signing<'_>>,
) -> Verdict {
    match made.and_then(|answer| answer.write(out, address, signing)) {
        Ok(_) => Verdict::Answer,
        Err(error) => {
            tracing::error!(%error, "an answer could not be made");
            Verdict::Close("answer could not be made")
        }
    }
}

/// What a transaction comes to.
enum Served {
    Answer(Box<Answer>, Option<(acquiring::MerchantId, acquiring::PaymentId)>),
    Refused(Refusal),
    Silent,
}

impl From<Refusal> for Served {
    fn from(refusal: Refusal) -> Self {
        Served::Refused(refusal)
    }
}

async fn serve(
    way: Way<'_>,
    auth: Authenticated,
    turn: &mut Option<Turn>,
    out: &mut Vec<u8>,
    peer: SocketAddr,
) -> Verdict {
    let Way { link, spoken, message, head, address } = way;
    let entry = Arc::clone(auth.entry());
    let algorithm = spoken.mac_algorithm(entry.cipher);
    let keys = auth.keys().cloned();
    let served = match transact(way, auth, turn).await {
        Ok(served) => served,
        Err(error) => {
            tracing::error!(%error, "an answer could not be made");
            return Verdict::Close("answer could not be made");
        }
    };
    match served {
        Served::Silent => Verdict::Close("outcome not durable"),
        // A terminal asks a few times and then takes "cannot" for the last word, which is not this node's to say.
        Served::Refused(refusal)
            if refusal.code == ResponseCode::MALFUNCTION && link.engine.has_lost_its_store() =>
        {
            Verdict::Close("the store is lost")
        }
        Served::Refused(refusal) => {
            note_refusal(link, peer, message, refusal);
            refuse(way, Some(entry), Refused { refusal, keys }, out)
        }
        Served::Answer(answer, payment) => {
            let requirement = link.engine.requirement(head.merchant, head.terminal, head.spec.kind).await;
            let address = address.requiring(requirement);
            let signing = keys.as_deref().filter(|_| is_signed(head.spec)).map(|keys| Signing {
                engine: &link.engine,
                keys,
                algorithm,
            });
            match answer.write(out, address, signing) {
                Ok(body) => {
                    if let Some(payment) = payment
                        && let Some(masked) = masked(link, out.get(body..).unwrap_or_default())
                    {
                        link.engine.journal_reply(payment, masked);
                    }
                    Verdict::Answer
                }
                Err(error) => {
                    tracing::error!(%error, "an answer could not be made");
                    Verdict::Close("answer could not be made")
                }
            }
        }
    }
}

fn masked(link: &Link, body: &[u8]) -> Option<Vec<u8>> {
    link.spoken().dialect.parse(body).ok().map(|message| masked_copy(&message))
}

fn masked_copy(message: &Message<'_>) -> Vec<u8> {
    let mut masked = Vec::with_capacity(message.bytes().len());
    iso8583::mask::mask_message(message, &mut masked);
    masked
}

/// The refusal of a request whose turn did not come, when that is all there is to it.
async fn turn_away_new(way: Way<'_>, auth: &Authenticated) -> Option<Refusal> {
    let (batch, trace) = (way.head.batch().ok()?, request::trace(way.message).ok()?);
    way.link.engine.turn_away_new(auth, batch, trace).await
}

async fn transact(way: Way<'_>, auth: Authenticated, turn: &mut Option<Turn>) -> Result<Served, AnswerError> {
    let Way { link, spoken, message, head, .. } = way;
    let engine = &link.engine;
    let acquirer = engine.config().acquirer.as_str();
    let mut answer = Answer::to(link.spoken().dialect, message, head.spec)?;
    let mut code = ResponseCode::APPROVED;
    let done = match head.spec.kind {
        Kind::Balance
        | Kind::Sale
        | Kind::SaleVoid
        | Kind::Refund
        | Kind::Preauth
        | Kind::PreauthVoid
        | Kind::Completion
        | Kind::CompletionAdvice
        | Kind::CompletionVoid
        | Kind::Instalment
        | Kind::InstalmentVoid
        | Kind::PointsSale
        | Kind::ChipRefund
        | Kind::Load
        | Kind::TransferLoad
        | Kind::CashLoad
        | Kind::CashLoadVoid
        | Kind::OfflineSale
        | Kind::OfflineChip
        | Kind::Adjust
        | Kind::Tip => {
            let refused = matches!(turn, Some(Turn::Refuse(_)));
            if refused && let Some(refusal) = turn_away_new(way, &auth).await {
                return Ok(refusal.into());
            }
            let digest = match engine.digest(message.mac_block().unwrap_or_default()) {
                Ok(digest) => digest,
                Err(refusal) => return Ok(refusal.into()),
            };
            let request = match request::payment(head, message, &spoken.profile, digest, masked_copy(message))
            {
                Ok(request) => request,
                Err(refusal) => return Ok(refusal.into()),
            };
            let reply = if head.spec.told {
                engine.advise(auth, request).await
            } else if refused {
                // Its place among the refusals is kept until the refusal is signed.
                engine.turn_away(&auth, &request).await
            } else {
                let place = turn.take().map(|(Turn::Begin(place) | Turn::Refuse(place))| place);
                engine.pay(auth, request, place).await
            };
            let Ok(reply) = reply else { return Ok(Served::Silent) };
            answer.payment(&reply, head.spec, acquirer)?;
            return Ok(Served::Answer(Box::new(answer), reply.payment));
        }
        Kind::ESignature => {
            let kept = match request::signature_part(head, message) {
                Ok(part) => engine.keep_signature(&auth, part).await,
                Err(refusal) => Err(refusal),
            };
            match kept {
                Ok(reply) => {
                    answer.outcome(reply.answer.code, reply.answer.at)?;
                    answer.reference(acquirer, reply.rrn)?;
                    return Ok(Served::Answer(Box::new(answer), None));
                }
                Err(refusal) => Err(refusal),
            }
        }
        Kind::ScriptResult => {
            let result = match request::script_result(message, masked_copy(message)) {
                Ok(result) => engine.script_result(&auth, result).await,
                Err(refusal) => Err(refusal),
            };
            let reply = match result {
                Ok(reply) => reply,
                Err(refusal) => return Ok(refusal.into()),
            };
            answer.payment(&reply, head.spec, acquirer)?;
            return Ok(Served::Answer(Box::new(answer), reply.payment));
        }
        Kind::Reversal => {
            let request = match request::reversal(head, message, masked_copy(message)) {
                Ok(request) => request,
                Err(refusal) => return Ok(refusal.into()),
            };
            let mut reply = match engine.reverse(auth, request).await {
                Ok(reply) => reply,
                Err(Silent) => return Ok(Served::Silent),
            };
            if spoken.profile.reversed_is_25 && reply.repeated && reply.answer.code == ResponseCode::APPROVED
            {
                reply.answer.code = ResponseCode::NO_ORIGINAL;
            }
            answer.payment(&reply, head.spec, acquirer)?;
            return Ok(Served::Answer(Box::new(answer), reply.payment));
        }
        Kind::SignIn => {
            let asked = head.network_code;
            let signed_in = match spoken.serves_mac(asked) {
                true => engine.sign_in(&auth, asked, spoken.key_form()).await,
                false => Err(NO_MAC_KEY),
            };
            match signed_in {
                Ok(signed_in) => {
                    answer.batch(&head.answered_60(spoken), signed_in.batch.get())?;
                    answer.private(&signed_in.keys)?;
                    answer.reference(acquirer, Some(signed_in.rrn))?;
                    answer.outcome(ResponseCode::APPROVED, signed_in.at)?;
                    return Ok(Served::Answer(Box::new(answer), None));
                }
                Err(refusal) => Err(refusal),
            }
        }
        Kind::SignOff => engine.sign_off(&auth).await,
        Kind::Echo => Ok(engine.now()),
        Kind::Download(..) | Kind::StatusUpload | Kind::SoftwareDownload => {
            match management::serve(engine, &auth, message).await {
                Ok((at, private)) => {
                    if let Some(private) = private {
                        answer.private(&private)?;
                    }
                    Ok(at)
                }
                Err(refusal) => Err(refusal),
            }
        }
        Kind::Settlement => {
            let totals = match (request::totals(message), head.batch()) {
                (Ok(totals), Ok(batch)) => engine.settle(&auth, batch, totals, masked_copy(message)).await,
                (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
            };
            match totals {
                Ok(compared) => {
                    match spoken.profile.settlement {
                        BalanceAnswer::Field48 => {
                            answer.totals(message, compared.domestic, compared.foreign)?;
                        }
                        BalanceAnswer::Code95 => {
                            answer.as_sent(message, 48)?;
                            if [compared.domestic, compared.foreign] != [BlockResult::Balanced; 2] {
                                code = ResponseCode::RECONCILE_ERROR;
                            }
                        }
                    }
                    Ok(compared.at)
                }
                Err(refusal) => Err(refusal),
            }
        }
        Kind::BatchUpMagnetic => {
            batch_up(link, head, &auth, message, request::magnetic_details(message, &spoken.profile)).await
        }
        Kind::BatchUpOffline => {
            batch_up(link, head, &auth, message, request::single_detail(message).map(|d| vec![d])).await
        }
        Kind::BatchUpChip => {
            // 204 and 206 are notices of declined or failed transactions: nothing to match.
            let notice = matches!(head.field_60.network_code, Some(204 | 206));
            let details =
                if notice { Ok(Vec::new()) } else { request::single_detail(message).map(|d| vec![d]) };
            batch_up(link, head, &auth, message, details).await
        }
        Kind::BatchUpEnd => match (request::uploaded(message), head.batch()) {
            (Ok(uploaded), Ok(batch)) => {
                let balanced = head.field_60.network_code == Some(207);
                engine.end_batch(&auth, batch, uploaded, balanced).await
            }
            (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
        },
    };
    let at = match done {
        Ok(at) => at,
        Err(refusal) => return Ok(refusal.into()),
    };
    let rrn = match engine.reference().await {
        Ok(rrn) => rrn,
        Err(refusal) => return Ok(refusal.into()),
    };
    answer.outcome(code, at)?;
    answer.reference(acquirer, Some(rrn))?;
    Ok(Served::Answer(Box::new(answer), None))
}

async fn batch_up(
    link: &Link,
    head: &Head,
    auth: &Authenticated,
    message: &Message<'_>,
    details: Result<Vec<engine::batch::Detail>, Refusal>,
) -> Result<jiff::Timestamp, Refusal> {
    link.engine.batch_up(auth, head.batch()?, details?, masked_copy(message)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payments, pre-authorisations and inquiries can wait; what is about something begun cannot.
    #[test]
    fn only_what_is_new_is_put_off() {
        for body in [[0x01, 0x00], [0x02, 0x00]] {
            assert!(is_put_off(&body), "{body:02x?}");
        }
        for body in
            [[0x02, 0x20], [0x03, 0x20], [0x04, 0x00], [0x05, 0x00], [0x06, 0x20], [0x08, 0x00], [0x02, 0x10]]
        {
            assert!(!is_put_off(&body), "{body:02x?}");
        }
        assert!(!is_put_off(&[0x02]));
    }
}
