//! The front between terminals that write their HTTP by hand and nodes that behave well or badly: the frame arrives as it
//! left, no request reaches two nodes, no answer reaches the wrong terminal, and whoever misbehaves is told so while the
//! others pay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::{
    Authority, Does, PATH, answer, ask, config, converse_on, dial_from, frame, hear, node, post, post_with,
    serve, serve_nodes,
};
use front::nodes::NodeAddress;
use front::{FrontConfig, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A terminal over HTTPS: what the node hears is byte for byte what the terminal made, in both framings, and so is the
/// answer. The head of the answer is what old parsers look for.
#[tokio::test]
async fn the_frame_arrives_as_it_left() {
    let authority = Authority::new();
    let mut node = node(Does::Answers).await;
    let tls = Arc::new(Tls::open(authority.files(None)).unwrap());
    let serving = serve(config(), &[node.address], Some(tls)).await;
    let mut stream = authority.dial(serving.address, None).await.unwrap();
    for trace in 1..=3 {
        let frame = frame("00000001", trace);
        let heard = converse_on(&mut stream, &frame).await.unwrap();
        assert_eq!(heard.status, 200);
        assert_eq!(heard.body, answer(&frame, false), "the answer, with its length");
        assert_eq!(node.heard.recv().await.unwrap(), frame);
        assert!(heard.head.contains("Content-Type: x-ISO-TPDU/x-auth\r\n"), "{}", heard.head);
        assert!(!heard.head.to_lowercase().contains("transfer-encoding"), "{}", heard.head);

        let heard = converse_on(&mut stream, &frame[2..]).await.unwrap();
        assert_eq!(heard.body, answer(&frame, false)[2..], "the answer without length, as the request came");
        assert_eq!(node.heard.recv().await.unwrap(), frame, "on the socket the length is there");
    }
}

/// A node that cannot be reached is passed over; one that has read the request and closed is not: nobody else may hear it.
#[tokio::test]
async fn a_request_is_never_sent_to_a_second_node_once_it_may_have_left() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut good = node(Does::Answers).await;
    let serving = serve(config(), &[gone, good.address], None).await;
    for trace in 1..=4 {
        let frame = frame("00000001", trace);
        assert_eq!(ask(serving.address, &post(&frame)).await.status, 200);
        assert_eq!(good.heard.recv().await.unwrap(), frame);
    }
    assert_eq!(serving.front.nodes.up(), (1, 2));

    let mut bad = node(Does::Closes).await;
    let mut good = node(Does::Answers).await;
    let serving = serve(config(), &[bad.address, good.address], None).await;
    let (mut answered, mut lost) = (0, 0);
    for trace in 1..=6 {
        match ask(serving.address, &post(&frame("00000001", trace))).await.status {
            200 => answered += 1,
            502 => lost += 1,
            other => panic!("status {other}"),
        }
    }
    bad.task.abort();
    good.task.abort();
    let mut traces: Vec<Vec<u8>> = Vec::new();
    while let Ok(frame) = bad.heard.try_recv() {
        traces.push(frame);
    }
    assert_eq!(traces.len(), lost, "each that the bad node heard was lost");
    while let Ok(frame) = good.heard.try_recv() {
        traces.push(frame);
    }
    traces.sort();
    traces.dedup();
    assert_eq!((traces.len(), answered + lost), (6, 6), "each request was heard once");
    assert!(lost > 0 && answered > 0);
}

/// Silence ends before the terminal's own patience, and what arrives later, or belongs to another request, reaches nobody.
#[tokio::test]
async fn no_answer_reaches_another_terminal() {
    let mut silent = node(Does::KeepsSilent).await;
    let quick = FrontConfig { patience: Duration::from_millis(200), ..config() };
    let serving = serve(quick, &[silent.address], None).await;
    assert_eq!(ask(serving.address, &post(&frame("00000001", 1))).await.status, 504);
    silent.heard.recv().await.unwrap();

    let confused = node(Does::Confuses).await;
    let serving = serve(config(), &[confused.address], None).await;
    assert_eq!(ask(serving.address, &post(&frame("00000001", 1))).await.status, 502);
}

