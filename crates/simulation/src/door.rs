//! Between terminals and a node: frames that are lost, late or doubled, and answers that are lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iso8583::{CUP_POS, Message};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::guarantees::{Asked, Guarantee};
use crate::node;
use crate::sabotage::Sabotage;
use crate::world::{World, pause};

/// Bytes before the message: length, address, header.
pub const HEAD: usize = 13;

/// Sends a frame to whatever node serves, and waits for the first answer.
pub async fn exchange(world: &Arc<World>, frame: &[u8], patience_ms: u64) -> Option<Vec<u8>> {
    let weather = world.weather();
    let (tell, mut told) = mpsc::channel(4);
    let (lost, late, doubled) = world.draw("door", |random| {
        (
            random.happens(weather.request_lost),
            random.happens(weather.request_late),
            random.happens(weather.request_doubled),
        )
    });
    let copies = if lost { 0 } else { 1 + usize::from(doubled) };
    for _ in 0..copies {
        let delay = world.draw("door", |random| {
            random.between(1, 30) + if late { random.below(weather.late_ms) } else { 0 }
        });
        let (world, frame, tell) = (Arc::clone(world), frame.to_vec(), tell.clone());
        tokio::spawn(async move {
            pause(delay).await;
            if let Some(reply) = deliver(&world, &frame).await {
                let _ = tell.try_send(reply);
            }
        });
    }
    // A copy stays here, so that a lost request is silence and not the end of the connection.
    let reply = timeout(Duration::from_millis(patience_ms), told.recv()).await.ok().flatten();
    drop(tell);
    reply
}

/// One frame at a node's door, and the answer if it finds its way back.
async fn deliver(world: &Arc<World>, frame: &[u8]) -> Option<Vec<u8>> {
    let node = world.any_node()?;
    let message = CUP_POS.parse(frame.get(HEAD..)?).ok()?;
    let asked = asked(&message);
    if let Some(asked) = &asked {
        world.note(format!("asked {:04} {:?}", asked.mti, asked.key));
        world.judge(|books| {
            books.asked(asked);
            Ok(())
        });
    }
    let mut out = Vec::with_capacity(512);
    let peer = SocketAddr::from(([127, 0, 0, 1], 2));
    let quietly = asked.as_ref().is_some_and(|asked| asked.mti == 400)
        && world.is_sabotaged_by(Sabotage::ReversalNotKept);
    let verdict = if quietly {
        // As a host would that says yes and forgets: the guarantee must see it, whatever the terminal makes of it.
        if let Some(asked) = &asked {
            world.judge(|books| books.told(asked, "00"));
        }
        return None;
    } else {
        let handled = tokio::time::timeout(
            Duration::from_secs(3_600),
            pos_link::handler::handle(&node.link, frame.get(2..)?, peer, &mut out),
        );
        match handled.await {
            Ok(verdict) => verdict,
            Err(_) if node.life.is_alive() => {
                world.broken(Guarantee::G9, "a request has had no answer for an hour".to_owned());
                return None;
            }
            Err(_) => return None,
        }
    };
    node::may_die(world, &node.life, "before an answer left");
    if !node.life.is_alive() || verdict != pos_link::handler::Verdict::Answer {
        return None;
    }
    let reply = CUP_POS.parse(out.get(HEAD..)?).ok()?;
    let mut code = reply.text(39).unwrap_or_default().to_owned();
    // What a network declined with 96 is told so to whoever asks again.
    let declined = asked.as_ref().is_some_and(|asked| {
        world.books(|books| books.by_key(&asked.key).is_some_and(|payment| payment.state == "declined"))
    });
    if node.life.has_failed() && code == "96" && !declined {
        // Found by the kill test: a terminal that uploaded its batch asked three times in ten milliseconds, and gave up.
        world.broken(
            Guarantee::G7,
            format!("a failed node says to {:04} that it cannot", message.mti().value()),
        );
    }
    if let Some(asked) = &asked {
        sabotage(world, asked, &mut code);
        world.note(format!("told {:04} {:?} {code}", asked.mti, asked.key));
        world.judge(|books| books.told(asked, &code));
        if node.life.has_failed() {
            world.judge(|books| crate::guarantees::g7_a_failed_node_promises_nothing(books, asked, &code));
        }
    }
    let weather = world.weather();
    let (lost, delay) =
        world.draw("door", |random| (random.happens(weather.reply_lost), random.between(1, 30)));
    if lost {
        world.note("the answer to the terminal is lost");
        return None;
    }
    pause(delay).await;
    Some(out)
}

fn asked(message: &Message<'_>) -> Option<Asked> {
    let number = |field| message.number(field).and_then(|number| i64::try_from(number).ok());
    let mti = message.mti().value();
    if !matches!(mti, 100 | 200 | 220 | 400) {
        return None;
    }
    let batch = message.digits(60)?.as_str().get(2..8)?.parse().ok()?;
    let key = (message.text(41)?.to_owned(), batch, number(11)?);
    Some(Asked { mti, key, money: number(3) != Some(310_000) })
}

/// Tells a terminal what is not so, for a sabotage of that kind.
fn sabotage(world: &World, asked: &Asked, code: &mut String) {
    if asked.mti == 400 || !asked.money {
        return;
    }
    let known = world.books(|books| books.by_key(&asked.key).map(|payment| payment.state.clone()));
    if world.is_sabotaged_by(Sabotage::ApprovalInvented) && known.as_deref() == Some("declined") {
        "00".clone_into(code);
    }
    if world.is_sabotaged_by(Sabotage::RepeatToldOtherwise) && code == "00" {
        // The first time it is true.
        world.judge(|books| books.told(asked, "00"));
        "05".clone_into(code);
    }
}
