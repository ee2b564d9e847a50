//! Nothing secret in the log: a session of approvals, declines, faults and broken frames is logged at the most
//! talkative level, and the log is searched for card numbers, tracks, PIN blocks and keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use common::*;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_holds_no_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut m = ready().await;
    let mut secrets = Vec::new();
    for card in [L01, L02, L04, L10, L12, M01, M02] {
        let sale = m.chip_sale(card, 9_003);
        secrets.extend([2, 35, 52].map(|field| sale.get(field).to_owned()));
        m.send(&sale).await;
        let mut broken = m.frame(&sale);
        let end = broken.len() - 1;
        broken[end] ^= 1;
        m.send_bytes(&broken).await;
        broken[60] = b'x';
        m.send_bytes(&broken).await;
    }
    let no_pin_block = m.sale(M01, 100).with(52, "00112233445566AA");
    secrets.push("00112233445566AA".to_owned());
    m.send(&no_pin_block).await;
    m.send(&m.management(301).with(11, "424242")).await;
    while m.receive().await.unwrap().get(11) != "424242" {}
    m.send_bytes(b"6224242000000120").await;
    assert!(m.receive().await.is_none());
    m.sim.shutdown().await.unwrap();

    secrets.extend(sim::LAB_ZMK_COMPONENTS.map(str::to_owned));
    secrets.push("0123456789ABCDEFFEDCBA9876543210".to_owned());
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("signed on") && text.contains("answered"), "the log was written: {text}");
    for secret in secrets {
        assert!(!text.to_uppercase().contains(&secret), "a secret of {} characters", secret.len());
    }
}