/// A node closes connections at rest: the next request finds that out before it leaves.
#[tokio::test]
async fn a_connection_that_the_node_closed_is_not_used_again() {
    let mut node = node(Does::AnswersAndCloses).await;
    let serving = serve(config(), &[node.address], None).await;
    for trace in 1..=20 {
        let frame = frame("00000001", trace);
        assert_eq!(ask(serving.address, &post(&frame)).await.status, 200, "trace {trace}");
        assert_eq!(node.heard.recv().await.unwrap(), frame);
    }
}

/// A node that says that it is not ready is passed over until it is.
#[tokio::test]
async fn a_node_that_is_not_ready_gets_no_requests() {
    let ops = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let health = ops.local_addr().unwrap();
    let (ready, mut says) = tokio::sync::watch::channel("503 Service Unavailable");
    says.mark_unchanged();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = ops.accept().await.unwrap();
            let mut asked = [0; 1_024];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(asked[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            let status = *says.borrow();
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let unready = node(Does::Answers).await;
    let good = node(Does::Answers).await;
    let quick = FrontConfig { health_interval: Duration::from_millis(20), ..config() };
    let nodes = vec![
        NodeAddress { pos: unready.address.to_string(), ops: Some(health.to_string()) },
        NodeAddress { pos: good.address.to_string(), ops: None },
    ];
    let serving = serve_nodes(quick, nodes, None).await;
    let becomes = async |count| {
        let poll = async {
            while serving.front.nodes.up().0 != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(common::PATIENCE, poll).await.expect("the node's health is seen");
    };
    becomes(1).await;
    for trace in 1..=4 {
        assert_eq!(ask(serving.address, &post(&frame("00000001", trace))).await.status, 200);
    }
    assert!(unready.heard.is_empty());
    ready.send("200 OK").unwrap();
    becomes(2).await;
    for trace in 5..=8 {
        assert_eq!(ask(serving.address, &post(&frame("00000001", trace))).await.status, 200);
    }
    assert!(!unready.heard.is_empty());
}

/// Whatever is no frame gets a status and a sentence, and costs no node anything.
#[tokio::test]
async fn what_is_no_frame_is_told_so() {
    let node = node(Does::Answers).await;
    let quick = FrontConfig { body_patience: Duration::from_millis(200), ..config() };
    let serving = serve(quick, &[node.address], None).await;
    let good = frame("00000001", 1);
    let other = |line: &str| format!("{line}\r\nHost: front\r\nContent-Length: 0\r\n\r\n").into_bytes();
    for (request, status, sentence) in [
        (post(b""), 400, "the body is empty\n"),
        (post(b"hello, front"), 400, "the body is neither a frame with its length nor a TPDU\n"),
        (post(&good[..30]), 400, "the body is neither a frame with its length nor a TPDU\n"),
        (post(&[0x60; 2_049]), 400, "the frame has 2049 bytes, more than 2048\n"),
        (post(&[0x60; 5_000]), 413, "the body has more than 2050 bytes\n"),
        (other("POST /elsewhere HTTP/1.1"), 404, "no such path\n"),
        (other(&format!("GET {PATH} HTTP/1.1")), 405, "frames are posted\n"),
    ] {
        let heard = ask(serving.address, &request).await;
        assert_eq!((heard.status, String::from_utf8(heard.body).unwrap().as_str()), (status, sentence));
    }
    // A body without a length, longer than it may be.
    let mut chunked = format!("POST {PATH} HTTP/1.1\r\nHost: front\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..10 {
        chunked += &format!("400\r\n{}\r\n", "x".repeat(1_024));
    }
    assert_eq!(ask(serving.address, chunked.as_bytes()).await.status, 413);
    // A body that stops half way.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(&post(&good)[..post(&good).len() - 5]).await.unwrap();
    assert_eq!(hear(&mut stream).await.unwrap().status, 408);
    assert!(node.heard.is_empty());
    assert_eq!(ask(serving.address, &post(&good)).await.status, 200, "and a good one is served");
}

/// Each door says what it speaks: plain HTTP at the TLS door hears so in plain HTTP, TLS at the plain door is closed.
#[tokio::test]
async fn the_wrong_protocol_is_refused() {
    let authority = Authority::new();
    let node = node(Does::Answers).await;
    let tls = Arc::new(Tls::open(authority.files(None)).unwrap());
    let secure = serve(config(), &[node.address], Some(tls)).await;
    let heard = ask(secure.address, &post(&frame("00000001", 1))).await;
    assert_eq!((heard.status, heard.body.as_slice()), (400, b"HTTPS is spoken here, not HTTP.\n".as_slice()));
    let plain = serve(config(), &[node.address], None).await;
    assert!(authority.dial(plain.address, None).await.is_err());
    assert!(node.heard.is_empty());
}

/// Terminals with certificates: one of another authority, one that was taken back, none where one is wanted, and one that is
/// shown by another terminal are all refused; the right one pays.
#[tokio::test]
async fn a_certificate_is_of_one_terminal() {
    let authority = Authority::new();
    authority.revoke(&[9]);
    let mut node = node(Does::Answers).await;
    let tls = Arc::new(Tls::open(authority.files(Some(true))).unwrap());
    let serving = serve(config(), &[node.address], Some(tls)).await;
    let good = frame("00000001", 1);
    // With TLS 1.3 the client learns at its first read that it was refused.
    let refused = async |own| match authority.dial(serving.address, own).await {
        Err(_) => true,
        Ok(mut stream) => converse_on(&mut stream, &good).await.is_none(),
    };
    assert!(refused(None).await, "without a certificate");
    assert!(
        refused(Some(Authority::new().terminal("898000000000001-00000001", 1))).await,
        "of another authority"
    );
    assert!(refused(Some(authority.terminal("898000000000001-00000001", 9))).await, "taken back");
    let other = authority.terminal("898000000000001-00000002", 2);
    let mut stream = authority.dial(serving.address, Some(other)).await.unwrap();
    assert_eq!(converse_on(&mut stream, &good).await.unwrap().status, 403);
    assert!(node.heard.is_empty());
    let own = authority.terminal("898000000000001-00000001", 3);
    let mut stream = authority.dial(serving.address, Some(own)).await.unwrap();
    assert_eq!(converse_on(&mut stream, &good).await.unwrap().status, 200);
    assert_eq!(node.heard.recv().await.unwrap(), good);
}

/// Certificates are renewed while the front serves: new connections see the new one, and a renewal that went wrong changes
/// nothing.
#[tokio::test]
async fn certificates_are_renewed_without_a_restart() {
    let authority = Authority::new();
    let node = node(Does::Answers).await;
    let tls = Arc::new(Tls::open(authority.files(None)).unwrap());
    let serving = serve(config(), &[node.address], Some(Arc::clone(&tls))).await;
    let seen = async || {
        let stream = authority.dial(serving.address, None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = seen().await;
    let second = authority.new_server_certificate();
    assert!(tls.refresh().unwrap());
    assert_eq!(seen().await, second);
    assert_ne!(first, second);
    std::fs::write(authority.path("front.pem"), "nothing of use").unwrap();
    assert!(tls.refresh().is_err());
    assert!(!tls.refresh().unwrap(), "it is not tried again until the file changes");
    assert_eq!(seen().await, second);
}

/// One address floods the front, and one terminal asks faster than a terminal can: both are told to wait, others pay.
#[tokio::test]
async fn a_flood_is_its_senders_own_trouble() {
    let silent = node(Does::KeepsSilent).await;
    let tight = FrontConfig {
        connections_per_address_max: 5,
        terminal_requests_max: 1,
        patience: Duration::from_secs(60),
        ..config()
    };
    let serving = serve(tight.clone(), &[silent.address], None).await;
    let mut held = TcpStream::connect(serving.address).await.unwrap();
    held.write_all(&post(&frame("00000001", 1))).await.unwrap();
    let mut silent = silent;
    silent.heard.recv().await.unwrap();
    let heard = ask(serving.address, &post(&frame("00000001", 2))).await;
    assert_eq!((heard.status, heard.head.contains("Retry-After: 1\r\n")), (429, true));

    let good = node(Does::Answers).await;
    let hasty = FrontConfig { terminal_per_second_max: 3, ..tight.clone() };
    let serving = serve(hasty, &[good.address], None).await;
    let mut line = TcpStream::connect(serving.address).await.unwrap();
    for (number, status) in [(1, 200), (2, 200), (3, 200), (4, 429)] {
        assert_eq!(converse_on(&mut line, &frame("00000004", number)).await.unwrap().status, status);
    }
    assert_eq!(converse_on(&mut line, &frame("00000005", 1)).await.unwrap().status, 200);

    let serving = serve(tight, &[good.address], None).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(dial_from([127, 0, 0, 2], serving.address).await);
    }
    let mut taken = 0;
    for stream in &mut flood {
        taken += usize::from(converse_on(stream, &frame("00000002", 1)).await.is_some());
    }
    assert_eq!(taken, 5);
    let mut other = dial_from([127, 0, 0, 3], serving.address).await;
    assert_eq!(converse_on(&mut other, &frame("00000003", 1)).await.unwrap().status, 200);
}

/// Behind an SSL accelerator everybody comes from one address; who is counted is whom the accelerator names. Nobody
/// else is believed, and of what a terminal may have written before it nothing.
#[tokio::test]
async fn an_accelerator_is_believed_and_nobody_else() {
    let good = node(Does::Answers).await;
    let behind = FrontConfig {
        forwarded_by: vec![IpAddr::from([127, 0, 0, 1])],
        requests_per_second_max: 3,
        ..config()
    };
    let serving = serve(behind, &[good.address], None).await;
    let from = |address: &str| post_with(&frame("00000001", 1), &format!("X-Forwarded-For: {address}\r\n"));
    for _ in 0..3 {
        assert_eq!(ask(serving.address, &from("192.0.2.7")).await.status, 200);
    }
    assert_eq!(ask(serving.address, &from("198.51.100.1, 192.0.2.7")).await.status, 429);
    assert_eq!(ask(serving.address, &from("192.0.2.7, 192.0.2.8")).await.status, 200);
    let mut liar = dial_from([127, 0, 0, 4], serving.address).await;
    for status in [200, 200, 200, 429] {
        liar.write_all(&from("192.0.2.9")).await.unwrap();
        assert_eq!(hear(&mut liar).await.unwrap().status, status);
    }
}

/// A front that stops takes nobody new and lets every request that is in work have its answer.
#[tokio::test]
async fn a_stop_waits_for_answers() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    let serving = serve(config(), &[address], None).await;
    let good = frame("00000001", 1);
    let mut terminal = TcpStream::connect(serving.address).await.unwrap();
    let idle = TcpStream::connect(serving.address).await.unwrap();
    terminal.write_all(&post(&good)).await.unwrap();
    let mut read = vec![0; good.len()];
    // The first connection may be the look at its health.
    let mut node = loop {
        let (mut stream, _) = socket.accept().await.unwrap();
        if stream.read_exact(&mut read).await.is_ok() {
            break stream;
        }
    };
    serving.stop.cancel();
    node.write_all(&answer(&good, false)).await.unwrap();
    assert_eq!(hear(&mut terminal).await.unwrap().status, 200);
    tokio::time::timeout(common::PATIENCE, serving.done).await.expect("it ends").unwrap();
    drop(idle);
    assert!(TcpStream::connect(serving.address).await.is_err());
}
