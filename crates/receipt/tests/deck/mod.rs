//! Slips that the tests and the example print.
#![allow(dead_code, clippy::expect_used)] // Each user takes its own; what is written here is good.

use receipt::slip::{
    Balance, Block, CardSlip, ChipSlip, Detail, Entry, Family, Means, Notice, Original, Payer, Row,
    SettlementSlip, Shop, TransactionSlip, Verification, WalletSlip,
};
use receipt::{Bitmap, MaskedPan, Width};

pub const PAN: &str = "6224240000000013";

pub fn shop() -> Shop {
    Shop {
        merchant_name: "实验商户一号店".into(),
        merchant_no: "898000000000001".into(),
        terminal_no: "00000001".into(),
        operator: "01".into(),
    }
}

pub fn chip() -> ChipSlip {
    ChipSlip {
        cryptogram_name: "TC".into(),
        cryptogram: "B06EAB7939A3EC73".into(),
        aid: "A000000333010101".into(),
        label: "LAB DEBIT".into(),
        tvr: "0000048000".into(),
        tsi: "FC00".into(),
        atc: "0012".into(),
        sequence: "01".into(),
        un: "1A2B3C4D".into(),
        aip: "7C00".into(),
        iad: "0701010360000201".into(),
    }
}

pub fn card(entry: Entry, chip: Option<ChipSlip>) -> Means {
    Means::Card(CardSlip {
        issuer: "03080000".into(),
        acquirer: "01020000".into(),
        pan: MaskedPan::mask(PAN).expect("sixteen digits"),
        entry,
        expiry: Some("2912".into()),
        organisation: "CUP".into(),
        chip: chip.map(Box::new),
    })
}

/// The worked example: a chip sale, merchant copy, reprinted once.
pub fn chip_sale() -> TransactionSlip {
    TransactionSlip {
        width: Width::W58,
        shop: shop(),
        kind_zh: "消费".into(),
        kind_en: "SALE".into(),
        family: Family::Sale,
        means: card(Entry::Chip, Some(chip())),
        batch: 7,
        trace: 124,
        reference: "112410000001".into(),
        auth_code: String::new(),
        at: "2026/11/24 10:15:30".into(),
        amount_fen: 10_000,
        credit: false,
        tip_fen: None,
        further: Vec::new(),
        original: None,
        verification: Verification::Sign,
        remark: String::new(),
        reprints: 1,
        code: None,
    }
}

pub fn swipe_sale_with_tip() -> TransactionSlip {
    TransactionSlip {
        means: card(Entry::Swipe, None),
        tip_fen: Some(1_500),
        auth_code: "123456".into(),
        verification: Verification::Signed("sign-000124".into()),
        reprints: 0,
        code: None,
        ..chip_sale()
    }
}

pub fn tap_without_pin() -> TransactionSlip {
    TransactionSlip {
        means: card(Entry::Tap, Some(ChipSlip { cryptogram_name: "ARQC".into(), ..chip() })),
        verification: Verification::NoPinNoSign(100_000),
        remark: "优惠立减活动 随机立减".into(),
        reprints: 0,
        code: None,
        ..chip_sale()
    }
}

pub fn refund() -> TransactionSlip {
    TransactionSlip {
        kind_zh: "退货".into(),
        kind_en: "REFUND".into(),
        family: Family::Undo,
        trace: 131,
        reference: "112510000009".into(),
        credit: true,
        original: Some(Original {
            reference: Some("112410000001".into()),
            date: Some("1124".into()),
            batch: Some(7),
            trace: Some(124),
            auth_code: None,
        }),
        reprints: 0,
        code: None,
        ..chip_sale()
    }
}

pub fn completion() -> TransactionSlip {
    TransactionSlip {
        kind_zh: "预授权完成".into(),
        kind_en: "AUTH COMPLETE".into(),
        family: Family::Preauth,
        auth_code: "654321".into(),
        original: Some(Original {
            date: Some("1120".into()),
            auth_code: Some("654321".into()),
            ..Original::default()
        }),
        reprints: 0,
        code: None,
        ..chip_sale()
    }
}

