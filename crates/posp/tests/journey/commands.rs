//! The commands that look: `posp txn` and `posp 8583`.

use pos::{CardInput, Entry, RefundRequest, VoidRequest};
use serde_json::Value;

use crate::support::{FIRST, Lab, MERCHANT, NATIONAL, SECOND, Setup, command, posp_with_input, text};
use crate::{chip, code, sold, swipe};

/// Any number finds the payment; filters, pages, CSV and JSON say the same.
#[tokio::test]
async fn payments_are_found_filtered_and_paged() {
    let lab = Lab::start(Setup::default()).await;
    let (mut first, _) = lab.signed_in(FIRST).await;
    let (mut second, _) = lab.signed_in(SECOND).await;
    let sale = sold(&mut first, swipe(12_345)).await;
    let inserted = sold(&mut first, chip(2_000)).await;
    assert_eq!(code(&first.void(VoidRequest::by_trace(inserted.trace)).await.unwrap()), "00");
    assert_eq!(code(&second.sale(swipe(9_105)).await.unwrap()), "05");
    let refund = RefundRequest {
        amount_fen: 1_000,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: sale.rrn.clone().unwrap(),
        original_date: second.now().strftime("%m%d").to_string(),
    };
    assert_eq!(code(&second.refund(refund).await.unwrap()), "00");

    let all = lab.payments(&[]);
    assert_eq!(all.len(), 5);
    let found = |filter: &[&str]| -> Vec<u64> {
        lab.payments(filter).iter().map(|payment| payment["payment"].as_u64().unwrap()).collect()
    };
    let wanted = all.iter().find(|payment| payment["amount_fen"] == 12_345).unwrap();
    let number = wanted["payment"].as_u64().unwrap();
    let auth_code = sale.auth_code.clone().unwrap();
    for text in [
        &number.to_string(),
        sale.rrn.as_deref().unwrap(),
        &auth_code,
        wanted["network_trace"].as_str().unwrap(),
    ] {
        assert!(found(&[text]).contains(&number), "{text} finds it");
    }
    let by_card = found(&[wanted["card"].as_str().unwrap()]);
    assert_eq!(by_card.len(), 3, "sale, decline and refund of the card");
    let filters: [(&[&str], usize); 11] = [
        (&["--terminal", FIRST], 3),
        (&["--terminal", SECOND], 2),
        (&["--terminal", NATIONAL], 0),
        (&["--merchant", MERCHANT], 5),
        (&["--merchant", "898100000000009"], 0),
        (&["--kind", "sale"], 3),
        (&["--kind", "sale_void"], 1),
        (&["--state", "declined"], 1),
        (&["--state", "voided", "--kind", "sale"], 1),
        (&["--amount-min", "20.00", "--amount-max", "90.00"], 2),
        (&["--from", "2020-01-01", "--to", "2020-01-02T10:00"], 0),
    ];
    for (filter, count) in filters {
        assert_eq!(found(filter).len(), count, "{filter:?}");
    }

    // Page by page, every payment once and in the order of the whole list.
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["txn", "list", "--limit", "2"];
        arguments.extend(after.as_deref().map(|after| ["--after", after]).into_iter().flatten());
        let page = lab.good(&arguments);
        let references: Vec<String> = page
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with("more:"))
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect();
        assert!(references.len() <= 2);
        paged.extend(references);
        match page.lines().find_map(|line| line.strip_prefix("more: --after ")) {
            Some(marker) => after = Some(marker.trim().to_owned()),
            None => break,
        }
    }
    let whole: Vec<String> = all.iter().map(|p| p["reference"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paged, whole);

    let csv = lab.good(&["txn", "list", "--csv"]);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    assert_eq!(rows[0][7], "amount");
    assert!(rows.iter().any(|row| row[7] == "123.45" && row[9] == "approved"), "{csv}");

    let shown = lab.good(&["txn", "show", &number.to_string(), "--bytes"]);
    for part in ["terminal → posp", "posp → network", "network → posp", "posp → terminal", "622424******0120"]
    {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let json: Value =
        serde_json::from_str(&lab.good(&["txn", "show", &number.to_string(), "--json"])).unwrap();
    assert_eq!(json["payment"]["reference"], sale.rrn.as_deref().unwrap());
    assert!(json["history"].as_array().unwrap().len() >= 4);
    // A payment's own number wins over the trace numbers that look like it; written as a trace it fits several.
    let several = lab.posp(&["txn", "show", "000003"]);
    assert!(
        !several.status.success() && text(&several).contains("Several payments fit"),
        "{}",
        text(&several)
    );
    let third = lab.good(&["txn", "show", "3"]);
    assert!(third.contains("支付号 payment           3\n"), "{third}");
    assert!(!lab.posp(&["txn", "show", "999999999999"]).status.success());
    let bad = lab.posp(&["txn", "list", "--state", "lost"]);
    assert!(!bad.status.success() && text(&bad).contains("reversing"), "{}", text(&bad));
}

/// Every published frame that the baseline can carry comes back byte for byte from decode and encode.
#[test]
fn published_frames_go_through_decode_and_encode() {
    let frames = include_str!("../../../../tests/data/frames.txt");
    let mut tried = 0;
    for line in frames.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, form, hex) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        // F7 pads its odd digits with F and F16 has a longer field 60: other acquirers' profiles.
        if ["F7", "F16"].contains(&name) {
            continue;
        }
        let decoded = posp_with_input(&["8583", "decode", "--json", "--clear"], hex);
        assert!(decoded.status.success(), "{name}: {}", text(&decoded));
        let encoded = posp_with_input(&["8583", "encode"], &String::from_utf8_lossy(&decoded.stdout));
        assert!(encoded.status.success(), "{name}: {}", text(&encoded));
        let again = String::from_utf8(encoded.stdout).unwrap().trim().to_owned();
        match form {
            "no-length" => assert_eq!(again[4..], *hex, "{name}"),
            _ => assert_eq!(again, hex, "{name}"),
        }
        let table = posp_with_input(&["8583", "decode"], hex);
        let shown = text(&table);
        assert!(table.status.success() && shown.contains("TPDU"), "{name}: {shown}");
        tried += 1;
    }
    assert_eq!(tried, 9);
    // The table masks what the clear form tells.
    let chip_sale = frames.lines().find(|line| line.starts_with("F12")).unwrap();
    let shown = text(&posp_with_input(&["8583", "decode"], chip_sale.split_whitespace().nth(2).unwrap()));
    assert!(shown.contains("622424******0021") && !shown.contains("6224242000000021"), "{shown}");
    // What is broken is refused with field and place, never with the value.
    let broken = posp_with_input(&["8583", "decode"], "003C600601000060320032000208000020000000C00012000001");
    assert!(!broken.status.success());
    assert!(text(&broken).contains("posp:"), "{}", text(&broken));
}

/// The environment wins over the file, and a key that does not exist is refused by its name.
#[test]
fn settings_come_from_file_and_environment() {
    let dir = tempfile::TempDir::with_prefix("posp-settings-").unwrap();
    let file = dir.path().join("posp.toml");
    let arguments = ["--config", file.to_str().unwrap(), "config"];
    std::fs::write(&file, "[pos]\nlisten = '127.0.0.1:9001'\nframe_max = 1024\n").unwrap();
    let shown = command(&arguments).env("POSP_POS__FRAME_MAX", "1500").output().unwrap();
    let shown = text(&shown);
    assert!(shown.contains("127.0.0.1:9001") && shown.contains("frame_max = 1500"), "{shown}");
    std::fs::write(&file, "[pos]\nlissten = '127.0.0.1:9001'\n").unwrap();
    let refused = command(&arguments).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("lissten"), "{}", text(&refused));
    std::fs::remove_file(&file).unwrap();
    let refused = command(&arguments).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("posp.toml"), "{}", text(&refused));
}
