//! The table: one line a transaction.

use super::{FieldSet, FoundBy, Hold, Kind, KindSpec, NetworkForm, Side, StandsOn, Unknown};
use crate::download::{List, Step};

const CARD_COPIED: FieldSet = FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60]);
const MANAGEMENT_COPIED: FieldSet = FieldSet::of(&[11, 41, 42, 60]);
const BATCH_UP_COPIED: FieldSet = FieldSet::of(&[11, 41, 42, 48, 49, 60]);

/// What management messages have in common; the echo test is this line.
pub(super) const MANAGEMENT: KindSpec = KindSpec {
    kind: Kind::Echo,
    code: "echo",
    zh: "回响测试",
    en: "echo",
    mti: 820,
    processing: None,
    condition: None,
    message_type: Some(0),
    network_codes: &[301],
    mandatory: FieldSet::of(&[41, 42, 60]),
    needs_card: false,
    mac_request: false,
    mac_answer: false,
    reversible: false,
    told: false,
    unknown: Unknown::Forget,
    side: Side::None,
    network: None,
    stands_on: None,
    chip_data: false,
    copied: MANAGEMENT_COPIED,
};

const FINANCIAL: KindSpec = KindSpec {
    kind: Kind::Sale,
    code: "sale",
    zh: "消费",
    en: "sale",
    mti: 200,
    processing: Some(0),
    condition: Some(0),
    message_type: Some(22),
    network_codes: &[0],
    mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 64]),
    needs_card: true,
    mac_request: true,
    mac_answer: true,
    reversible: true,
    told: false,
    unknown: Unknown::Reverse,
    side: Side::Debit,
    network: Some(NetworkForm::new(200, 0)),
    stands_on: None,
    chip_data: true,
    copied: CARD_COPIED,
};

const OFFLINE: KindSpec = KindSpec {
    kind: Kind::OfflineSale,
    code: "offline_sale",
    zh: "离线结算",
    en: "offline sale",
    mti: 220,
    message_type: Some(30),
    reversible: false,
    told: true,
    unknown: Unknown::Repeat,
    network: Some(NetworkForm::new(220, 0)),
    chip_data: false,
    ..FINANCIAL
};

/// What may be paid back: everything that took money from a card.
const REPAYABLE: &[Kind] = &[
    Kind::Sale,
    Kind::OfflineSale,
    Kind::OfflineChip,
    Kind::Completion,
    Kind::CompletionAdvice,
    Kind::Instalment,
];
const ADJUSTS: Option<StandsOn> =
    Some(StandsOn { kinds: &[Kind::Sale, Kind::OfflineSale], hold: Hold::Adjust, found_by: FoundBy::Trace });
const PREAUTHS: &[Kind] = &[Kind::Preauth];

/// What the three that name an authorisation have in common, and a void of a completion beside them.
const ON_PREAUTH: KindSpec = KindSpec {
    condition: Some(6),
    mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 38, 41, 42, 49, 60, 61, 64]),
    chip_data: false,
    copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 38, 41, 42, 49, 53, 60]),
    ..FINANCIAL
};

const fn on_preauth(hold: Hold) -> Option<StandsOn> {
    Some(StandsOn { kinds: PREAUTHS, hold, found_by: FoundBy::Authorisation })
}

/// A message of a download.
const fn download(
    list: List,
    step: Step,
    code: &'static str,
    zh: &'static str,
    en: &'static str,
    network_codes: &'static [u16],
) -> KindSpec {
    let query = matches!(step, Step::Query);
    // An item is fetched by its name, in field 62; a list is not.
    let named = matches!(step, Step::Get) && matches!(list, List::PublicKeys | List::Applications);
    let mandatory = if named { FieldSet::of(&[41, 42, 60, 62]) } else { FieldSet::of(&[41, 42, 60]) };
    let mti = if query { 820 } else { 800 };
    KindSpec { kind: Kind::Download(list, step), code, zh, en, mti, network_codes, mandatory, ..MANAGEMENT }
}

