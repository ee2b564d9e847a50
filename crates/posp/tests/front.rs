//! The whole binary as an internet front before a node: a frame that is posted over HTTP is a payment like any other, a
//! node that is away is told as such and used again when it is back, and an operator stops the front in good order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pos::{CardInput, Entry, KeyLayout, Pin, SaleRequest, TmkComponent, VoidRequest};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::raw::{RawTerminal, Reply};
use support::{FIRST, Lab, MERCHANT, Process, SECOND, Setup, TMK, free_port, get, metric, until_async};

/// A front before a laboratory's node.
struct Fronted {
    process: Process,
    door: SocketAddr,
    ops: SocketAddr,
    client: reqwest::Client,
}

impl Fronted {
    /// With further lines for its section.
    fn before(lab: &Lab, more: &str) -> Fronted {
        let file = lab.dir.path().join("front.toml");
        let (door, ops) = (free_port(), free_port());
        let text = format!(
            "[front]\nlisten = '127.0.0.1:{door}'\nops = '127.0.0.1:{ops}'\nnodes = '{}/{}'\nhealth_ms = 50\n{more}",
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
    let mut front = Fronted::before(&lab, "");
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

/// An authority, the front's certificate, and one of a terminal, as files in a laboratory's directory.
struct Certificates<'a>(&'a Lab);

impl Certificates<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.dir.path().join(name)
    }

    fn make(&self, terminals: &[&str]) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(self.path("authority.pem"), authority.pem()).unwrap();
        let one = |name: &str, params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        };
        one("front", CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
        for terminal in terminals {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, format!("{MERCHANT}-{terminal}"));
            one(terminal, params);
        }
    }
}

/// A terminal of the acquirer's own goes through the whole day over HTTPS with a certificate of its own; with another
/// terminal's certificate it is told so and nothing reaches the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_spends_its_day_over_https() {
    let lab = Lab::start(Setup::default()).await;
    let certificates = Certificates(&lab);
    certificates.make(&[FIRST, SECOND]);
    let file = |name: &str| certificates.path(name).display().to_string();
    let front = Fronted::before(
        &lab,
        &format!(
            "certificate = '{}'\nkey = '{}'\nclient_authorities = '{}'\nclient_required = true\n",
            file("front.pem"),
            file("front.key"),
            file("authority.pem"),
        ),
    );
    front.until(200).await;
    let config = |certificate: &str| {
        let mut config = lab.terminal_config(FIRST);
        config.host = format!("https://localhost:{}/unp/webtrans/VPB_lb", front.door.port());
        config.ca_file = Some(certificates.path("authority.pem"));
        config.certificate_file = Some(certificates.path(&format!("{certificate}.pem")));
        config.certificate_key_file = Some(certificates.path(&format!("{certificate}.key")));
        config
    };
    let components: Vec<TmkComponent> = TMK.iter().map(|text| TmkComponent::parse(text)).collect();

    let mut thief = pos::Terminal::enrol(lab.dir.path().join("thief"), config(SECOND)).unwrap();
    thief.load_tmk(&components, None).await.unwrap();
    let told = format!("{:?}", thief.sign_in(KeyLayout::TripleDesTrack).await);
    assert!(told.contains("403") && told.contains("the certificate is of another terminal"), "{told}");

    let mut terminal = pos::Terminal::enrol(lab.terminal_dir(FIRST), config(FIRST)).unwrap();
    terminal.load_tmk(&components, None).await.unwrap();
    assert!(terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
    let chip = |fen| SaleRequest {
        amount_fen: fen,
        card: CardInput::deck("L01").unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    };
    let sale = terminal.sale(chip(1_250)).await.unwrap();
    assert!(sale.approved, "{sale:?}");
    assert!(terminal.sale(chip(300)).await.unwrap().approved);
    let void = VoidRequest::by_trace(sale.trace);
    assert!(terminal.void(void).await.unwrap().approved);
    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved, "{settled:?}");
    let payments = lab.payments(&[]);
    assert_eq!(payments.len(), 3, "two sales and a void: {payments:?}");
}

/// The page of `posp terminal`, worked as its buttons do.
struct SmartPage {
    _process: Process,
    terminal: String,
    client: reqwest::Client,
}

