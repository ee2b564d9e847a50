//! The commands of `posp pos` as an operator types them, over a real socket: a morning as a script, results compared,
//! secrets never echoed, JSON for programs, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;

use std::path::Path;

use clap::Parser;
use host::{Fault, Host, TMK};
use pos::PosError;
use pos::cli::{ExitStatus, PosArgs, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: PosArgs,
}

/// Serves the scripted host on a socket; several requests on one connection.
async fn serve(host: Host) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move {
                loop {
                    let mut frame = vec![0; 2];
                    if stream.read_exact(&mut frame).await.is_err() {
                        return;
                    }
                    let length = usize::from(frame[0]) << 8 | usize::from(frame[1]);
                    frame.resize(2 + length, 0);
                    stream.read_exact(&mut frame[2..]).await.unwrap();
                    match host.answer(&frame) {
                        // In two pieces, as networks deliver.
                        Some(Ok(answer)) => {
                            stream.write_all(&answer[..5]).await.unwrap();
                            stream.flush().await.unwrap();
                            tokio::task::yield_now().await;
                            stream.write_all(&answer[5..]).await.unwrap();
                        }
                        Some(Err(_)) => return,
                        None => {}
                    }
                }
            });
        }
    });
    address
}

async fn pos(dir: &Path, words: &[&str]) -> (Result<ExitStatus, PosError>, String) {
    let dir = dir.join("terminal");
    let head = ["pos", "--dir", dir.to_str().unwrap()];
    let args = Command::try_parse_from(head.iter().chain(words)).unwrap().args;
    let mut out = Vec::new();
    let result = run(args, &mut out).await;
    (result, String::from_utf8(out).unwrap())
}

async fn enrolled(host: &Host) -> tempfile::TempDir {
    let address = serve(host.clone()).await;
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "enrol",
        "--host",
        &address,
        "--merchant",
        "898100000000001",
        "--terminal",
        "10000001",
        "--timeout",
        "1",
    ];
    assert_eq!(pos(dir.path(), &words).await.0.unwrap(), ExitStatus::Done);
    let component = format!("{TMK}:08D7B4FB");
    let (result, text) = pos(dir.path(), &["load-tmk", "--component", &component]).await;
    assert_eq!(result.unwrap(), ExitStatus::Done);
    assert!(text.contains("08D7B4FB") && !text.contains(TMK));
    dir
}

#[tokio::test]
async fn a_morning_as_a_script() {
    let host = Host::new();
    let dir = enrolled(&host).await;
    host.faults([
        Fault::None,                             // sign-in
        Fault::None,                             // echo
        Fault::Code("51"),                       // sale declined
        Fault::None,                             // balance
        Fault::None,                             // sale
        Fault::None,                             // void
        Fault::Chip("910A00000000000000003030"), // refused by the chip
    ]);
    let script = dir.path().join("morning.txt");
    std::fs::write(
        &script,
        "\
# A short morning.
sign-in --keys 3des-track => 00
echo => 00
sale --amount 5.00 --card L04 --entry chip --pin 123456 => 51   # balance 1.00
balance --card L01 --entry chip --pin 123456 => 00
sale --amount 12.34 --card L02 --entry swipe --pin 123456 => 00
void --trace $trace --no-pin => 00
sale --amount 8.00 --card L05 --entry chip --pin 123456 => chip-refused
reversal => 00
sale --amount 9.00 --card L07 --entry chip --pin 123456 => chip-declined
sale --amount 9.00 --card L09 --entry chip --pin 123456 => error
sale --amount 9.00 --card L09 --entry fallback --pin 123456 => 00
refund --amount 1.00 --rrn $rrn --card L02 --entry swipe => 00
journal => ok
settle => 00
status
",
    )
    .unwrap();
    let (result, text) = pos(dir.path(), &["script", script.to_str().unwrap()]).await;
    assert_eq!(result.unwrap(), ExitStatus::Done, "{text}");
    assert!(text.contains("POS 结算总计单") && text.contains("balance ¥ 10000.00"), "{text}");
    assert!(!text.contains("123456") && !text.contains("6224242000000021"), "{text}");
    assert_eq!(host.mtis(), [800, 820, 200, 200, 200, 200, 200, 400, 200, 220, 500, 320, 320, 320, 820]);
}

