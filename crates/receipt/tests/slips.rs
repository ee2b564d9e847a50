//! The slips of an acquirer, as people at a counter read them: the worked examples letter by letter, each mandatory
//! element on each kind, and what the cardholder's copy may never show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod deck;

use proptest::prelude::*;
use receipt::slip::{self, ChipSlip, Entry, Family, Original, TransactionSlip, Verification};
use receipt::{Part, Width, text};

const SALE: &str = "           POS 签购单
商户存根           MERCHANT COPY
--------------------------------
商户名称: 实验商户一号店
商户编号: 898000000000001
终端编号: 00000001    操作员: 01
发卡行: 03080000
收单行: 01020000
卡号: 622424******0013    插卡/I
有效期: 2912         卡组织: CUP
交易类型: 消费              SALE
批次号: 000007    凭证号: 000124
参考号: 112410000001
授权码:
日期时间: 2026/11/24 10:15:30
金额: RMB 100.00
--------------------------------
TC: B06EAB7939A3EC73
AID: A000000333010101
应用标签: LAB DEBIT
TVR: 0000048000        TSI: FC00
ATC: 0012                CSN: 01
UN: 1A2B3C4D           AIP: 7C00
IAD: 0701010360000201
--------------------------------
备注:
持卡人签名:


本人确认以上交易并同意入账
    *** 重打印凭证 第1次 ***
";

const CARDHOLDER: &str = "           POS 签购单
持卡人存根       CARDHOLDER COPY
--------------------------------
商户名称: 实验商户一号店
商户编号: 898000000000001
终端编号: 00000001    操作员: 01
发卡行: 03080000
收单行: 01020000
卡号: 622424******0013    插卡/I
交易类型: 消费              SALE
批次号: 000007    凭证号: 000124
参考号: 112410000001
授权码:
日期时间: 2026/11/24 10:15:30
金额: RMB 100.00
--------------------------------
备注:
    *** 重打印凭证 第1次 ***
";

const SETTLEMENT: &str = "         POS 结算总计单
商户名称: 实验商户一号店
商户编号: 898000000000001
终端编号: 00000001    操作员: 01
批次号: 000007      结算日: 1124
打印时间: 2026/11/24 21:00:05
内卡对账: 平        外卡对账: 平
--------------------------------
类型          笔数          金额
内卡 (银行卡)
消费             3        350.00
消费撤销         1         50.00
退货             1         20.00
预授权完成       1        100.00
完成撤销         0          0.00
外卡
消费             0          0.00
扫码
扫码消费         2         30.50
扫码退货         1          5.00
--------------------------------
借记合计         6        480.50
贷记合计         3         75.00
净额             9        405.50
--------------------------------
免密免签         1         12.50
闪付             2         62.50
";

const CODE: &str = "\
支付渠道: 支付宝
付款账号: 13*******78
交易类型: 扫码消费       QR SALE
批次号: 000007    凭证号: 000124
参考号: 112410000001
授权码:
订单号: 20261124101530000124
渠道单号: 2026112422001412341234
          567890
日期时间: 2026/11/24 10:15:30
金额: RMB 12.50
优惠: RMB 2.00
实付: RMB 10.50
--------------------------------
备注:
      20261124101530000124
";

fn merchant(slip: &TransactionSlip) -> String {
    text::render(&slip::transaction(slip), Part::Merchant)
}

fn cardholder(slip: &TransactionSlip) -> String {
    text::render(&slip::transaction(slip), Part::Cardholder)
}

#[test]
fn the_worked_example_of_a_sale_letter_by_letter() {
    let slip = deck::chip_sale();
    assert_eq!(merchant(&slip), SALE);
    assert_eq!(cardholder(&slip), CARDHOLDER);
    let first = merchant(&TransactionSlip { reprints: 0, ..slip });
    assert_eq!(first, SALE.replace("    *** 重打印凭证 第1次 ***\n", ""), "no mark on the first print");
}

#[test]
fn the_worked_example_of_a_settlement_letter_by_letter() {
    let doc = slip::settlement(&deck::settlement());
    assert_eq!(text::render(&doc, Part::Merchant), SETTLEMENT);
    assert_eq!(text::render(&doc, Part::Cardholder), SETTLEMENT, "it has one copy");
}

/// The list of transactions, payments by order code outside the sums, and the mark of a reprint.
#[test]
fn a_settlement_with_its_list_and_payments_by_order_code() {
    let text = text::render(&slip::settlement(&deck::settlement_with_details()), Part::Merchant);
    let added = text.strip_prefix(SETTLEMENT).expect("the rest is as without them");
    assert_eq!(
        added,
        "--------------------------------
订单码 (不计入以上合计)
微信             2         25.60
支付宝           1          9.90
--------------------------------
            交易明细
凭证号 类型                 金额
       卡号               授权码
000124 消费               100.00
       0013               123456
000125 消费撤销           -50.00
       0013
000126 预授权完成         100.00
       0021               654321
    *** 重打印凭证 第2次 ***
"
    );
}

#[test]
fn a_payment_by_code_names_channel_payer_orders_and_what_was_paid() {
    let text = merchant(&deck::code_sale());
    assert!(text.ends_with(CODE), "{text}");
    assert!(!text.contains("签名"));
    assert_eq!(
        text.replace("商户存根           MERCHANT COPY", ""),
        cardholder(&deck::code_sale()).replace("持卡人存根       CARDHOLDER COPY", "")
    );
}

