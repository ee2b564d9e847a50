//! The payment commands of `posp pos` as a person types them: the real binary in front, node and network behind. Each
//! is run once for what it is there for; its exit code, the words that a cashier looks for and what the node has of it
//! in its journal are compared. What the payments do in all their varieties is shown by the scenarios of the library.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::books_agree;
use crate::support::{FIRST, Lab, MERCHANT, Setup, TMK, posp, text, until_async};

/// A terminal that is worked by commands alone.
struct Till<'a> {
    lab: &'a Lab,
    dir: PathBuf,
}

impl<'a> Till<'a> {
    /// Enrolled, keyed and signed in, each by its command.
    fn signed_in(lab: &'a Lab) -> Till<'a> {
        let till = Till { lab, dir: lab.terminal_dir(FIRST) };
        let host = lab.pos.to_string();
        till.good(&[
            "enrol",
            "--host",
            &host,
            "--merchant",
            MERCHANT,
            "--terminal",
            FIRST,
            "--timeout",
            "30",
        ]);
        till.good(&["load-tmk", "--component", TMK[0], "--component", TMK[1]]);
        till.approved("sign-in");
        till
    }

    fn run(&self, words: &[&str]) -> Output {
        let head = ["pos", "--dir", self.dir.to_str().unwrap()];
        posp(&[&head[..], words].concat())
    }

    /// A command that must end with 0; what it printed.
    fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that cannot be done: it ends with 2, apart from a decline, and says why.
    fn refused(&self, words: &[&str], why: &str) {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output));
        assert!(text(&output).contains(why), "{words:?}: {}", text(&output));
    }

    /// A command that is typed as a line and approved: ends with 0 and says 00.
    fn approved(&self, line: &str) -> String {
        let said = self.good(&line.split_whitespace().collect::<Vec<_>>());
        assert!(said.contains('✓') && said.contains(" 00 "), "{line}: {said}");
        said
    }

    /// What the terminal has of the last payment of this kind.
    fn last(&self, kind: &str) -> Value {
        let said = self.good(&["journal", "--json"]);
        let mut newest_first = said.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
        newest_first.find(|record| record["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {said}"))
    }

    /// The node's one payment of this kind and amount, with its state.
    fn journaled(&self, kind: &str, fen: u64, state: &str) -> Value {
        let mut found = self.lab.payments(&["--kind", kind]);
        found.retain(|payment| payment["amount_fen"] == fen);
        assert_eq!(found.len(), 1, "{kind} of {fen}: {found:?}");
        assert_eq!(found[0]["state"], state, "{found:?}");
        found.pop().unwrap()
    }

    async fn all_forwarded(&self) {
        until_async("nothing waits for the network", || async {
            self.lab.good(&["forward", "list"]).contains("Nothing to show").then_some(())
        })
        .await;
    }
}

/// The line and the lists: status upload, every download, sign-off, and that nothing is sold after it.
#[tokio::test]
async fn management_is_done_by_commands() {
    let mut lab = Lab::prepare(&Setup::default());
    for (list, file) in [("ca-key", "ca-keys.hex"), ("aid", "aids.hex")] {
        let path = format!("{}/../sim/lab/{file}", env!("CARGO_MANIFEST_DIR"));
        lab.good(&["params", list, "add", &path]);
    }
    lab.good(&["params", "set", "timeout", "45"]);
    lab.start_network();
    lab.start_node().await;
    lab.ready().await;
    let till = Till::signed_in(&lab);
    till.approved("echo");
    let said = till.approved("status-upload");
    assert!(said.contains("STATUS UPLOAD"), "{said}");
    let shown = lab.good(&["terminal", "show", MERCHANT, FIRST]);
    assert!(shown.contains("状态上送 / status of"), "{shown}");
    for what in ["parameters", "ca-keys", "aids", "contactless", "bins", "blacklist"] {
        let said = till.approved(&format!("download {what}"));
        assert!(said.contains("DOWNLOAD"), "{what}: {said}");
    }
    let status: Value = serde_json::from_str(&till.good(&["status", "--json"])).unwrap();
    let has = &status["downloaded"];
    assert_eq!((&has["public_keys"], &has["applications"]), (&json!(3), &json!(2)), "{status}");
    assert_eq!(has["parameters"], true, "{status}");

    till.approved("sign-off");
    till.refused(
        &["sale", "--amount", "1.00", "--card", "M01", "--entry", "swipe", "--no-pin"],
        "sign in first",
    );
    assert!(lab.payments(&[]).is_empty());
    till.approved("sign-in");
    till.approved("sale --amount 1.00 --card M01 --entry swipe --pin 123456");
    till.journaled("sale", 100, "approved");
}

