//! The master key is rotated while two nodes serve, each with a copy of the vault file of its own, as on two machines.
//! A terminal comes to the one and to the other in turn and signs in again and again, so that each node has to open what
//! the other has just made, before, during and after.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm::{MasterRole, SoftVault};
use store::{NodeKeys, Store, StoreOptions};

use crate::support::raw::RawTerminal;
use crate::support::server;
use crate::support::{FIRST, Lab, SECOND, Setup, command, text, until, until_async};

/// Sales between two sign-ins.
const BETWEEN: u64 = 5;

/// Pays at the nodes in turn until told to end, at least so often that it has signed in at both; every answer must be 00.
async fn pay_everywhere(id: &'static str, nodes: [SocketAddr; 2], done: Arc<AtomicBool>) -> RawTerminal {
    let mut terminal = RawTerminal::new(nodes[0], id);
    let mut sales = 0;
    while !done.load(Ordering::Relaxed) || sales < 4 * BETWEEN {
        if sales % BETWEEN == 0 {
            terminal.sign_in().await;
        }
        terminal.good_sale().await;
        sales += 1;
        terminal.address = nodes[usize::from(sales % 2 == 1)];
    }
    terminal
}

/// The master keys of a lab's file and what they are.
fn masters(lab: &Lab) -> Vec<(String, MasterRole)> {
    let vault = SoftVault::open_file(lab.key_file()).unwrap();
    vault.masters().into_iter().map(|master| (master.fingerprint, master.role)).collect()
}

/// Puts the line for the zone master key into a configuration in the place of the one that is there.
fn change_zone_key(lab: &Lab, line: &str) {
    let config = fs::read_to_string(lab.config()).unwrap();
    let changed: Vec<&str> =
        config.lines().map(|old| if old.starts_with("zone_master_key") { line } else { old }).collect();
    fs::write(lab.config(), changed.join("\n")).unwrap();
}

fn zone_line(said: &str) -> String {
    said.lines().find(|line| line.starts_with("zone_master_key = ")).unwrap().to_owned()
}

