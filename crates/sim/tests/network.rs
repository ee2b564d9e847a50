//! What the network demands of a member before and around any payment: header, sign-on, keys, MAC, well-formed
//! messages. A simulator that is laxer than the network would let mistakes through to the first real test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use iso8583::frame::CupsHeader;
use sim::FinalState;

#[tokio::test]
async fn sign_on_keys_and_a_sale() {
    let mut m = ready().await;
    let sale = m.sale(M01, 10_000);
    let reply = m.ask(&sale).await;
    assert_eq!((reply.mti, reply.code()), (210, "00"));
    assert_eq!(reply.mac_good, Some(true));
    assert_eq!(reply.get(38).len(), 6);
    assert_eq!(reply.get(15).len(), 4);
    assert_eq!(reply.get(37), sale.get(37));
    assert_eq!(reply.get(121), "000");
    assert_eq!(reply.get(100), "63040000");
    assert_eq!(m.money("M01"), 1_000_000 - 10_000);
    let record = m.sim.record();
    assert_eq!(record.len(), 1);
    assert_eq!((record[0].state, record[0].amount), (FinalState::Approved, 10_000));
    assert_eq!(record[0].pan, "622424******0120");
    m.sim.shutdown().await.unwrap();
}

#[tokio::test]
async fn no_service_before_sign_on_and_keys() {
    let mut m = connected(|_| {}).await;
    let request = m.management(301);
    assert_eq!(m.ask(&request).await.code(), "00", "an echo needs neither");
    let mut fields = request.fields.clone();
    fields.remove(&70);
    let sale = Request { mti: 200, fields };
    assert_eq!(m.ask(&sale).await.reject, "10004");
    m.sign_on().await;
    assert_eq!(m.ask(&sale).await.reject, "10005");
    m.take_keys().await;
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.code(), "00");
    let off = m.management(2);
    assert_eq!(m.ask(&off).await.code(), "00");
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.reject, "10004");
}

#[tokio::test]
async fn keys_change_under_traffic_and_the_old_ones_hold_for_a_while() {
    let mut m = ready().await;
    let old = m.mac_keys()[0].clone();
    let with_old_pin = m.sale(M01, 100);
    m.sim.reset_keys().await.unwrap();
    assert_eq!(m.mac_keys().len(), 2);
    // Built before the reset: old PIN key, and signed with the old MAC key.
    let frame = m.frame_signed(&with_old_pin, Some(&old));
    m.send_bytes(&frame).await;
    let reply = m.receive().await.unwrap();
    assert_eq!((reply.code(), reply.mac_good), ("00", Some(true)));
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.code(), "00");
}