/// Sales that are told: by stripe, by chip and with a code given by voice, another total, a tip, a signature; `upload`
/// takes them all to the host.
#[tokio::test]
async fn what_is_told_is_told_by_commands() {
    let lab = Lab::start(Setup::default()).await;
    let till = Till::signed_in(&lab);
    for words in [
        "offline-sale --amount 20.00 --card M01 --entry swipe",
        "offline-sale --amount 500.00 --card M01 --entry swipe --auth-code 123456",
        "offline-sale --amount 9.90 --card L02 --entry tap",
    ] {
        let said = till.good(&words.split(' ').collect::<Vec<_>>());
        assert!(said.contains("approved offline, to be uploaded") && said.contains('¥'), "{words}: {said}");
    }
    let over = ["offline-sale", "--amount", "501.00", "--card", "M01", "--entry", "swipe"];
    till.refused(&over, "an authorisation code is needed");
    till.approved("upload");
    till.all_forwarded().await;
    let by_voice = till.journaled("offline_sale", 50_000, "approved");
    assert_eq!(by_voice["auth_code"], "123456");
    till.journaled("offline_chip", 990, "approved");
    let small = till.journaled("offline_sale", 2_000, "approved");

    till.approved("sale --amount 100.00 --card M01 --entry swipe --pin 123456");
    let sale = till.last("sale");
    let (sold, told) = (sale["trace"].to_string(), small["trace"].as_str().unwrap());
    let said = till.good(&["adjust", "--trace", told, "--total", "25.00"]);
    assert!(said.contains("adjusted, to be uploaded") && said.contains("25.00"), "{said}");
    let said = till.good(&["adjust", "--trace", &sold, "--tip", "10.00"]);
    assert!(said.contains("110.00"), "{said}");
    till.refused(&["adjust", "--trace", &sold, "--tip", "1.00", "--total", "9.00"], "cannot be used with");
    till.approved("upload");
    till.all_forwarded().await;
    till.journaled("adjust", 2_500, "approved");
    till.journaled("tip", 11_000, "approved");
    assert_eq!(till.journaled("offline_sale", 2_000, "approved")["adjusted_fen"], 2_500);
    assert_eq!(till.journaled("sale", 10_000, "approved")["adjusted_fen"], 11_000);

    let drawn: Vec<u8> = (0..1_500_u32).map(|n| (n * 7 % 256) as u8).collect();
    let (image, back) = (lab.dir.path().join("drawn.jbg"), lab.dir.path().join("back.jbg"));
    let [image, back] = [&image, &back].map(|path| path.to_str().unwrap());
    std::fs::write(image, &drawn).unwrap();
    let said = till.good(&["sign", "--trace", &sold, "--file", image]);
    assert!(said.contains("signature kept, feature code"), "{said}");
    till.approved("upload");
    lab.good(&["txn", "signature", sale["rrn"].as_str().unwrap(), "--out", back]);
    assert_eq!(std::fs::read(back).unwrap(), drawn);
    assert!(till.good(&["upload"]).contains("nothing waits"));
    books_agree(&lab).await;
    let settled = till.approved("settle");
    assert!(settled.contains("POS 结算总计单"), "{settled}");
    let listed = lab.good(&["settlement", "list", "--terminal", FIRST]);
    assert!(listed.contains("balanced") && listed.contains("4 / ¥644.90"), "{listed}");
}

