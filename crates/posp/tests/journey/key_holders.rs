//! A vault file without its master key: the holders of the components enter them when the node starts and for every command
//! that needs keys. Whoever has the file alone opens nothing, and a wrong component is named before anything is done.

use hsm::KeyComponent;
use pos::KeyLayout;

use crate::support::{FIRST, Lab, MERCHANT, Setup, TMK, posp_with_input, text};
use crate::{sold, swipe};

/// What the holders type, and an empty line after the last.
fn typed(components: &[String]) -> String {
    format!("{}\n\n", components.join("\n"))
}

#[tokio::test]
async fn a_node_starts_with_the_components_of_its_holders() {
    let mut lab = Lab::prepare(&Setup { terminals: vec![], ..Setup::default() });
    let holders: Vec<String> = (0..2).map(|_| KeyComponent::random(32).unwrap().reveal_hex()).collect();
    let others = vec![holders[0].clone(), KeyComponent::random(32).unwrap().reveal_hex()];
    let (right, wrong) = (typed(&holders), typed(&others));
    let config = lab.config();
    let told = |words: &[&str], input: &str| {
        posp_with_input(&[&["--config", config.to_str().unwrap()], words].concat(), input)
    };
    std::fs::remove_file(lab.key_file()).unwrap();
    let made = told(&["key", "init", "--component", "--enter-at-start"], &right);
    assert!(made.status.success(), "{}", text(&made));
    let file = std::fs::read_to_string(lab.key_file()).unwrap();
    assert!(file.contains("key v1:data:aes256:") && !file.contains("master "), "{file}");

    // Nobody there, one holder, a wrong component, all of them.
    for (input, why) in [
        ("", "two or three components are needed"),
        (&format!("{}\n", holders[0]), "two or three components are needed"),
        (&wrong, "wrong master key"),
    ] {
        let refused = told(&["key", "show"], input);
        assert!(!refused.status.success() && text(&refused).contains(why), "{}", text(&refused));
    }
    assert!(told(&["key", "show"], &right).status.success());
    let [one, two] = sim::LAB_ZMK_COMPONENTS;
    let zone = told(&["key", "zone", "--component", one, "--component", two], &right);
    let zone = String::from_utf8(zone.stdout).unwrap();
    let zone = zone.lines().find(|line| line.starts_with("zone_master_key")).unwrap();
    let before = std::fs::read_to_string(&config).unwrap();
    let lines = before.lines().map(|line| if line.starts_with("zone_master_key") { zone } else { line });
    std::fs::write(&config, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let add = ["terminal", "add", MERCHANT, FIRST, "--tmk-component", TMK[0], "--tmk-component", TMK[1]];
    let added = told(&add, &right);
    assert!(added.status.success(), "{}", text(&added));

    // A node that is not told does not start, and says why.
    let refused = told(&["up"], "");
    assert!(!refused.status.success(), "{}", text(&refused));
    for part in ["master.key holds no master key", "Master key: two or three components"] {
        assert!(text(&refused).contains(part), "{}", text(&refused));
    }
    let refused = told(&["up"], &wrong);
    assert!(!refused.status.success() && text(&refused).contains("wrong master key"), "{}", text(&refused));
    lab.start_network();
    lab.start_node_told(&right).await;
    lab.ready().await;
    let (mut terminal, _) = lab.terminal(FIRST).await;
    assert!(terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
    let signed = sold(&mut terminal, swipe(4_200)).await;
    let drawn: Vec<u8> = (0..900_u32).map(|n| (n * 7 % 256) as u8).collect();
    terminal.sign(signed.trace, &drawn).await.unwrap();
    assert!(terminal.upload_waiting().await.unwrap().iter().all(|part| part.approved));
    // Stopped and started with them again: the terminal's keys are good, and what was sealed opens.
    lab.stop_node().await;
    lab.start_node_told(&right).await;
    lab.ready().await;
    sold(&mut terminal, swipe(4_300)).await;
    let image = lab.dir.path().join("image.jbg");
    let out = image.to_str().unwrap();
    let number = signed.rrn.unwrap();
    let opened = told(&["txn", "signature", &number, "--out", out], &right);
    assert!(opened.status.success(), "{}", text(&opened));
    assert_eq!(std::fs::read(&image).unwrap(), drawn);
}
