//! The network's connection to us: key resets, cut-over, echo.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquiring::{Beijing, ResponseCode};
use hsm::{KeyAlgorithm, KeyUsage};

use iso8583::frame::{self, CUPS_HEARTBEAT, CupsFrame};
use iso8583::subfield::Field48Nk;
use iso8583::{CUPS, Draft, Message};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::keys::ZoneKeyKind;
use super::line::FRAME_MAX;
use super::message::{CUT_OVER_BEGIN, CUT_OVER_END, KEY_RESET};

/// Connections of the network at a time: one is normal, a second one while it reconnects.
const CONNECTIONS_MAX: usize = 4;

/// Connections that there are. A place is never refused: else a few strangers who say nothing would keep the network
/// out. The oldest that has not brought a key with a good proof makes room; when all have, the oldest of them.
#[derive(Default)]
struct Places(Vec<Place>);

struct Place {
    end: CancellationToken,
    proved: Arc<AtomicBool>,
}

impl Places {
    fn take(&mut self) -> (CancellationToken, Arc<AtomicBool>) {
        self.0.retain(|place| !place.end.is_cancelled());
        if self.0.len() >= CONNECTIONS_MAX {
            let unproved = self.0.iter().position(|place| !place.proved.load(Ordering::Relaxed));
            self.0.remove(unproved.unwrap_or(0)).end.cancel();
        }
        let place = Place { end: CancellationToken::new(), proved: Arc::default() };
        let taken = (place.end.clone(), Arc::clone(&place.proved));
        self.0.push(place);
        taken
    }
}

/// Takes connections of the network until `stop`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of the network could not be accepted");
                tokio::time::sleep(shared.config.reconnect).await;
                continue;
            }
        };
        let peers = &shared.config.peers;
        if !peers.is_empty() && !peers.contains(&peer.ip().to_canonical()) {
            metrics::counter!("posp_line_strangers_total").increment(1);
            if let Some(times) = shared.complaints.is_news("stranger") {
                tracing::error!(%peer, times, "ALARM: a stranger connects to the listener of the network");
            }
            continue;
        }
        let (place, proved) = places.take();
        // An address that was named speaks for the network as a key does.
        proved.store(!peers.is_empty(), Ordering::Relaxed);
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => "stopping".to_owned(),
                () = place.cancelled() => "a newer connection takes its place".to_owned(),
                end = converse(&shared, stream, &proved) => end,
            };
            if let Some(times) = shared.complaints.is_news("connection ended") {
                tracing::info!(%peer, times, reason = end, "the network's connection ended");
            }
            place.cancel();
        });
    }
}

/// The same over wires that are not TCP.
pub(super) async fn serve_wires(shared: Arc<Shared>, wires: Arc<dyn super::Wires>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = wires.accept() => match accepted {
                Ok(stream) => stream,
                Err(_) => return,
            },
        };
        let proved = AtomicBool::new(false);
        let reason = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            end = converse(&shared, stream, &proved) => end,
        };
        tracing::info!(reason, "the network's connection ended");
    }
}

async fn converse(
    shared: &Shared,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    proved: &AtomicBool,
) -> String {
    let mut buffer: Vec<u8> = Vec::with_capacity(FRAME_MAX);
    loop {
        let answer = match frame::split_cups(&buffer, FRAME_MAX) {
            Ok(Some((consumed, frame))) => {
                let answer = match frame {
                    CupsFrame::Heartbeat => None,
                    CupsFrame::Message(payload) => answer(shared, payload, proved),
                };
                buffer.drain(..consumed);
                answer
            }
            Ok(None) => match timeout(shared.config.heartbeat, stream.read_buf(&mut buffer)).await {
                Ok(Ok(0)) => return "closed by the network".to_owned(),
                Ok(Ok(_)) => None,
                Ok(Err(error)) => return error.to_string(),
                Err(_) => Some(CUPS_HEARTBEAT.to_vec()),
            },
            Err(error) => return format!("no frame: {error}"),
        };
        if let Some(answer) = answer {
            match timeout(shared.config.management_patience, stream.write_all(&answer)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "it does not take what we send".to_owned(),
            }
        }
    }
}

/// The answer to one message of the network; nothing for what is malformed or not a request.
fn answer(shared: &Shared, payload: &[u8], proved: &AtomicBool) -> Option<Vec<u8>> {
    let unusable = |reason: &'static str, error: &dyn std::fmt::Display| {
        if let Some(times) = shared.complaints.is_news(reason) {
            tracing::error!(%error, times, reason, "a message of the network cannot be used");
        }
    };
    let (header, body) =
        frame::parse_cups(payload).inspect_err(|error| unusable("own bad header", error)).ok()?;
    let message = CUPS.parse(body).inspect_err(|error| unusable("own malformed", error)).ok()?;
    let code = u16::try_from(message.number(70)?).ok()?;
    let result = match (message.mti().value(), code) {
        (800, KEY_RESET) => match take_key(shared, &message) {
            Ok(proof) => {
                proved.fetch_or(proof, Ordering::Relaxed);
                ResponseCode::APPROVED
            }
            Err((code, reason)) => {
                if let Some(times) = shared.complaints.is_news(reason) {
                    tracing::error!(reason, times, "a zone key was refused");
                }
                metrics::counter!("posp_zone_keys_refused_total", "reason" => reason).increment(1);
                code
            }
        },
        (820, CUT_OVER_BEGIN | CUT_OVER_END) => match take_day(shared, &message, proved) {
            Ok(()) => ResponseCode::APPROVED,
            Err(reason) => {
                metrics::counter!("posp_cut_over_refused_total", "reason" => reason).increment(1);
                if let Some(times) = shared.complaints.is_news(reason) {
                    tracing::error!(reason, times, code, "ALARM: a cut-over of the network was refused");
                }
                ResponseCode::INVALID_TRANSACTION
            }
        },
        (820, _) => ResponseCode::APPROVED,
        (mti, _) => {
            if let Some(times) = shared.complaints.is_news("unknown request") {
                tracing::warn!(mti, code, times, "the network asks for what we do not know");
            }
            return None;
        }
    };
    let mut draft = Draft::new();
    draft.start(&CUPS, message.mti().response());
    for number in [7, 11, 15, 33, 53, 70, 100] {
        if let Some(field) = message.field(number) {
            draft.put_field(&field).ok()?;
        }
    }
    draft.put_text(39, result.as_str()).ok()?;
    let mut out = Vec::with_capacity(256);
    let mark = frame::begin_cups(&mut out, &header.swapped());
    draft.write(&mut out).ok()?;
    frame::finish_cups(&mut out, mark).ok()?;
    Some(out)
}