/// A command that must fail, and what it said.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.posp(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// What `posp key show` says of the living nodes: name, and the keys that it makes keys under and opens.
fn nodes(lab: &Lab) -> Vec<(String, String, Vec<String>)> {
    let shown = lab.good(&["key", "show"]);
    let rows = shown.lines().skip_while(|line| !line.contains("wraps under")).skip(1);
    rows.map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let keys =
            words.iter().position(|word| word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        let keys = keys.unwrap_or_else(|| panic!("no check value in {shown}"));
        let opens = words[keys + 1..].iter().map(|&word| word.to_owned()).collect();
        (words[0].to_owned(), words[keys].to_owned(), opens)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_is_rotated_on_machines_with_copies_of_their_own() {
    let store = server::shared().database().await;
    let mut first = Lab::prepare(&Setup { store, ..Setup::default() });
    let mut second = first.another("second");
    first.start_network();
    for lab in [&mut first, &mut second] {
        lab.start_node().await;
        lab.ready().await;
    }
    let old_file = fs::read(first.key_file()).unwrap();
    let [(old, MasterRole::InForce)] = &masters(&first)[..] else { panic!("one master key") };
    let done = Arc::new(AtomicBool::new(false));
    let addresses = [first.pos, second.pos];
    let traffic = [FIRST, SECOND].map(|id| tokio::spawn(pay_everywhere(id, addresses, Arc::clone(&done))));

    // Prepared on the first machine: known there, in force nowhere.
    let said = first.good(&["key", "prepare"]);
    assert!(said.contains("not in force") && said.contains("second run"), "{said}");
    let prepared = masters(&first);
    let new = prepared[1].0.clone();
    assert_eq!(prepared, [(old.clone(), MasterRole::InForce), (new.clone(), MasterRole::Prepared)]);
    let again = first.good(&["key", "prepare"]);
    assert!(again.contains(&format!("prepared before, check value {new}")), "{again}");
    assert_eq!(masters(&first), prepared);
    until("the first node has read its file and tells of it", || {
        nodes(&first).iter().any(|(name, _, opens)| name == "node" && opens.contains(&new)).then_some(())
    })
    .await;

    // The second machine lacks it: nothing happens, and it is named.
    let said = refused(&first, &["key", "rotate", "--wait", "2"]);
    assert!(said.contains("waiting for nodes that do not have the prepared key: second run"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("second run") && last.contains("Nothing was changed"), "{said}");
    assert!(!last.contains("node run"), "the first has it: {said}");
    assert_eq!(masters(&first), prepared);
    assert!(nodes(&first).iter().all(|(_, wraps, _)| wraps == old));

    // Copied. The rotation is killed once the key is in force, and goes on when it is begun again.
    second.take_key_file(&first);
    let config = first.config();
    let mut killed = command(&["--config", config.to_str().unwrap(), "key", "rotate"]);
    let mut killed = killed.stdout(Stdio::null()).spawn().unwrap();
    until("the new key is in front", || (masters(&first)[0].0 == new).then_some(())).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let said = first.good(&["key", "rotate"]);
    assert!(said.contains("going on with it") && said.contains("every key in the journal"), "{said}");
    // Nobody has touched the second machine since: its node follows the store, and so does what is typed there.
    assert_eq!(masters(&second), prepared);
    let living = nodes(&second);
    assert_eq!(living.len(), 2, "{living:?}");
    for (name, wraps, opens) in &living {
        assert_eq!(wraps, &new, "{name}");
        assert!(opens.contains(&new) && opens.contains(old), "{name}");
    }
    let well = second.good(&["doctor"]);
    assert!(well.contains(&format!("check value {new}")), "{well}");
    second.add_terminal("10000003", "des");

    let zone = zone_line(&refused(&first, &["key", "retire"]));
    assert_eq!(masters(&first)[1], (old.clone(), MasterRole::Old), "a refused retirement changes nothing");
    for lab in [&first, &second] {
        change_zone_key(lab, &zone);
    }
    let said = first.good(&["key", "retire"]);
    assert!(said.contains("run `posp key retire` there too"), "{said}");
    assert_eq!(masters(&first), [(new.clone(), MasterRole::InForce)]);
    for lab in [&first, &second] {
        let mut added = RawTerminal::new(lab.pos, "10000003");
        let request = added.sign_in_request();
        // Poll: a node reads master data again within a second.
        until_async("the added terminal is known", || async {
            (added.send(&added.unsigned(&request)).await.code() == "00").then_some(())
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    let mut terminals = Vec::new();
    for task in traffic {
        terminals.push(task.await.unwrap());
    }

    // The second node's next run still has the copy with the key prepared. Then that machine gives the old key up as well.
    second.stop_node().await;
    assert_eq!(nodes(&first).len(), 1, "a node that stops is gone at once");
    second.start_node().await;
    second.ready().await;
    terminals[0].address = second.pos;
    terminals[0].sign_in().await;
    second.good(&["key", "retire"]);
    assert_eq!(masters(&second), masters(&first));

    // A machine with the file of before does not start, and begins no rotation of its own.
    second.stop_node().await;
    let new_file = fs::read(second.key_file()).unwrap();
    fs::write(second.key_file(), old_file).unwrap();
    for arguments in [
        &["up"][..],
        &["doctor"],
        &["key", "rotate"],
        &["key", "prepare"],
        &["terminal", "add", "898100000000001", "10000004"],
    ] {
        let said = refused(&second, arguments);
        assert!(said.contains(&format!("check value {new}, is not in the vault file")), "{said}");
    }
    fs::write(second.key_file(), new_file).unwrap();

    // Each with the new key alone.
    first.stop_node().await;
    for lab in [&mut first, &mut second] {
        lab.start_node().await;
        lab.ready().await;
        for terminal in &mut terminals {
            terminal.address = lab.pos;
            terminal.good_sale().await;
            terminal.sign_in().await;
            terminal.good_sale().await;
        }
        RawTerminal::new(lab.pos, "10000003").sign_in().await;
    }
    assert!(nodes(&first).iter().all(|(_, wraps, opens)| *wraps == new && *opens == [new.as_str()]));
}

/// A node that has the prepared key and goes on making keys under the old one: the keys are moved and the rotation does not
/// end; it names the node, and so does the retirement, which also names one that cannot open keys under the new one. When
/// they have followed, the same commands go through. Such nodes are told of by the test: a node that works follows at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_ends_while_a_node_is_behind() {
    let url = server::shared().database().await;
    let mut lab = Lab::prepare(&Setup { store: url.clone(), ..Setup::default() });
    lab.start_network();
    lab.start_node().await;
    lab.ready().await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    terminal.good_sale().await;
    lab.good(&["key", "prepare"]);
    let [(old, _), (new, _)] = &masters(&lab)[..] else { panic!("two master keys") };
    let beside = Store::open_url_beside(&url, StoreOptions::new("")).unwrap();
    let tell = async |wraps: &str, opens: &[&String]| {
        let opens = opens.iter().map(|&key| key.clone()).collect();
        let keys = NodeKeys { node: "third".into(), machine: "elsewhere".into(), wraps: wraps.into(), opens };
        beside.tell_node(&keys, std::time::Duration::from_secs(3_600)).await.unwrap();
    };

    tell(old, &[old, new]).await;
    let said = refused(&lab, &["key", "rotate", "--wait", "4"]);
    assert!(
        said.contains("waiting for nodes that make keys under the old key: third on elsewhere"),
        "{said}"
    );
    assert!(
        said.lines().last().unwrap().contains("still make keys under the old one: third on elsewhere"),
        "{said}"
    );
    assert_eq!(masters(&lab)[0], (new.clone(), MasterRole::InForce));
    terminal.good_sale().await;

    change_zone_key(&lab, &zone_line(&refused(&lab, &["key", "retire"])));
    let said = refused(&lab, &["key", "retire"]);
    assert!(said.contains("make keys under the old master key still: third on elsewhere"), "{said}");
    tell(old, &[old]).await;
    let said = refused(&lab, &["key", "retire"]);
    assert!(
        said.contains("do not have the master key in force") && said.contains("third on elsewhere"),
        "{said}"
    );
    assert_eq!(masters(&lab)[1], (old.clone(), MasterRole::Old), "nothing was retired");

    tell(new, &[new, old]).await;
    let said = lab.good(&["key", "rotate"]);
    assert!(said.contains("going on with it"), "{said}");
    lab.good(&["key", "retire"]);
    terminal.good_sale().await;
    terminal.sign_in().await;
    terminal.good_sale().await;
    beside.close().await;
}
