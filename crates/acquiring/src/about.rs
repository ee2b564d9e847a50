//! What each transaction is for, in words, and which fields it may bring beside those that it must: the columns of
//! the transaction table that no rule reads. `docs/transactions.md` is printed from here and from the rules.

use crate::download::{List, Step};
use crate::kind::{FieldSet, Kind};
use crate::response_code::ResponseCode;

/// A sentence in both languages.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// What a table of rules cannot say of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// What it is for; one sentence.
    pub purpose: Words,
    /// Rules that stand in no column; empty when there are none.
    pub rules: Words,
    /// Fields that are read, or only taken, when they are there. One that
    /// [`KindSpec::mandatory`](crate::KindSpec::mandatory) demands may be among them.
    pub optional: FieldSet,
}

/// A code of ours with which a transaction is refused, beside those that hold for all, those of its original
/// ([`take_hold`](crate::transition::take_hold)) and those of limits ([`limit`](crate::limit)).
#[derive(Clone, Copy, Debug)]
pub struct OwnRefusal {
    /// Field 39.
    pub code: ResponseCode,
    /// When.
    pub when: Words,
}

/// How a card was read, its PIN, its chip.
const CARD: &[u8] = &[2, 4, 14, 23, 26, 35, 52, 53, 55, 59, 63];
/// The same of one that names an original.
const CARD_WITH_CODE: &[u8] = &[2, 14, 23, 26, 35, 38, 52, 53, 55, 59, 63];
/// The same of one that was approved without the network: no PIN.
const CARD_TOLD: &[u8] = &[2, 14, 23, 35, 37, 38, 53, 55, 59, 63];

/// How a pre-authorisation is named.
const ONE_OF_THE_CARD: [&str; 2] = [
    "按授权码、卡号和 61.3 的日期查找；61.1、61.2 不为零时也必须相符。",
    "Found by authorisation number, card and the date of 61.3; 61.1 and 61.2 must agree when they are not zero.",
];
/// The same, with the bounds of a completion.
const UP_TO_115: [&str; 2] = [
    "查找方法同预授权撤销；30 天内，最多为预授权金额的 115%，同一预授权只能完成一次。",
    "Found as a pre-authorisation void finds it; within 30 days, at most 115 % of what was set aside, once.",
];

/// Makes [`About`]: purpose Chinese and English, rules Chinese and English, optional fields.
const fn about(purpose: [&'static str; 2], rules: [&'static str; 2], optional: &[u8]) -> About {
    let [zh, en] = purpose;
    let purpose = Words { zh, en };
    let [zh, en] = rules;
    About { purpose, rules: Words { zh, en }, optional: FieldSet::of(optional) }
}

/// Makes [`OwnRefusal`].
const fn own(code: ResponseCode, zh: &'static str, en: &'static str) -> OwnRefusal {
    OwnRefusal { code, when: Words { zh, en } }
}