/// Payments beside the everyday ones: in parts, with points, into a purse in the three ways, and back from a chip.
#[tokio::test]
async fn further_payments_are_made_by_commands() {
    let lab = Lab::start(Setup::default()).await;
    let till = Till::signed_in(&lab);
    let said = till
        .approved("instalment --amount 1200.00 --periods 6 --item 3C --card M01 --entry swipe --pin 123456");
    assert!(said.contains("分期消费") && said.contains("分期期数: 06"), "{said}");
    till.journaled("instalment", 120_000, "approved");

    let said = till.approved("points --amount 12.00 --item GIFT --card M01 --entry swipe --pin 123456");
    assert!(said.contains("积分消费") && said.contains("积分余额: 48800"), "{said}");
    till.approved("points --amount 10.00 --alliance --card M01 --entry swipe --pin 123456");
    till.journaled("points_sale", 1_200, "approved");
    till.journaled("points_sale", 1_000, "approved");

    till.approved("load --amount 50.00 --card L02 --pin 123456");
    till.approved("load --cash --amount 30.00 --card L02 --no-pin");
    till.approved("load --into L02 --amount 20.00 --card M01 --entry swipe --pin 123456");
    for (kind, fen) in [("load", 5_000), ("cash_load", 3_000), ("transfer_load", 2_000)] {
        till.journaled(kind, fen, "approved");
    }
    let cards = lab.network_says("/api/cards").await;
    let purse = cards.as_array().unwrap().iter().find(|card| card["id"] == "L02").unwrap();
    assert_eq!(purse["purse"], 10_000, "{purse}");

    till.approved("sale --amount 80.00 --card L02 --entry chip --pin 123456");
    let sale = till.last("sale");
    let back = format!("refund --chip --amount 30.00 --rrn {} --card L02", sale["rrn"].as_str().unwrap());
    till.approved(&back);
    till.journaled("chip_refund", 3_000, "approved");
    assert_eq!(till.journaled("sale", 8_000, "approved")["refunded_fen"], 3_000);
    // More than is left of it is declined, and a program sees that.
    let over = till.run(&back.replace("30.00", "50.01").split(' ').collect::<Vec<_>>());
    assert_eq!(over.status.code(), Some(1), "{}", text(&over));
    assert!(text(&over).contains('✗') && text(&over).contains(" 64 "), "{}", text(&over));
    books_agree(&lab).await;
    till.approved("settle");
    assert!(lab.good(&["settlement", "list", "--terminal", FIRST]).contains("balanced"));
}

/// Amounts are set aside, given free, taken by request and taken by advice.
#[tokio::test]
async fn amounts_are_set_aside_and_taken_by_commands() {
    let lab = Lab::start(Setup::default()).await;
    let till = Till::signed_in(&lab);
    let set_aside = |yuan: &str| {
        let line = format!("preauth --amount {yuan} --card M01 --entry swipe --pin 123456 --json");
        let said = till.good(&line.split(' ').collect::<Vec<_>>());
        let outcome: Value = serde_json::from_str(said.trim()).unwrap();
        assert_eq!(outcome["result"], "00", "{outcome}");
        outcome["auth_code"].as_str().unwrap().to_owned()
    };
    let [free, asked, told] = ["500.00", "400.00", "300.00"].map(set_aside);
    let about = |command: &str, yuan: &str, auth: &str| {
        format!("{command} --amount {yuan} --auth {auth} --card M01 --entry swipe --no-pin")
    };
    let said = till.approved(&about("preauth-void", "500.00", &free));
    assert!(said.contains("预授权撤销"), "{said}");
    till.journaled("preauth_void", 50_000, "approved");
    till.journaled("preauth", 50_000, "voided");

    till.refused(&about("complete", "460.01", &asked).split(' ').collect::<Vec<_>>(), "at most 115 %");
    let said = till.approved(&about("complete", "380.00", &asked));
    assert!(said.contains("预授权完成"), "{said}");
    till.journaled("completion", 38_000, "approved");
    till.approved(&about("complete --advice", "310.00", &told));
    till.all_forwarded().await;
    till.journaled("completion_advice", 31_000, "approved");
    for fen in [40_000, 30_000] {
        till.journaled("preauth", fen, "completed");
    }
    books_agree(&lab).await;
    till.approved("settle");
    let listed = lab.good(&["settlement", "list", "--terminal", FIRST]);
    assert!(listed.contains("balanced") && listed.contains("2 / ¥690.00"), "{listed}");
}