#[tokio::test]
async fn old_keys_end_with_their_time() {
    let mut m = ready_with(|c| c.timing.key_overlap = 0).await;
    let old = m.mac_keys()[0].clone();
    m.sim.reset_keys().await.unwrap();
    let sale = m.sale(M01, 100);
    let frame = m.frame_signed(&sale, Some(&old));
    // The overlap of 0 ms ends with the millisecond in which the key changed.
    m.until(|sim| sim.status().has_keys).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        loop {
            m.send_bytes(&frame).await;
            if m.receive().await.unwrap().code() == "A0" {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_wrong_mac_is_a0_and_leaves_no_trace_in_the_books() {
    let mut m = ready().await;
    let sale = m.sale(M01, 5_000);
    let mut frame = m.frame(&sale);
    let last = frame.len() - 1;
    frame[last] ^= 1;
    m.send_bytes(&frame).await;
    let reply = m.receive().await.unwrap();
    assert_eq!((reply.code(), reply.mac_good), ("A0", Some(true)));
    assert_eq!(m.money("M01"), 1_000_000);
    // The forged message has not used up the key.
    assert_eq!(m.ask(&sale).await.code(), "00");

    let unsigned = m.frame_signed(&m.sale_without_change(), None);
    m.send_bytes(&unsigned).await;
    assert_eq!(m.receive().await.unwrap().code(), "A0");
}

impl Member {
    fn sale_without_change(&self) -> Request {
        let mut fields = self.management(301).fields;
        fields.remove(&70);
        Request { mti: 200, fields }
    }
}

#[tokio::test]
async fn mandatory_fields_are_demanded_one_by_one() {
    let mut m = ready().await;
    for field in [3, 4, 12, 13, 18, 22, 25, 32, 37, 41, 42, 43, 49, 60] {
        let sale = m.sale(M01, 100).without(field);
        let reply = m.ask(&sale).await;
        assert_eq!(reply.code(), "30", "without field {field}");
        let line = m.sim.record().pop().unwrap();
        assert_eq!(line.bad_field, Some(field));
    }
    let no_card = m.sale(M01, 100).without(2).without(35);
    assert_eq!(m.ask(&no_card).await.code(), "30");
    let track_only = m.sale(M01, 100).without(2);
    let reply = m.ask(&track_only).await;
    assert_eq!((reply.code(), reply.get(2)), ("00", M01.0));
    let dollars = m.sale(M01, 100).with(49, "840");
    assert_eq!(m.ask(&dollars).await.code(), "30");
    let stranger = m.sale(M01, 100).with(33, "48021111");
    assert_eq!(m.ask(&stranger).await.code(), "30");
    let pin_denied = m.sale(M01, 100).with(22, "802");
    assert_eq!(m.ask(&pin_denied).await.code(), "30");
    let unknown = m.sale(M01, 100).with(3, "990000");
    assert_eq!(m.ask(&unknown).await.code(), "40");
}

#[tokio::test]
async fn strangers_and_noise_are_refused() {
    let mut m = ready().await;
    let stranger = CupsHeader::new(NETWORK, "11112222");
    let echo = frame_of(&stranger, &m.management(301), &m.vault, None);
    m.send_bytes(&echo).await;
    assert_eq!(m.receive().await.unwrap().reject, "10003");
    assert!(m.receive().await.is_none(), "the line is closed after a stranger");

    m.reconnect().await;
    let elsewhere = CupsHeader::new("00090000", MEMBER);
    let echo = frame_of(&elsewhere, &m.management(301), &m.vault, None);
    m.send_bytes(&echo).await;
    assert_eq!(m.receive().await.unwrap().reject, "10002");

    // A body that is no message comes back with a reject code, and the line lives on.
    let mut junk = Vec::new();
    let mark = iso8583::frame::begin_cups(&mut junk, &CupsHeader::new(NETWORK, MEMBER));
    junk.extend_from_slice(b"0200 this is not a message");
    iso8583::frame::finish_cups(&mut junk, mark).unwrap();
    m.send_bytes(&junk).await;
    assert_eq!(m.receive().await.unwrap().reject, "10001");
    let strange = m.management(301).mti(1200);
    let frame = m.frame_signed(&strange, None);
    m.send_bytes(&frame).await;
    assert_eq!(m.receive().await.unwrap().reject, "10001");
    m.assert_silent().await;

    // What is no frame, or too long a one, closes the line.
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"9999", b"0010\x2e\x02000100000000"] {
        m.send_bytes(noise).await;
        assert!(m.receive().await.is_none(), "{noise:?}");
        m.reconnect().await;
    }
    m.assert_silent().await;
}

#[tokio::test]
async fn any_byte_of_a_request_may_be_broken() {
    let mut m = ready().await;
    let sale = m.sale(M01, 100);
    let frame = m.frame(&sale);
    for place in 4..frame.len() {
        let mut broken = frame.clone();
        broken[place] = broken[place].wrapping_add(1);
        m.send_bytes(&broken).await;
        match m.receive().await {
            Some(reply) if reply.reject == "00000" => {
                // Some bytes are under no check (the reserved ones of the header), some fields not under the MAC.
                assert!(
                    ["00", "A0", "30", "94", "40", "05", "14", "54", "59", "55", "99"]
                        .contains(&reply.code())
                );
            }
            Some(_) => {}
            None => m.reconnect().await,
        }
    }
    assert_eq!(m.sim.status().trial_balance, 0);
}

#[tokio::test]
async fn a_frame_may_arrive_in_pieces_and_several_at_once() {
    let mut m = ready().await;
    let requests: Vec<Request> = (0..50).map(|_| m.sale(M01, 100)).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(|r| m.frame(r)).collect();
    for piece in bytes.chunks(7) {
        m.send_bytes(piece).await;
    }
    for request in &requests {
        let reply = m.receive().await.unwrap();
        assert_eq!((reply.code(), reply.get(11)), ("00", request.get(11)));
    }
    assert_eq!(m.money("M01"), 1_000_000 - 5_000);
}

#[tokio::test]
async fn heartbeats_keep_an_idle_line() {
    let mut m = connected(|c| c.timing.heartbeat = 20).await;
    m.until_heartbeat().await;
    m.send_bytes(b"00000000").await;
    m.until_heartbeat().await;
    m.assert_silent().await;
}

#[tokio::test]
async fn cut_over_moves_the_day_and_tells_the_member() {
    let mut m = ready_with(|c| c.settlement_day = Some("2026-11-24".parse().unwrap())).await;
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.get(15), "1124");
    let day = m.sim.cut_over(None).await.unwrap();
    assert_eq!(day.to_string(), "2026-11-25");
    assert_eq!(m.notice().await, (820, "201".to_owned(), "1125".to_owned()));
    assert_eq!(m.notice().await, (820, "202".to_owned(), "1125".to_owned()));
    let sale = m.sale(M01, 200);
    assert_eq!(m.ask(&sale).await.get(15), "1125");
    let totals = m.sim.totals();
    assert_eq!(totals["2026-11-24"].net, 100);
    assert_eq!(totals["2026-11-25"].net, 200);
    m.sim.echo().await.unwrap();
    assert_eq!(m.notice().await.1, "301");
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let mut m = connected(|c| c.limits.connections = 1).await;
    m.assert_silent().await;
    let mut second = tokio::net::TcpStream::connect(m.sim.addr()).await.unwrap();
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut second, &mut byte).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    m.assert_silent().await;
}

