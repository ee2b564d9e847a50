//! The whole binary as an internet front before a node: a frame that is posted over HTTP is a payment like any other, a
//! node that is away is told as such and used again when it is back, and an operator stops the front in good order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;
use support::raw::{RawTerminal, Reply};
use support::{Lab, Process, Setup, free_port, get, until_async};

/// A front before a laboratory's node.
struct Fronted {
    process: Process,
    door: SocketAddr,
    ops: SocketAddr,
    client: reqwest::Client,
}

impl Fronted {
    fn before(lab: &Lab) -> Fronted {
        let file = lab.dir.path().join("front.toml");
        let (door, ops) = (free_port(), free_port());
        let text = format!(
            "[front]\nlisten = '127.0.0.1:{door}'\nops = '127.0.0.1:{ops}'\nnodes = '{}/{}'\nhealth_ms = 50\n",
            lab.pos, lab.ops,
        );
        fs::write(&file, text).unwrap();
        let arguments = ["--config", file.to_str().unwrap(), "front", "--announce"];
        let mut process = Process::start(&arguments, &lab.dir.path().join("front.log"));
        let announced: Value = serde_json::from_str(&process.line()).unwrap();
        let address = |value: &Value| value.as_str().unwrap().parse().unwrap();
        let (door, ops) = (address(&announced["doors"][0]), address(&announced["ops"]));
        Fronted { process, door, ops, client: reqwest::Client::new() }
    }

    /// Posts a frame as a terminal does.
    async fn post(&self, frame: Vec<u8>) -> (u16, Vec<u8>) {
        let url = format!("http://{}/unp/webtrans/WPOS", self.door);
        let request = self.client.post(url).header("Content-Type", "x-ISO-TPDU/x-auth").body(frame);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// Waits until its page says so.
    async fn until(&self, status: u16) {
        let url = format!("http://{}/readyz", self.ops);
        until_async("the front sees the node", || async { (get(&url).await?.0 == status).then_some(()) })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_comes_over_http() {
    let mut lab = Lab::start(Setup::default()).await;
    let mut front = Fronted::before(&lab);
    front.until(200).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    let request = terminal.sale(1_250);
    let (status, body) = front.post(terminal.signed(&request)).await;
    assert_eq!(status, 200);
    let reply = Reply::Frame(body);
    assert_eq!(reply.code(), "00");
    assert!(terminal.is_signed(&reply), "the answer's MAC is of the same bytes");
    assert_eq!(lab.payments(&["--state", "approved"]).len(), 1);

    lab.node.take().unwrap().kill();
    front.until(503).await;
    let request = terminal.sale(1_300);
    let (status, body) = front.post(terminal.signed(&request)).await;
    assert_eq!((status, body.as_slice()), (503, b"no node can be reached\n".as_slice()));

    lab.start_node().await;
    lab.ready().await;
    front.until(200).await;
    let request = terminal.sale(1_400);
    let (status, body) = front.post(terminal.signed(&request)).await;
    assert_eq!((status, Reply::Frame(body).code().as_str()), (200, "00"));
    assert_eq!(lab.payments(&["--state", "approved"]).len(), 2);

    front.process.signal(Signal::TERM);
    assert!(front.process.ended().await.success());
}