/// Takes the date of a cut-over. The message has no MAC: it counts from whoever has brought a key with a good proof, or
/// comes from an address that was named, and when its date can be. Answers of the network, which have a MAC, bring the new
/// date as well.
fn take_day(shared: &Shared, message: &Message<'_>, proved: &AtomicBool) -> Result<(), &'static str> {
    // Field 15 may be missing at the end of a cut-over.
    let Some(date) = message.number(15) else { return Ok(()) };
    if !proved.load(Ordering::Relaxed) {
        return Err("not proved to be the network");
    }
    let date = u16::try_from(date).map_err(|_| "no date")?;
    let today = Beijing::of(shared.clock.now()).civil().date();
    let in_force = shared.line.status().settle_date;
    super::day::judge(date, in_force, today, shared.config.settle_days_ahead)?;
    shared.line.set_settle_date(date);
    tracing::info!(date, "the network cuts over to a new settlement date");
    Ok(())
}

/// Takes a key of 0800/101: unwraps it under the zone master key and checks the proof in field 128. Whether the proof was by
/// a MAC, and so shows that it is the network who speaks.
fn take_key(shared: &Shared, message: &Message<'_>) -> Result<bool, (ResponseCode, &'static str)> {
    let format = |reason| (ResponseCode::FORMAT_ERROR, reason);
    let control = message.digits(53).ok_or(format("field 53 is missing"))?;
    let mut digits = control.as_str().chars();
    let (kind, usage) = match digits.next() {
        Some('1') => (ZoneKeyKind::Pin, KeyUsage::Pin),
        Some('2') => (ZoneKeyKind::Mac, KeyUsage::Mac),
        _ => return Err(format("field 53 names no key")),
    };
    let long = message.bytes_of(48).and_then(Field48Nk::parse);
    let (algorithm, cipher): (_, &[u8]) = match (digits.next(), &long) {
        (Some('6'), Some(Field48Nk(cipher))) => (KeyAlgorithm::TripleDes2, cipher),
        (Some('4'), Some(Field48Nk(cipher))) => (KeyAlgorithm::Sm4, cipher),
        (Some('0'), _) => (KeyAlgorithm::Des, message.bytes_of(96).ok_or(format("field 96 is missing"))?),
        _ => return Err(format("field 53 names no algorithm, or the key is missing")),
    };
    let key = shared
        .hsm
        .import(usage, algorithm, cipher, &shared.config.zone_master_key)
        .map_err(|_| (ResponseCode::SECURITY_FAILURE, "the key cannot be unwrapped"))?;
    let mut text = Vec::with_capacity(128);
    iso8583::cups::mac_text(message, &mut text);
    let proof = message.bytes_of(128).ok_or(format("field 128 is missing"))?;
    let has_mac = shared.keys.has_mac();
    let proved = match kind {
        // A MAC key proves itself; a PIN key is proved by the MAC key in force. The very first PIN key of a
        // line may come before any MAC key: then nothing but the zone master key speaks for it.
        ZoneKeyKind::Mac => {
            shared.hsm.verify_mac(&key, super::keys::mac_algorithm(&key), &text, proof).unwrap_or(false)
        }
        ZoneKeyKind::Pin => {
            !has_mac || shared.keys.verify(shared.hsm.as_ref(), &text, proof, shared.clock.now())
        }
    };
    if !proved {
        return Err((ResponseCode::MAC_ERROR, "the proof in field 128 is wrong"));
    }
    tracing::info!(key = %usage, kcv = %key.kcv(), "new zone key");
    shared.keys.replace(kind, key, shared.clock.now());
    Ok(has_mac || kind == ZoneKeyKind::Mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strangers who hold every place do not keep the network out, and do not push it out once it has proved itself.
    #[test]
    fn a_stranger_makes_room_before_the_network_does() {
        let mut places = Places::default();
        let strangers: Vec<_> = (0..CONNECTIONS_MAX).map(|_| places.take().0).collect();
        let (network, proved) = places.take();
        assert!(strangers[0].is_cancelled() && !strangers[1].is_cancelled(), "the oldest goes");
        proved.store(true, Ordering::Relaxed);
        let storm: Vec<_> = (0..50).map(|_| places.take().0).collect();
        assert!(!network.is_cancelled());
        assert_eq!(storm.iter().filter(|one| !one.is_cancelled()).count(), CONNECTIONS_MAX - 1);
    }
}