/// `engine/src/rules.rs`: `check_request`, `is_plan`.
const INSTALMENT: &[OwnRefusal] = &[own(
    ResponseCode::FORMAT_ERROR,
    "62 域不是 32 个可显示字符，或期数小于 2",
    "field 62 is not 32 printable characters, or has fewer than 2 periods",
)];
/// `engine/src/rules.rs`: `check_request`, `is_points`.
const POINTS: &[OwnRefusal] = &[own(
    ResponseCode::FORMAT_ERROR,
    "60.7 不是 048 或 065，或 62 域不是 30 个可显示字符",
    "60.7 is neither 048 nor 065, or field 62 is not 30 printable characters",
)];
/// `engine/src/rules.rs`: `check_transfer`; `pos-link/src/request.rs`: `transfer_in`.
const TRANSFER: &[OwnRefusal] = &[
    own(
        ResponseCode::INVALID_TRANSACTION,
        "转出卡与转入卡相同",
        "the card that pays is the one that is loaded",
    ),
    own(
        ResponseCode::FORMAT_ERROR,
        "48 域不是 3 位输入方式，62 域没有卡号，转入卡不是读芯片，或转出卡读了芯片",
        "field 48 is not three digits of an entry mode, field 62 names no card, the purse's card is not read by chip, \
         or the card that pays is",
    ),
    own(
        ResponseCode::CARD_CHECK,
        "55 域中的卡号与 62 域不同",
        "the card number in field 55 is not that of field 62",
    ),
];
/// `engine/src/advice.rs`: `check`; `pos-link/src/request.rs`: `tip`.
const TIP: &[OwnRefusal] = &[
    own(ResponseCode::FORMAT_ERROR, "54 域不是数字", "field 54 is no number"),
    own(
        ResponseCode::OVER_LIMIT,
        "小费超过消费金额的 engine.tip_percent_max",
        "the tip is above `engine.tip_percent_max` per cent of the sale",
    ),
    own(
        ResponseCode::AMOUNT_DIFFERS,
        "4 域不等于消费金额加小费",
        "field 4 is not the sale and the tip together",
    ),
];
/// `engine/src/advice.rs`: `script_result`; `pos-link/src/request.rs`: `script_result`.
const SCRIPT: &[OwnRefusal] = &[
    own(
        ResponseCode::NO_ORIGINAL,
        "没有 61 域所指的交易，或 37 域与之不符",
        "there is no payment that field 61 names, or field 37 is not its own",
    ),
    own(ResponseCode::FORMAT_ERROR, "61 域的批次号或流水号为零", "batch or trace number in field 61 is zero"),
];
/// `engine/src/advice.rs`: `keep_signature`.
const SIGNATURE: &[OwnRefusal] = &[
    own(
        ResponseCode::NO_ORIGINAL,
        "没有该批次号、流水号的交易，或 37 域与之不符",
        "there is no payment of this batch and trace number, or field 37 is not its own",
    ),
    own(ResponseCode::DUPLICATE, "签名已收全", "the signature is there already"),
];
/// `engine/src/sign_in.rs`: `sign_in`; `pos-link/src/handler.rs`: `NO_MAC_KEY`.
const SIGN_IN: &[OwnRefusal] = &[own(
    ResponseCode::NOT_SUPPORTED,
    "60.3 要求的密钥格式与终端的算法不符，或没有方言所要的 MAC 密钥长度",
    "60.3 asks for keys of another cipher than the terminal's, or without a MAC key of the profile's length",
)];
/// `pos-link/src/management.rs`: `serve`.
const IN_62: &[OwnRefusal] = &[own(ResponseCode::FORMAT_ERROR, "62 域无法读取", "field 62 cannot be read")];
/// `engine/src/reversal.rs`: `reverse_through`; `transition.rs`: `on_event`.
const REVERSAL: &[OwnRefusal] = &[
    own(
        ResponseCode::INVALID_TRANSACTION,
        "该交易没有冲正，已有退货，已被完成，或有完成、完成撤销正引用它",
        "the transaction has no reversal, was refunded, or is completed; or a completion or its void stands on it",
    ),
    own(ResponseCode::NO_ORIGINAL, "该交易已被撤销", "the transaction was voided"),
    own(ResponseCode::AMOUNT_DIFFERS, "4 域与该交易不同", "field 4 is not the transaction's"),
];
/// `pos-link/src/request.rs`: `totals`; `pos-link/src/handler.rs`: `transact`.
const SETTLEMENT: &[OwnRefusal] = &[
    own(ResponseCode::FORMAT_ERROR, "48 域无法读取", "field 48 cannot be read"),
    own(
        ResponseCode::RECONCILE_ERROR,
        "不平，且方言以应答码告知结果",
        "not balanced, under a profile that tells the result by the code",
    ),
];
/// `pos-link/src/request.rs`: `magnetic_details`, `single_detail`, `uploaded`.
const IN_DETAIL: &[OwnRefusal] =
    &[own(ResponseCode::FORMAT_ERROR, "明细无法读取", "the detail cannot be read")];

