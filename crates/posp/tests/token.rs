//! A shop's day through a node whose keys are in a PKCS#11 token (SoftHSM2): sign-in, sales with PIN from stripe and chip, a
//! wrong PIN, a reversal at the network, a void, and a settlement that balances; then a second start on the same token and
//! journal. What the software vault does for every other journey, the token does here: MACs of both sides, the PIN from
//! the terminal's key to the network's, sealed account numbers, working keys. An SM4 terminal is refused there, and pays
//! beside the others once the operator lets SM4 keys be used in the node's process.
//!
//! The library takes its configuration from the environment of the process, so this program makes a token in a directory of
//! its own and starts itself again with that environment. It has no test harness for that reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout)] // what was shown is told, since there is no harness

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use pos::{CardInput, Entry, KeyLayout, Outcome, Pin, SaleRequest, VoidRequest};
use serde_json::json;
use support::{FIRST, Lab, MERCHANT, NATIONAL, SECOND, Setup, text};

const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"];
const LABEL: &str = "posp-journey";
const PIN: &str = "271828";
/// Set for the second start: the directory.
const INSIDE: &str = "POSP_TEST_TOKEN";

fn main() -> ExitCode {
    if let Some(directory) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(a_day_with_a_token(Path::new(&directory)));
        println!("a day with a token ... ok");
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let file = directory.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&file, text).unwrap();
    let pin = directory.path().join("token.pin");
    std::fs::write(&pin, PIN).unwrap();
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = |command: &mut Command| {
        command.env("SOFTHSM2_CONF", &file).env(INSIDE, directory.path()).status().unwrap().success()
    };
    let token = ["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "31415926"];
    let made = ran(Command::new("softhsm2-util").args(token));
    assert!(made, "softhsm2-util makes no token (Debian package softhsm2; scripts/test installs it)");
    if ran(&mut Command::new(std::env::current_exe().unwrap())) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sale(fen: u64, card: &str, entry: Entry, pin: &str) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::deck(card).unwrap(),
        entry,
        pin: Some(Pin::new(pin).unwrap()),
    }
}

fn code(outcome: &Outcome) -> &str {
    outcome.response_code.as_deref().unwrap_or("none")
}

/// The token has no SM4: such a terminal is refused, and served beside the others once the setting allows that its keys
/// are used in the node's process.
async fn national_terminals(lab: &mut Lab) {
    let add = ["terminal", "add", MERCHANT, NATIONAL, "--cipher", "sm4", "--tmk-component", support::TMK[0]];
    let add = [&add[..], &["--tmk-component", support::TMK[1]]].concat();
    let refused = lab.posp(&add);
    assert!(
        !refused.status.success() && text(&refused).contains("SM4 keys: not supported by this token"),
        "{}",
        text(&refused)
    );
    lab.node.take().unwrap().kill();
    let (config, off) = (lab.config(), std::fs::read_to_string(lab.config()).unwrap());
    std::fs::write(&config, off.replace("[hsm]\n", "[hsm]\nsm4_in_process = true\n")).unwrap();
    lab.good(&add);
    lab.start_node().await;
    lab.ready().await;
    let (mut national, _) = lab.terminal(NATIONAL).await;
    let signed_in = national.sign_in(KeyLayout::Sm4).await.unwrap();
    assert!(signed_in.approved, "{signed_in:?}");
    let paid = national.sale(sale(6_600, "M01", Entry::Swipe, "123456")).await.unwrap();
    assert_eq!(code(&paid), "00", "{paid:?}");
    let wrong = national.sale(sale(700, "M01", Entry::Swipe, "654321")).await.unwrap();
    assert_eq!(code(&wrong), "55", "{wrong:?}");

    // Off again: its keys are refused, the other terminals go on.
    lab.node.take().unwrap().kill();
    std::fs::write(&config, off).unwrap();
    lab.start_node().await;
    lab.ready().await;
    let refused = national.sign_in(KeyLayout::Sm4).await.unwrap();
    assert!(!refused.approved, "{refused:?}");
}

async fn a_day_with_a_token(directory: &Path) {
    let module = MODULES.into_iter().find(|path| Path::new(path).exists());
    let hsm = format!(
        "[hsm]\nbackend = 'pkcs11'\nmodule = '{}'\ntoken = '{LABEL}'\npin_file = '{}'\n",
        module.expect("SoftHSM2 is needed (Debian package softhsm2; scripts/test installs it)"),
        directory.join("token.pin").display()
    );
    let setup = Setup { terminals: vec![(FIRST, "des"), (SECOND, "des")], hsm, ..Setup::default() };
    let mut lab = Lab::start(setup).await;
    assert!(!lab.key_file().exists(), "no master key lies in a file");
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let swiped = terminal.sale(sale(12_800, "M01", Entry::Swipe, "123456")).await.unwrap();
    assert_eq!(code(&swiped), "00", "{swiped:?}");
    let chip = terminal.sale(sale(10_000, "L02", Entry::Chip, "123456")).await.unwrap();
    assert_eq!(code(&chip), "00", "{chip:?}");
    // The issuer decrypts what the token enciphered anew: it knows a wrong PIN from a right one.
    let wrong = terminal.sale(sale(5_000, "M01", Entry::Swipe, "654321")).await.unwrap();
    assert_eq!(code(&wrong), "55", "{wrong:?}");

    // The network books it and stays silent: the reversal's account number comes out of the sealed journal.
    let silent = terminal.sale(sale(9_001, "M01", Entry::Swipe, "123456")).await.unwrap();
    assert_eq!(code(&silent), "68", "{silent:?}");
    lab.payment_in(&[silent.rrn.as_deref().unwrap()], "reversed").await;
    let void = terminal.void(VoidRequest::by_trace(chip.trace)).await.unwrap();
    assert_eq!(code(&void), "00", "{void:?}");

    national_terminals(&mut lab).await;

    // A second start finds the same keys: the terminal need not sign in again.
    lab.node.take().unwrap().kill();
    lab.start_node().await;
    lab.ready().await;
    let after = terminal.sale(sale(2_000, "M01", Entry::Swipe, "123456")).await.unwrap();
    assert_eq!(code(&after), "00", "{after:?}");
    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    let totals = lab.network_says("/api/totals").await;
    let net: i64 = totals.as_object().unwrap().values().map(|day| day["net"].as_i64().unwrap()).sum();
    assert_eq!(json!(net), json!(12_800 + 6_600 + 2_000), "the network's books");
    assert!(lab.posp(&["doctor"]).status.success());
}
