//! The master key is rotated while terminals pay: a triple-DES and an SM4 one on the same host. Not one payment
//! fails, a terminal signs in during it, the rotation goes on where it was killed, the old key cannot be
//! retired while anything is under it, and after a restart with the new key alone everything is readable.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pos::{Download, Entry, KeyLayout, PosError};

use crate::support::{FIRST, Lab, NATIONAL, SECOND, Setup, command, text, until_async};
use crate::{books_agree, sale, sold, swipe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_is_rotated_under_traffic() {
    let mut lab = Lab::start(Setup::default()).await;
    let before = lab.good(&["key", "show"]);
    let lost = pos::deck::DECK.iter().find(|card| card.id == "M03").unwrap().pan;
    let list = lab.dir.path().join("lost.txt");
    fs::write(&list, lost).unwrap();
    lab.good(&["params", "blacklist", "import", list.to_str().unwrap()]);
    let done = Arc::new(AtomicBool::new(false));
    let mut traffic = Vec::new();
    for (id, layout) in [(FIRST, KeyLayout::TripleDesTrack), (NATIONAL, KeyLayout::Sm4)] {
        let (mut terminal, _) = lab.terminal(id).await;
        assert!(terminal.sign_in(layout).await.unwrap().approved);
        sold(&mut terminal, swipe(100)).await;
        let done = Arc::clone(&done);
        traffic.push(tokio::spawn(async move {
            let mut sales = 0u64;
            while !done.load(Ordering::Relaxed) || sales < 10 {
                sold(&mut terminal, swipe(100 + sales % 50)).await;
                sales += 1;
            }
            (terminal, sales)
        }));
    }

    // A rotation that is killed, and one that goes on with it.
    let config = lab.config();
    let mut killed = command(&["--config", config.to_str().unwrap(), "key", "rotate"]).spawn().unwrap();
    until_async("the new key is in the file", || async {
        let file = fs::read_to_string(lab.key_file()).unwrap();
        file.lines().any(|line| line.starts_with("older ")).then_some(())
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (mut second, _) = lab.signed_in(SECOND).await;
    let signed = sold(&mut second, swipe(100)).await;
    let drawn: Vec<u8> = (0..900_u32).map(|n| (n * 7 % 256) as u8).collect();
    second.sign(signed.trace, &drawn).await.unwrap();
    assert!(second.upload_waiting().await.unwrap().iter().all(|part| part.approved));
    let said = lab.good(&["key", "rotate"]);
    assert!(said.contains("going on with it") && said.contains("every key in the journal"), "{said}");
    assert_ne!(lab.good(&["key", "show"]), before);

    // The zone master key stands in the configuration: it must be exchanged there first.
    let refused = lab.posp(&["key", "retire"]);
    assert!(text(&refused).contains("unionpay.zone_master_key is under the old"), "{}", text(&refused));
    let line = said.lines().find(|line| line.starts_with("zone_master_key = ")).unwrap();
    let changed: Vec<String> = fs::read_to_string(lab.config())
        .unwrap()
        .lines()
        .map(|old| if old.starts_with("zone_master_key") { line.to_owned() } else { old.to_owned() })
        .collect();
    fs::write(lab.config(), changed.join("\n")).unwrap();
    lab.good(&["key", "retire"]);
    let again = lab.posp(&["key", "retire"]);
    assert!(text(&again).contains("nothing to retire"), "{}", text(&again));

    sold(&mut second, swipe(100)).await;
    done.store(true, Ordering::Relaxed);
    let mut terminals = Vec::new();
    for task in traffic {
        let (terminal, sales) = task.await.unwrap();
        assert!(sales >= 10);
        terminals.push(terminal);
    }

    // With the new key alone.
    lab.stop_node().await;
    assert!(!fs::read_to_string(lab.key_file()).unwrap().contains("older "));
    lab.start_node().await;
    lab.ready().await;
    for terminal in terminals.iter_mut().chain([&mut second]) {
        sold(terminal, swipe(100)).await;
    }
    // What was sealed before the rotation is opened after it: the node sends the numbers of its blacklist.
    second.download(Download::Blacklist).await.unwrap();
    assert_eq!(second.downloaded().blacklist, 1);
    let refused = second.sale(sale(100, "M03", Entry::Swipe, None)).await;
    assert!(matches!(refused, Err(PosError::Blacklisted)), "{refused:?}");
    // What was sealed under the old one too.
    let out = lab.dir.path().join("signature.jbg");
    lab.good(&["txn", "signature", signed.rrn.as_deref().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(fs::read(out).unwrap(), drawn);
    assert!(lab.posp(&["doctor"]).status.success());
    books_agree(&lab).await;
}