impl Kind {
    /// Codes of ours that only this transaction has: kept here by hand, since they are spread over engine and door; each
    /// list says from where it comes.
    pub const fn own_refusals(self) -> &'static [OwnRefusal] {
        match self {
            Kind::Instalment => INSTALMENT,
            Kind::PointsSale => POINTS,
            Kind::TransferLoad => TRANSFER,
            Kind::Tip => TIP,
            Kind::ScriptResult => SCRIPT,
            Kind::ESignature => SIGNATURE,
            Kind::SignIn => SIGN_IN,
            Kind::Reversal => REVERSAL,
            Kind::Settlement => SETTLEMENT,
            Kind::BatchUpOffline | Kind::BatchUpMagnetic | Kind::BatchUpChip | Kind::BatchUpEnd => IN_DETAIL,
            Kind::Download(
                List::PublicKeys | List::Applications | List::BinsB | List::BinsC | List::Blacklist,
                Step::Query | Step::Get,
            )
            | Kind::StatusUpload => IN_62,
            _ => &[],
        }
    }

    /// What the transaction is for, its rules in words, its optional fields.
    pub const fn about(self) -> About {
        match self {
            Kind::SignIn => about(
                [
                    "终端领取工作密钥和当前批次号。",
                    "The terminal gets its working keys and its batch number.",
                ],
                [
                    "60.3 决定 62 域的密钥格式。旧密钥在新密钥首次验证成功之前仍然有效。",
                    "60.3 chooses the layout of the keys in field 62. The keys before stay good until a message \
                     verifies under the new ones.",
                ],
                &[62],
            ),
            Kind::SignOff => about(
                ["终端结束一天的工作。", "The terminal ends its day."],
                [
                    "批次号可以是当前批次的前一个或后一个。",
                    "The batch number may be the one before or after the current one.",
                ],
                &[],
            ),
            Kind::Echo => {
                about(["测试线路，无需签到。", "Tests the line; needs no sign-in."], ["", ""], &[11])
            }
            Kind::Download(_, Step::Query) => about(
                ["询问清单中有哪些项目。", "Asks which items a list has."],
                [
                    "62 域为“1”加已收数量；应答首字节 31 表示完整、32 表示未完。无需签到。",
                    "Field 62 is `1` and how many were received; an answer begins with 31 for the last page, 32 when \
                     more is to come. Needs no sign-in.",
                ],
                &[11, 62],
            ),
            Kind::Download(List::Blacklist, Step::Get) => about(
                ["下载黑名单。", "Fetches the cards that a terminal refuses."],
                [
                    "含完整卡号，故须先签到。分页下载，格式为自定。",
                    "Whole card numbers, and therefore only after a sign-in. In pages, in a form that is modelled.",
                ],
                &[11, 62],
            ),
            Kind::Download(_, Step::Get) => about(
                ["下载清单，或其中一项。", "Fetches a list, or an item of it."],
                [
                    "清单版本按终端记录。卡 BIN 分页下载，格式为自定。无需签到。",
                    "The host notes the version that a terminal begins to fetch. Prefixes of card numbers come in pages, \
                     in a form that is modelled. Needs no sign-in.",
                ],
                &[11, 62],
            ),
            Kind::Download(_, Step::End) => about(
                ["下载结束：终端已有完整清单。", "Ends a download: the terminal has all of the list."],
                [
                    "应答报文头的处理要求给出下一项任务。无需签到。",
                    "The processing requirement in the header of the answer names what to do next. Needs no sign-in.",
                ],
                &[11],
            ),
            Kind::StatusUpload => about(
                ["终端上送状态和现行参数。", "The terminal tells its state and its parameters."],
                ["只保留最近一次。无需签到。", "The newest is kept. Needs no sign-in."],
                &[11],
            ),
            Kind::SoftwareDownload => about(
                ["终端管理系统下载。", "Asks the terminal management system."],
                ["自定：应答与参数下载相同。", "Modelled: answered like the parameter download."],
                &[11, 62],
            ),
            Kind::Balance => about(["查询可用余额。", "Asks for the available balance."], ["", ""], CARD),
            Kind::Sale => about(["持卡人付款。", "The cardholder pays."], ["", ""], CARD),
            Kind::SaleVoid => about(
                ["撤销当前批次内的一笔消费。", "Undoes a sale of the running batch as a whole."],
                [
                    "原交易检索参考号（37 域）必须相符。",
                    "The sale's reference number in field 37 must agree.",
                ],
                CARD_WITH_CODE,
            ),
            Kind::Refund => about(
                ["退还已付款项的全部或一部分。", "Gives back money that was paid, all or a part of it."],
                [
                    "凭检索参考号（37）和原交易日期（61.3）查找；可以分次退货，合计不得超过原金额。没有冲正：网络无应答时以 0221 重复。",
                    "Found by reference number (37) and date (61.3); several refunds together may reach the \
                     original's amount. It has no reversal: without an answer it is repeated as 0221.",
                ],
                CARD_WITH_CODE,
            ),
            Kind::OfflineSale => about(
                [
                    "上送终端已自行批准的消费（电话授权、小额）。",
                    "Tells of a sale that the terminal approved by \
                  itself: by voice authorisation or below the floor limit.",
                ],
                ["授权码在 38 域。", "The code of a voice authorisation comes in field 38."],
                &[2, 14, 23, 35, 37, 38, 53, 55, 59, 61, 63],
            ),
            Kind::Adjust => about(
                ["更改当前批次内一笔消费的金额。", "Makes another amount of a sale of the running batch."],
                ["4 域是新的总金额。", "Field 4 is the new amount as a whole."],
                CARD_TOLD,
            ),
            Kind::Tip => about(
                ["给当前批次内的一笔消费加小费。", "Adds a tip to a sale of the running batch."],
                [
                    "4 域是含小费的总金额，54 域是小费（12 位数字，自定）；比例上限由 engine.tip_percent_max 设定。",
                    "Field 4 is the amount with the tip, field 54 the tip in twelve digits (modelled); at most \
                     `engine.tip_percent_max` per cent.",
                ],
                CARD_TOLD,
            ),
            Kind::OfflineChip => about(
                [
                    "上送终端与芯片脱机批准的消费。",
                    "Tells of a sale that terminal and chip approved, with the \
                  chip's certificate.",
                ],
                ["", ""],
                &[14, 23, 35, 37, 38, 53, 59, 61],
            ),
            Kind::ScriptResult => about(
                [
                    "上送发卡行脚本在芯片上的执行结果。",
                    "Tells what became of the commands that an answer brought \
                  for the chip.",
                ],
                [
                    "61 域指明带来脚本的那笔交易。",
                    "Field 61 names the transaction whose answer brought them.",
                ],
                &[2, 4, 23, 25, 38],
            ),
            Kind::ESignature => about(
                ["上送持卡人的电子签名。", "Uploads the cardholder's signature as an image."],
                [
                    "图像可分十段，段号由 809 递减到 800，800 为最后一段；已收全则答 94。",
                    "At most ten parts, counted down to 800, the last; a signature that is there already is \
                     answered 94, which counts as uploaded.",
                ],
                &[2, 37],
            ),
            Kind::Preauth => {
                about(["在卡上预留一笔金额。", "Sets an amount aside on the card."], ["", ""], CARD)
            }
            Kind::PreauthVoid => about(
                ["撤销尚未完成的预授权。", "Gives back what was set aside and not taken yet."],
                ONE_OF_THE_CARD,
                CARD_WITH_CODE,
            ),
            Kind::Completion => about(
                ["收取预授权的金额（联机）。", "Takes what was set aside; the network is asked."],
                UP_TO_115,
                CARD_WITH_CODE,
            ),
            Kind::CompletionAdvice => about(
                [
                    "收取预授权的金额（事后通知）。",
                    "Takes what was set aside; the network is told after the fact.",
                ],
                UP_TO_115,
                CARD_WITH_CODE,
            ),
            Kind::Instalment => about(
                ["持卡人分期付款。", "The cardholder pays in parts."],
                [
                    "62 域：期数 2 位、项目代码 30 位（连续数字不超过 12 位，否则应答 30）；应答另含首期金额和手续费各 12 位（建模）。",
                    "Field 62: periods 2, item code 30 (at most 12 digits in a row, else 30); the answer adds first part 12 \
                     and fee 12 (modelled).",
                ],
                CARD,
            ),
            Kind::InstalmentVoid => about(
                [
                    "撤销当前批次内的一笔分期消费。",
                    "Undoes an instalment sale of the running batch as a whole.",
                ],
                ["", ""],
                CARD_WITH_CODE,
            ),
            Kind::PointsSale => about(
                ["用积分付款。", "The cardholder pays with points."],
                [
                    "60.7 为 048（发卡行积分）或 065（联盟积分）；62 域为商品代码 30 字符（连续数字不超过 12 位，否则应答 30），应答再加积分 10、自付金额 12、余额 12（建模）。\
                     不能撤销和退货。",
                    "60.7 names the points: 048 of the issuer, 065 of the alliance. Field 62 is the item code, 30 \
                     characters (at most 12 digits in a row, else 30); the answer adds points (10), own part (12) and points left (12) (modelled). Neither \
                     voided nor refunded.",
                ],
                CARD,
            ),
            Kind::ChipRefund => about(
                ["退还芯片卡支付的款项。", "Gives back what a chip paid, in whole or in part."],
                ["规则同退货。", "The rules of a refund."],
                CARD_WITH_CODE,
            ),
            Kind::Load => about(
                [
                    "从卡账户向电子现金圈存。",
                    "Moves money from the card's account into its electronic purse.",
                ],
                [
                    "写卡失败时终端冲正；不计入批次合计（建模）。",
                    "Reversed by the terminal when the chip is not written; counts on no side (modelled).",
                ],
                CARD,
            ),
            Kind::TransferLoad => about(
                [
                    "从一张卡的账户向另一张卡的电子现金圈存。",
                    "Moves money from the account of one card into the electronic purse of another.",
                ],
                [
                    "2、35、52 域属于转出卡；48 域为转入卡的输入方式，62 域为转入卡卡号（5A 或 57，建模），23、55 域属于转入卡。\
                     写卡失败时终端冲正；不计入批次合计（建模）。",
                    "Fields 2, 35 and 52 are of the card that pays, by its stripe or keyed; field 48 says how the purse's \
                     card is read, by chip, field 62 names it (tag 5A or 57, modelled), 23 and 55 are its own. Reversed \
                     by the terminal when the chip is not written; counts on no side (modelled).",
                ],
                CARD,
            ),
            Kind::CashLoad => about(
                ["用现金为电子现金充值。", "Puts cash into the electronic purse of a card."],
                [
                    "写卡失败时终端冲正；商户收取的现金计入贷方（建模）。",
                    "Reversed by the terminal when the chip is not written; the cash that the merchant took counts as \
                     credit (modelled).",
                ],
                CARD,
            ),
            Kind::CashLoadVoid => about(
                ["撤销当前批次内的一笔现金充值。", "Undoes a cash load of the running batch as a whole."],
                ["需要卡片芯片数据。", "Needs the card's chip."],
                CARD_WITH_CODE,
            ),
            Kind::CompletionVoid => about(
                [
                    "撤销当前批次内的一笔预授权完成。",
                    "Undoes a completion of the running batch; its pre-authorisation can be completed again.",
                ],
                ["", ""],
                CARD_WITH_CODE,
            ),
            Kind::Reversal => about(
                [
                    "撤销没有得到有效应答的交易；号码与原交易相同。",
                    "Undoes the transaction whose numbers it \
                  repeats, because its answer did not come or could not be used.",
                ],
                [
                    "一旦冲正落盘即回 00，向网络冲正是本系统的事。",
                    "Answered 00 as soon as it is durable: undoing it at the network is posp's business from then \
                     on.",
                ],
                &[2, 14, 23, 35, 38, 53, 55, 59, 61, 62],
            ),
            Kind::Settlement => about(
                ["终端与主机核对批次总计。", "Terminal and host compare the totals of the batch."],
                [
                    "48 域各部分的结果：1 平，2 不平，3 出错。",
                    "The results in field 48 of the answer: 1 balanced, 2 not balanced, 3 error.",
                ],
                &[],
            ),
            Kind::BatchUpOffline => about(
                ["批上送：每条一笔脱机交易。", "Uploads the details of one offline transaction."],
                ["", ""],
                &[14, 23, 37, 38, 48, 55, 61, 62],
            ),
            Kind::BatchUpMagnetic => about(
                [
                    "批上送：每条最多 8 笔磁条卡联机交易。",
                    "Uploads the details of up to eight online transactions.",
                ],
                ["", ""],
                &[49],
            ),
            Kind::BatchUpChip => about(
                [
                    "批上送：一笔芯片卡交易及其证书，或通知。",
                    "Uploads a chip transaction with its certificate \
                  (203, 205), or a notice of one that was declined (204, 206).",
                ],
                ["", ""],
                &[3, 4, 23, 48, 49, 61],
            ),
            Kind::BatchUpEnd => about(
                ["结束批上送并开始新批次。", "Ends the upload; the next batch begins."],
                [
                    "可以重复：指明刚结束的批次即可。",
                    "May be repeated with the number of the batch that it ended.",
                ],
                &[49],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kind::KINDS;

    /// What is copied into an answer must be able to come in a request.
    #[test]
    fn every_kind_is_described_and_copies_what_can_come() {
        for line in KINDS {
            let about = line.kind.about();
            assert!(!about.purpose.zh.is_empty() && !about.purpose.en.is_empty(), "{}", line.code);
            assert_eq!(about.rules.zh.is_empty(), about.rules.en.is_empty(), "{}", line.code);
            for field in line.copied.iter() {
                let comes = line.mandatory.has(field) || about.optional.has(field);
                assert!(comes, "{}: copies field {field}, which it cannot have", line.code);
            }
        }
    }
}