/// A tap without PIN and signature: its wording stands where the signature would, on both copies.
#[test]
fn without_pin_and_signature_the_wording_replaces_the_signature() {
    let slip = deck::tap_without_pin();
    for text in [merchant(&slip), cardholder(&slip)] {
        assert!(text.ends_with("备注: 优惠立减活动 随机立减\n交易金额未超 1000.00 元,免密免签\n"), "{text}");
        assert!(!text.contains("签名") && !text.contains("本人确认"), "{text}");
    }
    assert!(merchant(&slip).contains("ARQC: B06EAB7939A3EC73"));
}

/// Tip and total, and a signature from the screen in its place.
#[test]
fn a_tip_is_printed_with_its_total_and_a_screen_signature_in_its_place() {
    let text = merchant(&deck::swipe_sale_with_tip());
    assert!(text.contains("金额: RMB 100.00\n小费: RMB 15.00\n总计: RMB 115.00\n"), "{text}");
    assert!(text.ends_with("持卡人签名:\n           [电子签名]\n本人确认以上交易并同意入账\n"), "{text}");
    assert!(!cardholder(&deck::swipe_sale_with_tip()).contains("签名"));
}

/// A refund has a minus, its original, no chip data.
#[test]
fn a_refund_has_a_minus_and_its_original() {
    let text = merchant(&deck::refund());
    let original =
        "金额: RMB -100.00\n原批次号: 000007\n原凭证号: 000124\n原参考号: 112410000001\n原交易日期: 1124\n";
    assert!(text.contains(original), "{text}");
    assert!(cardholder(&deck::refund()).contains(original));
    assert!(!text.contains("TVR"));
}

/// Of the pre-authorisation family the cardholder's copy shows expiry and organisation too, and never chip data.
#[test]
fn the_preauthorisation_family_shows_expiry_on_both_copies() {
    let slip = deck::completion();
    for text in [merchant(&slip), cardholder(&slip)] {
        assert!(text.contains("有效期: 2912         卡组织: CUP"), "{text}");
        assert!(text.contains("原交易日期: 1120\n原授权码: 654321\n"), "{text}");
    }
    assert!(merchant(&slip).contains("TVR: ") && !cardholder(&slip).contains("TVR"));
}

/// On 80 mm paper the same elements stand in wider lines.
#[test]
fn wide_paper_has_wider_lines() {
    let wide = merchant(&TransactionSlip { width: Width::W80, ..deck::chip_sale() });
    assert!(wide.contains(&format!("卡号: 622424******0013{}插卡/I\n", " ".repeat(20))), "{wide}");
    let words = |text: &str| {
        text.split_whitespace().filter(|word| !word.starts_with("---")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words(&wide), words(SALE));
}

/// A document handed over as JSON prints the same slip.
#[test]
fn a_document_prints_the_same_after_a_journey_as_json() {
    let doc = slip::transaction(&deck::chip_sale());
    let text = serde_json::to_string(&doc).unwrap();
    assert_eq!(text::render(&serde_json::from_str(&text).unwrap(), Part::Merchant), SALE);
}

prop_compose! {
    fn any_slip()(
        entry in prop_oneof![Just(Entry::Swipe), Just(Entry::Chip), Just(Entry::Tap), Just(Entry::Manual), Just(Entry::Fallback)],
        family in prop_oneof![Just(Family::Sale), Just(Family::Undo), Just(Family::Preauth)],
        verification in prop_oneof![
            Just(Verification::Sign), Just(Verification::Signed("s".into())),
            any::<u32>().prop_map(|fen| Verification::NoPinNoSign(fen.into())), Just(Verification::Nothing)],
        chip in any::<bool>(), credit in any::<bool>(), wide in any::<bool>(), original in any::<bool>(),
        amount_fen in 0_u64..=999_999_999_999, tip_fen in proptest::option::of(0_u64..1_000_000),
        reprints in 0_u32..3, remark in "[一-龥 -~]{0,40}",
    ) -> TransactionSlip {
        let original = original.then(|| Original { batch: Some(7), trace: Some(1), ..Original::default() });
        TransactionSlip {
            width: if wide { Width::W80 } else { Width::W58 },
            means: deck::card(entry, chip.then(deck::chip)),
            family, verification, credit, amount_fen, tip_fen, reprints, remark, original,
            ..deck::chip_sale()
        }
    }
}

proptest! {
    /// Whatever the transaction, each line of the cardholder's copy but its mark is on the merchant's too, so that it never
    /// shows more; chip data and signatures it never shows; and no copy shows a whole card number.
    #[test]
    fn the_cardholders_copy_never_shows_more(slip in any_slip()) {
        let (merchant, cardholder) = (merchant(&slip), cardholder(&slip));
        let lines: Vec<&str> = merchant.lines().collect();
        for line in cardholder.lines().filter(|line| !line.starts_with("持卡人存根")) {
            prop_assert!(lines.contains(&line), "only the cardholder sees: {line}");
        }
        let ChipSlip { cryptogram, iad, tvr, .. } = deck::chip();
        for secret in [cryptogram, iad, tvr, "签名".into(), "本人确认".into()] {
            prop_assert!(!cardholder.contains(&secret));
        }
        prop_assert_eq!(cardholder.contains("有效期"), slip.family == Family::Preauth);
        for text in [&merchant, &cardholder] {
            prop_assert!(!text.contains(deck::PAN));
            prop_assert!(text.lines().all(|line| receipt::columns(line) <= slip.width.columns(receipt::Size::Normal)));
        }
    }
}