pub fn code_sale() -> TransactionSlip {
    TransactionSlip {
        kind_zh: "扫码消费".into(),
        kind_en: "QR SALE".into(),
        means: Means::Wallet(WalletSlip {
            channel: "支付宝".into(),
            payer: Some(Payer::mask("13912345678")),
            order_no: "20261124101530000124".into(),
            channel_order_no: Some("2026112422001412341234567890".into()),
            discount_fen: 200,
            paid_fen: 1_050,
            barcode: true,
        }),
        amount_fen: 1_250,
        verification: Verification::Nothing,
        reprints: 0,
        code: None,
        ..chip_sale()
    }
}

/// The worked example of a settlement.
pub fn settlement() -> SettlementSlip {
    let block = |title: &str, rows: Vec<Row>| Block { title: title.into(), rows };
    SettlementSlip {
        width: Width::W58,
        shop: shop(),
        batch: 7,
        settle_date: "1124".into(),
        printed_at: "2026/11/24 21:00:05".into(),
        domestic: Balance::from_digit(1),
        foreign: Balance::from_digit(1),
        blocks: vec![
            block(
                "内卡 (银行卡)",
                vec![
                    Row::new("消费", 3, 35_000),
                    Row::new("消费撤销", 1, 5_000),
                    Row::new("退货", 1, 2_000),
                    Row::new("预授权完成", 1, 10_000),
                    Row::new("完成撤销", 0, 0),
                ],
            ),
            block("外卡", vec![Row::new("消费", 0, 0)]),
            block("扫码", vec![Row::new("扫码消费", 2, 3_050), Row::new("扫码退货", 1, 500)]),
        ],
        debit: (6, 48_050),
        credit: (3, 7_500),
        of_which: vec![Row::new("免密免签", 1, 1_250), Row::new("闪付", 2, 6_250)],
        order_code: Vec::new(),
        details: Vec::new(),
        reprints: 0,
    }
}

pub fn settlement_with_details() -> SettlementSlip {
    let detail = |trace, kind: &str, tail: &str, fen, credit, auth: &str| Detail {
        trace,
        kind: kind.into(),
        tail: tail.into(),
        fen,
        credit,
        auth_code: auth.into(),
    };
    SettlementSlip {
        order_code: vec![Row::new("微信", 2, 2_560), Row::new("支付宝", 1, 990)],
        details: vec![
            detail(124, "消费", "0013", 10_000, false, "123456"),
            detail(125, "消费撤销", "0013", 5_000, true, ""),
            detail(126, "预授权完成", "0021", 10_000, false, "654321"),
        ],
        reprints: 2,
        ..settlement()
    }
}

pub fn notice() -> Notice {
    Notice {
        width: Width::W58,
        title: "交易提示".into(),
        shop: Some(shop()),
        at: "2026/11/24 10:16:00".into(),
        lines: vec![
            "凭证号 000127 的交易结果未知, 正在冲正。".into(),
            "请勿重复收款; 稍后可按凭证号查询结果。".into(),
        ],
        qr: Some("https://example.com/t/00000001/000127".into()),
    }
}

/// A signature as a pen leaves it.
pub fn signature(_reference: &str) -> Option<Bitmap> {
    let mut image = Bitmap::new(320, 96).ok()?;
    let strokes: [[(i32, i32); 2]; 6] = [
        [(20, 70), (70, 20)],
        [(70, 20), (90, 80)],
        [(90, 80), (150, 30)],
        [(150, 30), (160, 75)],
        [(160, 75), (240, 40)],
        [(240, 40), (300, 60)],
    ];
    for [(x1, y1), (x2, y2)] in strokes {
        for step in 0..=64 {
            let (x, y) = (x1 + (x2 - x1) * step / 64, y1 + (y2 - y1) * step / 64);
            image.fill(u32::try_from(x).ok()?, u32::try_from(y).ok()?, 3, 3);
        }
    }
    Some(image)
}