impl SmartPage {
    /// With the arguments of docs/operations.md.
    fn over(front: &Fronted, certificates: &Certificates<'_>) -> SmartPage {
        let listen = format!("127.0.0.1:{}", free_port());
        let host = format!("https://localhost:{}/unp/webtrans/VPB_lb", front.door.port());
        let authority = certificates.path("authority.pem").display().to_string();
        let directory = certificates.path("smart").display().to_string();
        let arguments =
            [
                &[
                    "terminal",
                    "--host",
                    &host,
                    "--ca",
                    &authority,
                    "--merchant",
                    MERCHANT,
                    "--terminal",
                    FIRST,
                ][..],
                &[
                    "--tmk-component",
                    TMK[0],
                    "--tmk-component",
                    TMK[1],
                    "--listen",
                    &listen,
                    "--dir",
                    &directory,
                ],
            ]
            .concat();
        let mut process = Process::start(&arguments, &certificates.path("smart.log"));
        let said = process.line();
        let address = said.trim().strip_prefix("http://").unwrap_or_else(|| panic!("no address: {said}"));
        let terminal = format!("http://{address}api/terminals/{FIRST}");
        SmartPage { _process: process, terminal, client: reqwest::Client::new() }
    }

    async fn post(&self, what: &str, body: Value) {
        let answer = self.client.post(format!("{}/{what}", self.terminal)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{body}: {}", answer.text().await.unwrap());
    }

    /// Sells by a tap from the menu; what the result says.
    async fn tap_a_sale(&self) -> Value {
        self.post("press", json!({ "do": "trade", "trade": "sale" })).await;
        self.until(&["amount"]).await;
        self.post("press", json!({ "do": "amount", "amount": 8_800 })).await;
        self.until(&["card"]).await;
        self.post("hand", json!({ "act": "tap", "card": "L01" })).await;
        // The second slip comes when the first one is torn off.
        if self.until(&["tear", "result"]).await["view"] == "tear" {
            self.post("press", json!({ "do": "confirm" })).await;
        }
        let result = self.until(&["result"]).await;
        self.post("hand", json!({ "act": "untap" })).await;
        result
    }

    /// Waits for one of these screens.
    async fn until(&self, views: &[&str]) -> Value {
        until_async(&format!("the screen is one of {views:?}"), || async {
            let (_, shown) = get(&self.terminal).await?;
            let screen = serde_json::from_str::<Value>(&shown).ok()?["screen"].take();
            views.contains(&screen["view"].as_str()?).then_some(screen)
        })
        .await
    }
}

/// A smart POS on its page fetches its chip tables and takes a tap over the front: it knows the front's address and its
/// authority, and no node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smart_pos_pays_over_https() {
    let lab = Lab::start(Setup::default()).await;
    for (what, name) in [("ca-key", "ca-keys.hex"), ("aid", "aids.hex")] {
        let file = format!("{}/../sim/lab/{name}", env!("CARGO_MANIFEST_DIR"));
        lab.good(&["params", what, "add", &file]);
    }
    let certificates = Certificates(&lab);
    certificates.make(&[]);
    let file = |name: &str| certificates.path(name).display().to_string();
    let (certificate, key) = (file("front.pem"), file("front.key"));
    let front = Fronted::before(&lab, &format!("certificate = '{certificate}'\nkey = '{key}'\n"));
    front.until(200).await;
    let page = SmartPage::over(&front, &certificates);
    page.until(&["menu"]).await;
    let mut result = page.tap_a_sale().await;
    // The node looks for changed lists each second; a terminal that was quicker has read no chip tables.
    for _ in 0..20 {
        if result["ending"]["why"]["reason"] != "NoCommonApplication" {
            break;
        }
        // The node has not read its lists yet.
        tokio::time::sleep(Duration::from_secs(1)).await; // poll
        page.post("press", json!({ "do": "confirm" })).await;
        page.until(&["menu"]).await;
        page.post("press", json!({ "do": "desk", "desk": "download" })).await;
        page.until(&["told", "trouble"]).await;
        page.post("press", json!({ "do": "confirm" })).await;
        page.until(&["menu"]).await;
        result = page.tap_a_sale().await;
    }
    let payments = lab.payments(&[]);
    assert_eq!(payments.len(), 1, "{result}: {payments:?}");
    assert_eq!((&payments[0]["state"], &payments[0]["terminal"]), (&json!("approved"), &json!(FIRST)));
    assert_eq!(result["amount"], 8_800, "{result}");
    let (_, numbers) = get(&format!("http://{}/metrics", front.ops)).await.unwrap();
    let carried = metric(&numbers, "posp_front_requests_total", &[("status", "200")]);
    assert!(carried >= 4, "sign-in, keys, applications and sale came through the front: {carried}");
}
