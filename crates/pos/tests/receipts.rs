//! Slips, to the character: the worked sale slip of the specification, both copies, void, refund, no-PIN tap, reprint,
//! settlement; and that no slip line is wider than the paper or holds a whole card number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::{CardInput, Entry, KeyLayout, Pin, RefundRequest, SaleRequest, VoidRequest};
use receipt::{Size, Width, columns as width};
use rig::Rig;

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
";

const VOID: &str = "\
卡号: 622424******0013    手输/M
有效期: 2912         卡组织: CUP
交易类型: 消费撤销          VOID
批次号: 000007    凭证号: 000125
参考号: 112410000002
授权码:
日期时间: 2026/11/24 10:15:30
金额: RMB -100.00
原批次号: 000007
原凭证号: 000124
原参考号: 112410000001
--------------------------------
备注:
持卡人签名:
";

const REFUND: &str = "\
交易类型: 退货            REFUND
批次号: 000007    凭证号: 000126
参考号: 112410000003
授权码:
日期时间: 2026/11/24 10:15:30
金额: RMB -20.00
原参考号: 112410000001
原交易日期: 1123
--------------------------------
";

const TAP: &str = "\
--------------------------------
备注:
交易金额未超 1000.00 元,免密免签
";

const SETTLEMENT: &str = "         POS 结算总计单
商户名称: 实验商户一号店
商户编号: 898000000000001
终端编号: 00000001    操作员: 01
批次号: 000007      结算日: 1124
打印时间: 2026/11/24 10:15:30
内卡对账: 平        外卡对账: 平
--------------------------------
类型          笔数          金额
内卡 (银行卡)
消费             2        112.50
消费撤销         1        100.00
退货             1         20.00
外卡
消费             0          0.00
--------------------------------
借记合计         2        112.50
贷记合计         2        120.00
净额             4         -7.50
--------------------------------
免密免签         1         12.50
闪付             1         12.50
";

#[tokio::test]
async fn the_slips_of_a_short_day() {
    let mut config = Rig::config();
    config.merchant = "898000000000001".into();
    config.terminal = "00000001".into();
    let mut rig = Rig::with(config);
    rig.host.faults([Fault::Batch(7)]);
    rig.prepare(KeyLayout::TripleDesTrack).await;
    while rig.terminal.next_trace() < 124 {
        rig.terminal.echo().await.unwrap();
    }
    // The worked slip has this reference number; the host counts up to it from here.
    rig.host.next_rrn(112_410_000_001);
    rig.host.faults([Fault::Chip("910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A")]);

    let card = || CardInput::deck("L01").unwrap();
    let pin = || Some(Pin::new("123456").unwrap());
    let sale = SaleRequest { amount_fen: 10_000, card: card(), entry: Entry::Chip, pin: pin() };
    let sold = rig.terminal.sale(sale).await.unwrap();
    let mut slips = vec![sold.receipt.clone().unwrap()];
    assert_eq!(slips[0], format!("{SALE}\n{CARDHOLDER}"));

    let reprint = rig.terminal.reprint(124).await.unwrap();
    let (merchant, cardholder) = reprint.split_once("\n\n           POS").unwrap();
    assert_eq!(merchant, format!("{SALE}    *** 重打印凭证 第1次 ***"));
    assert!(cardholder.ends_with("*** 重打印凭证 第1次 ***\n"));

    slips.push(rig.terminal.void(VoidRequest::by_trace(124)).await.unwrap().receipt.unwrap());
    assert!(slips[1].contains(VOID), "{}", slips[1]);

    let refund = RefundRequest {
        amount_fen: 2_000,
        card: card(),
        entry: Entry::Chip,
        pin: None,
        original_rrn: "112410000001".into(),
        original_date: "1123".into(),
    };
    slips.push(rig.terminal.refund(refund).await.unwrap().receipt.unwrap());
    assert!(slips[2].contains(REFUND), "{}", slips[2]);

    let tap = SaleRequest { amount_fen: 1_250, card: card(), entry: Entry::Tap, pin: None };
    slips.push(rig.terminal.sale(tap).await.unwrap().receipt.unwrap());
    assert!(
        slips[3].contains(TAP) && slips[3].contains("ARQC: ") && !slips[3].contains("签名"),
        "{}",
        slips[3]
    );

    slips.push(rig.terminal.settle().await.unwrap().receipt.unwrap());
    assert_eq!(slips[4], SETTLEMENT);
    let again = rig.terminal.reprint_last().await.unwrap();
    assert_eq!(again, format!("{SETTLEMENT}    *** 重打印凭证 第1次 ***\n"));

    for slip in slips.iter().chain([&reprint]) {
        for line in slip.lines() {
            assert!(width(line) <= Width::W58.columns(Size::Normal), "{line}");
        }
        assert!(!slip.contains("6224242000000013"));
    }
}
