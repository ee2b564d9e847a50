//! Mixed traffic on several connections with faults drawn by chance: what the member was told and what the network
//! holds must agree in every single case, whatever was lost, dropped or doubled on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::*;
use sim::{Fault, FaultRule, FaultSettings, FinalState, Span};

#[tokio::test]
async fn told_and_held_agree_under_faults() {
    let mut m = ready().await;
    let share =
        |fault, percent, seed, classes| FaultRule { fault, span: Span::Percent { percent, seed }, classes };
    m.sim.set_faults(FaultSettings {
        by_amount: false,
        rules: vec![
            share(Fault::DropBefore, 3, 1, vec![200]),
            share(Fault::DropAfter, 3, 2, vec![200]),
            share(Fault::NoAnswer, 8, 3, vec![200, 420]),
            share(Fault::Lost, 8, 4, vec![200, 420]),
            share(Fault::DoubleAnswer, 8, 5, vec![]),
            share(Fault::Decline("96".to_owned()), 8, 6, vec![200]),
            share(Fault::Bounce, 4, 7, vec![200]),
        ],
        ..FaultSettings::default()
    });
    // The member's view: answered code, or what its reversal was answered when there was no answer.
    let mut approved = BTreeMap::new();
    let mut undone = 0;
    for number in 0..400_u64 {
        let sale = m.sale(M01, 100 + number);
        m.send(&sale).await;
        let told = outcome(&mut m, &sale, 210).await;
        match told.as_deref() {
            Some("00") => {
                approved.insert(sale.get(11).to_owned(), 100 + number);
            }
            Some(_) => {}
            None => {
                // Unknown: reversed until acknowledged.
                let reversal = m.reversal(&sale);
                let mut attempts = 0;
                let code = loop {
                    let mti = if attempts == 0 { 420 } else { 421 };
                    m.send(&reversal.clone().mti(mti)).await;
                    if let Some(code) = outcome(&mut m, &reversal, 430).await {
                        break code;
                    }
                    attempts += 1;
                    assert!(attempts < 50);
                };
                assert!(["00", "25"].contains(&code.as_str()), "{code}");
                undone += 1;
            }
        }
    }
    assert!(undone > 20 && approved.len() > 200, "{undone} {}", approved.len());
    let held: BTreeMap<String, u64> = m
        .sim
        .record()
        .iter()
        .filter(|line| line.kind == sim::Kind::Sale && line.state == FinalState::Approved)
        .map(|line| (format!("{:06}", line.trace), line.amount))
        .collect();
    assert_eq!(held, approved);
    let sum: u64 = approved.values().sum();
    assert_eq!(m.money("M01"), 1_000_000 - i64::try_from(sum).unwrap());
    assert_eq!(m.sim.status().trial_balance, 0);
}

/// The code of the answer to a request; "bounced" when it came back; `None` when there was no answer or the line
/// dropped. An echo sent behind the request ends the waiting.
async fn outcome(m: &mut Member, request: &Request, mti: u16) -> Option<String> {
    let mut code = None;
    m.send(&m.management(301)).await;
    loop {
        let Some(reply) = m.receive().await else {
            m.reconnect().await;
            return code;
        };
        if reply.mti == 830 {
            return code;
        }
        let own = reply.get(11) == request.get(11);
        if own && reply.reject != "00000" {
            code = Some("bounced".to_owned());
        } else if own && reply.mti == mti {
            code = Some(reply.code().to_owned());
        }
    }
}

#[tokio::test]
async fn many_connections_at_once() {
    let m = ready().await;
    let (sim, m) = (m.sim.clone(), std::sync::Arc::new(tokio::sync::Mutex::new(m)));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let frames: Vec<(Request, Vec<u8>)> = {
            let mut m = m.lock().await;
            (0..50)
                .map(|_| {
                    let sale = m.sale(M01, 10);
                    let frame = m.frame(&sale);
                    (sale, frame)
                })
                .collect()
        };
        let address = sim.addr();
        tasks.push(tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            for (_, frame) in &frames {
                stream.write_all(frame).await.unwrap();
            }
            let mut buffer = Vec::new();
            let mut answered = 0;
            while answered < frames.len() {
                let mut chunk = [0; 4096];
                let read = stream.read(&mut chunk).await.unwrap();
                assert!(read > 0);
                buffer.extend_from_slice(&chunk[..read]);
                while let Some((used, _)) = iso8583::frame::split_cups(&buffer, 9999).unwrap() {
                    buffer.drain(..used);
                    answered += 1;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let record = sim.record();
    assert_eq!(record.len(), 400);
    assert!(record.iter().all(|line| line.state == FinalState::Approved));
    let mut codes: Vec<_> = record.iter().filter_map(|line| line.auth_code.clone()).collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 400, "authorisation codes are unique");
}