/// The table.
pub static KINDS: &[KindSpec] = &[
    KindSpec {
        kind: Kind::SignIn,
        code: "sign_in",
        zh: "签到",
        en: "sign-in",
        mti: 800,
        network_codes: &[1, 3, 4, 6],
        mandatory: FieldSet::of(&[11, 41, 42, 60, 63]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::SignOff,
        code: "sign_off",
        zh: "签退",
        en: "sign-off",
        network_codes: &[2],
        mandatory: FieldSet::of(&[11, 41, 42, 60]),
        ..MANAGEMENT
    },
    MANAGEMENT,
    download(List::Parameters, Step::Get, "parameters", "参数下载", "parameter download", &[360]),
    download(List::Parameters, Step::End, "parameters_end", "参数下载结束", "parameters, end", &[361]),
    download(List::PublicKeys, Step::Query, "ca_key_query", "公钥查询", "CA key query", &[372]),
    download(List::PublicKeys, Step::Get, "ca_key", "公钥下载", "CA key download", &[370]),
    download(List::PublicKeys, Step::End, "ca_key_end", "公钥下载结束", "CA keys, end", &[371]),
    download(List::Applications, Step::Query, "aid_query", "IC卡参数查询", "AID query", &[382]),
    download(List::Applications, Step::Get, "aid", "IC卡参数下载", "AID download", &[380]),
    download(List::Applications, Step::End, "aid_end", "IC卡参数下载结束", "AIDs, end", &[381]),
    download(List::Blacklist, Step::Get, "blacklist", "黑名单下载", "blacklist download", &[390]),
    download(List::Blacklist, Step::End, "blacklist_end", "黑名单下载结束", "blacklist, end", &[391]),
    download(List::Contactless, Step::Get, "contactless", "非接参数下载", "contactless parameters", &[394]),
    download(List::Contactless, Step::End, "contactless_end", "非接参数下载结束", "contactless, end", &[395]),
    download(List::BinsB, Step::Get, "bins_b", "BIN表B下载", "BIN table B", &[396]),
    download(List::BinsB, Step::End, "bins_b_end", "BIN表B下载结束", "BIN table B, end", &[397]),
    download(List::BinsC, Step::Get, "bins_c", "BIN表C下载", "BIN table C", &[398]),
    download(List::BinsC, Step::End, "bins_c_end", "BIN表C下载结束", "BIN table C, end", &[399]),
    KindSpec {
        kind: Kind::StatusUpload,
        code: "status_upload",
        zh: "状态上送",
        en: "status upload",
        network_codes: &[362],
        mandatory: FieldSet::of(&[41, 42, 60, 62]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::SoftwareDownload,
        code: "software",
        zh: "TMS下载",
        en: "TMS download",
        mti: 800,
        network_codes: &[364],
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::Balance,
        code: "balance",
        zh: "余额查询",
        en: "balance",
        processing: Some(31),
        message_type: Some(1),
        mandatory: FieldSet::of(&[3, 11, 22, 25, 41, 42, 49, 60, 64]),
        reversible: false,
        unknown: Unknown::Forget,
        side: Side::None,
        network: Some(NetworkForm::new(200, 300_000)),
        ..FINANCIAL
    },
    FINANCIAL,
    KindSpec {
        kind: Kind::SaleVoid,
        code: "sale_void",
        zh: "消费撤销",
        en: "sale void",
        processing: Some(20),
        message_type: Some(23),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        side: Side::Credit,
        network: Some(NetworkForm::repeating(200, 200_000)),
        stands_on: Some(StandsOn { kinds: &[Kind::Sale], hold: Hold::Cancel, found_by: FoundBy::Trace }),
        chip_data: false,
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::Refund,
        code: "refund",
        zh: "退货",
        en: "refund",
        mti: 220,
        processing: Some(20),
        message_type: Some(25),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        reversible: false,
        unknown: Unknown::Repeat,
        side: Side::Credit,
        network: Some(NetworkForm::naming(220, 200_000)),
        stands_on: Some(StandsOn { kinds: REPAYABLE, hold: Hold::Repay, found_by: FoundBy::Reference }),
        chip_data: false,
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60, 63]),
        ..FINANCIAL
    },
    OFFLINE,
    KindSpec {
        kind: Kind::Adjust,
        code: "adjust",
        zh: "结算调整",
        en: "settlement adjustment",
        message_type: Some(32),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 61, 64]),
        side: Side::None,
        network: Some(NetworkForm::naming(220, 0)),
        stands_on: ADJUSTS,
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::Tip,
        code: "tip",
        zh: "小费调整",
        en: "tip",
        message_type: Some(34),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 54, 60, 61, 64]),
        side: Side::None,
        network: Some(NetworkForm::naming(220, 0)),
        stands_on: ADJUSTS,
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::OfflineChip,
        code: "offline_chip",
        zh: "脱机消费上送",
        en: "offline chip sale",
        mti: 200,
        message_type: Some(36),
        mandatory: FieldSet::of(&[2, 3, 4, 11, 22, 25, 41, 42, 49, 55, 60, 63, 64]),
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60, 63]),
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::ScriptResult,
        code: "script_result",
        zh: "脚本结果",
        en: "script result",
        mti: 620,
        processing: None,
        condition: None,
        message_type: Some(0),
        network_codes: &[951],
        mandatory: FieldSet::of(&[3, 11, 22, 32, 37, 41, 42, 49, 55, 60, 61, 64]),
        needs_card: false,
        side: Side::None,
        network: None,
        copied: FieldSet::of(&[2, 3, 11, 23, 32, 38, 41, 42, 49, 60]),
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::Preauth,
        code: "preauth",
        zh: "预授权",
        en: "pre-authorisation",
        mti: 100,
        processing: Some(3),
        condition: Some(6),
        message_type: Some(10),
        side: Side::None,
        network: Some(NetworkForm::new(100, 30_000)),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::PreauthVoid,
        code: "preauth_void",
        zh: "预授权撤销",
        en: "pre-authorisation void",
        mti: 100,
        processing: Some(20),
        message_type: Some(11),
        side: Side::None,
        network: Some(NetworkForm::naming(100, 200_000)),
        stands_on: on_preauth(Hold::Cancel),
        ..ON_PREAUTH
    },
    KindSpec {
        kind: Kind::Completion,
        code: "completion",
        zh: "预授权完成（请求）",
        en: "completion request",
        message_type: Some(20),
        stands_on: on_preauth(Hold::Complete),
        ..ON_PREAUTH
    },
    KindSpec {
        kind: Kind::CompletionAdvice,
        code: "completion_advice",
        zh: "预授权完成（通知）",
        en: "completion advice",
        mti: 220,
        message_type: Some(24),
        reversible: false,
        unknown: Unknown::Repeat,
        network: Some(NetworkForm { takes_pin: false, ..NetworkForm::new(220, 0) }),
        stands_on: on_preauth(Hold::Complete),
        ..ON_PREAUTH
    },
    KindSpec {
        kind: Kind::CompletionVoid,
        code: "completion_void",
        zh: "预授权完成撤销",
        en: "completion void",
        processing: Some(20),
        message_type: Some(21),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        side: Side::Credit,
        network: Some(NetworkForm::repeating(200, 200_000)),
        stands_on: Some(StandsOn {
            kinds: &[Kind::Completion, Kind::CompletionAdvice],
            hold: Hold::Cancel,
            found_by: FoundBy::Trace,
        }),
        ..ON_PREAUTH
    },
    KindSpec {
        kind: Kind::ESignature,
        code: "e_signature",
        zh: "电子签名",
        en: "e-signature",
        message_type: Some(7),
        network_codes: &[800, 801, 802, 803, 804, 805, 806, 807, 808, 809],
        mandatory: FieldSet::of(&[4, 11, 41, 42, 55, 60, 62, 64]),
        mac_request: true,
        mac_answer: true,
        copied: FieldSet::of(&[4, 11, 41, 42, 60]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::Instalment,
        code: "instalment",
        zh: "分期消费",
        en: "instalment sale",
        condition: Some(64),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 62, 64]),
        network: Some(NetworkForm { plan_tag: Some("IP"), ..NetworkForm::new(200, 0) }),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::InstalmentVoid,
        code: "instalment_void",
        zh: "分期撤销",
        en: "instalment void",
        processing: Some(20),
        condition: Some(64),
        message_type: Some(23),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        side: Side::Credit,
        network: Some(NetworkForm::repeating(200, 200_000)),
        stands_on: Some(StandsOn {
            kinds: &[Kind::Instalment],
            hold: Hold::Cancel,
            found_by: FoundBy::Trace,
        }),
        chip_data: false,
        ..FINANCIAL
    },
    // Modelled: an item code of 30 characters in field 62, `PB` before it toward the network, no void and no refund.
    KindSpec {
        kind: Kind::PointsSale,
        code: "points_sale",
        zh: "积分消费",
        en: "points sale",
        condition: Some(65),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 62, 64]),
        network: Some(NetworkForm { plan_tag: Some("PB"), ..NetworkForm::new(200, 0) }),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::ChipRefund,
        code: "chip_refund",
        zh: "脱机退货",
        en: "EMV offline refund",
        mti: 220,
        processing: Some(20),
        message_type: Some(27),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        reversible: false,
        unknown: Unknown::Repeat,
        side: Side::Credit,
        network: Some(NetworkForm::naming(220, 200_000)),
        stands_on: Some(StandsOn { kinds: REPAYABLE, hold: Hold::Repay, found_by: FoundBy::Reference }),
        chip_data: false,
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60, 63]),
        ..FINANCIAL
    },
    // Loads into a purse. Modelled: the purse's money is not the merchant's, so that loads from an account count on no side,
    // while cash that the merchant took counts against it; all but the designated load go to the network under the
    // terminal's processing codes.
    KindSpec {
        kind: Kind::Load,
        code: "load",
        zh: "指定账户圈存",
        en: "account load",
        processing: Some(60),
        condition: Some(91),
        message_type: Some(45),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 52, 53, 55, 60, 64]),
        side: Side::None,
        network: Some(NetworkForm::new(200, 600_000)),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::TransferLoad,
        code: "transfer_load",
        zh: "非指定账户圈存",
        en: "non-designated load",
        processing: Some(62),
        condition: Some(91),
        message_type: Some(47),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 48, 49, 52, 53, 55, 60, 62, 64]),
        side: Side::None,
        network: Some(NetworkForm::new(200, 620_000)),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::CashLoad,
        code: "cash_load",
        zh: "现金充值",
        en: "cash load",
        processing: Some(63),
        condition: Some(91),
        message_type: Some(46),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 55, 60, 64]),
        side: Side::Credit,
        network: Some(NetworkForm::new(200, 630_000)),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::CashLoadVoid,
        code: "cash_load_void",
        zh: "现金充值撤销",
        en: "cash-load void",
        processing: Some(17),
        condition: Some(91),
        message_type: Some(51),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 55, 60, 61, 64]),
        network: Some(NetworkForm::repeating(200, 170_000)),
        stands_on: Some(StandsOn { kinds: &[Kind::CashLoad], hold: Hold::Cancel, found_by: FoundBy::Trace }),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::Reversal,
        code: "reversal",
        zh: "冲正",
        en: "reversal",
        mti: 400,
        processing: None,
        condition: None,
        message_type: None,
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 39, 41, 42, 49, 60, 64]),
        needs_card: false,
        reversible: false,
        unknown: Unknown::Forget,
        side: Side::None,
        network: None,
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 60]),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::Settlement,
        code: "settlement",
        zh: "批结算",
        en: "settlement",
        mti: 500,
        network_codes: &[201],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 49, 60, 63]),
        copied: FieldSet::of(&[11, 41, 42, 49, 60, 63]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpOffline,
        code: "batch_up_offline",
        zh: "批上送（脱机）",
        en: "batch-up, offline",
        mti: 320,
        message_type: None,
        network_codes: &[0],
        mandatory: FieldSet::of(&[2, 3, 4, 11, 22, 25, 41, 42, 49, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpMagnetic,
        code: "batch_up_magnetic",
        zh: "批上送（磁条）",
        en: "batch-up, magnetic",
        mti: 320,
        network_codes: &[201],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpChip,
        code: "batch_up_chip",
        zh: "批上送（IC卡）",
        en: "batch-up, chip",
        mti: 320,
        message_type: None,
        network_codes: &[203, 204, 205, 206],
        mandatory: FieldSet::of(&[2, 11, 22, 41, 42, 55, 60, 62]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpEnd,
        code: "batch_up_end",
        zh: "批上送结束",
        en: "batch-up end",
        mti: 320,
        network_codes: &[202, 207],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
];