/// A host that hangs up after each answer: a kept connection is found closed and dialled again, nothing is lost.
#[tokio::test]
async fn a_connection_closed_while_idle_is_dialled_again() {
    let host = Host::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (closed, mut wait) = tokio::sync::mpsc::channel::<()>(1);
    let answering = host.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut frame = vec![0; 2];
            stream.read_exact(&mut frame).await.unwrap();
            frame.resize(2 + (usize::from(frame[0]) << 8 | usize::from(frame[1])), 0);
            stream.read_exact(&mut frame[2..]).await.unwrap();
            stream.write_all(&answering.answer(&frame).unwrap().unwrap()).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = pos::TerminalConfig::new(address, "898100000000001", "10000001");
    let mut terminal = pos::Terminal::enrol(dir.path(), config).unwrap();
    for _ in 0..3 {
        let outcome = terminal.echo().await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
        wait.recv().await.unwrap();
    }
    assert_eq!(host.mtis(), [820, 820, 820]);
}

#[tokio::test]
async fn results_exit_codes_and_json() {
    let host = Host::new();
    let dir = enrolled(&host).await;
    pos(dir.path(), &["sign-in"]).await.0.unwrap();

    let sale = ["sale", "--amount", "12.34", "--card", "L02", "--entry", "swipe", "--pin", "123456"];
    let (result, text) = pos(dir.path(), &[&sale[..], &["--json", "--show-bytes"]].concat()).await;
    assert_eq!(result.unwrap(), ExitStatus::Done);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((value["result"].as_str(), value["amount_fen"].as_u64()), (Some("00"), Some(1_234)));
    assert!(value["request"].as_str().unwrap().contains("0200"));

    host.faults([Fault::Code("55")]);
    let (result, text) = pos(dir.path(), &[&sale[..], &["--show-bytes"]].concat()).await;
    assert_eq!(result.unwrap(), ExitStatus::Declined);
    assert!(
        text.contains("密码错") && text.contains("wrong PIN") && !text.contains("6224242000000021"),
        "{text}"
    );

    host.faults([Fault::Silent]);
    let (result, text) = pos(dir.path(), &sale).await;
    assert_eq!(result.unwrap(), ExitStatus::Declined);
    assert!(text.contains("98"), "{text}");
    let (_, status) = pos(dir.path(), &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["pending_reversal"]["reason"], "98");

    // A script stops at the first surprise, unless told to keep going.
    let script = dir.path().join("s.txt");
    std::fs::write(&script, "echo => 51\necho => 00\nnonsense\n").unwrap();
    let (result, text) = pos(dir.path(), &["script", script.to_str().unwrap()]).await;
    assert_eq!(result.unwrap(), ExitStatus::Declined);
    assert!(text.contains("expected 51, got 00"));
    let (result, _) = pos(dir.path(), &["script", "--keep-going", script.to_str().unwrap()]).await;
    assert!(result.unwrap_err().to_string().starts_with("line 3"));

    let (result, text) = pos(dir.path(), &["deck"]).await;
    assert_eq!((result.unwrap(), text.lines().count()), (ExitStatus::Done, pos::deck::DECK.len()), "{text}");
    let (result, _) = pos(
        dir.path(),
        &["enrol", "--host", "h:1", "--merchant", "898100000000001", "--terminal", "10000001"],
    )
    .await;
    assert!(matches!(result, Err(PosError::AlreadyEnrolled(_))));
    let hidden = ["pos", "sale", "--amount", "1", "--pan", "6224242000000013", "--pin", "123456"];
    let shown = format!("{:?}", Command::try_parse_from(hidden).unwrap().args);
    assert!(!shown.contains("6224242000000013") && !shown.contains("123456"), "{shown}");
    assert!(Command::try_parse_from(["pos", "sale", "--amount", "1.234", "--card", "L01"]).is_err());
    assert!(
        Command::try_parse_from(["pos", "sale", "--amount", "1", "--card", "L01", "--pan", "1"]).is_err()
    );
}