#[tokio::test]
async fn mute_swallows_everything() {
    let mut m = ready().await;
    let before = m.sim.status().frames;
    m.sim.set_faults(sim::FaultSettings { mute: true, ..Default::default() });
    let sale = m.sale(M01, 100);
    m.send(&sale).await;
    m.send(&m.management(301)).await;
    m.until(|sim| sim.status().frames == before + 2).await;
    m.sim.set_faults(sim::FaultSettings::default());
    // Only this echo is answered: both messages before it are gone.
    m.assert_silent().await;
    assert!(m.sim.record().is_empty());
    assert_eq!(m.ask(&sale).await.code(), "00");
}

#[tokio::test]
async fn sign_on_can_be_refused() {
    let mut m = connected(|c| c.faults.refuse_sign_on = true).await;
    assert_eq!(m.ask(&m.management(1)).await.code(), "91");
    assert!(!m.sim.status().signed_on);
    m.sim.set_faults(sim::FaultSettings::default());
    m.sign_on().await;
    assert!(m.sim.status().signed_on);
}

#[tokio::test]
async fn the_zone_may_run_on_sm4() {
    let mut m = ready_with(|c| c.zone_algorithm = sim::ZoneAlgorithm::Sm4).await;
    assert_eq!(m.sim.status().zmk_check_value, "2677F46B");
    let sale = m.sale(M01, 100);
    let reply = m.ask(&sale).await;
    assert_eq!((reply.code(), reply.mac_good), ("00", Some(true)));
    let pin = hex::encode_upper(b"SM016") + &m.pin_block(M01, "000000");
    let wrong = m.sale(M01, 100).with(63, &pin);
    assert_eq!(m.ask(&wrong).await.code(), "55");
    let uncarried = m.sale(M01, 100).without(63);
    assert_eq!(m.ask(&uncarried).await.code(), "99");
    let other_family = m.sale(M01, 100).with(53, "2600000000000000");
    assert_eq!(m.ask(&other_family).await.code(), "30");
}

#[tokio::test]
async fn a_silent_member_is_dropped() {
    let mut m = connected(|c| c.timing.silence = 30).await;
    assert!(m.receive().await.is_none());
}
