//! A business morning: each step is a real transaction over real sockets, told in one line.

use std::time::Instant;

use acquiring::payment::PaymentState;
use anyhow::{Context, bail};
use iso8583::describe::{self, Language};
use pos::{
    BalanceRequest, CardInput, Entry, Outcome, Pin, RefundRequest, SaleRequest, Status, Terminal, VoidRequest,
};
use sim::SimHandle;
use store::{Page, PaymentFilter};

use super::scene::{MERCHANT, MERCHANT_NAME, Scene};
use crate::screen::{Screen, Tone, pad, pad_left};
use crate::up::Node;

/// Last four digits of an amount that the simulated network processes but does not answer.
const NO_ANSWER: u64 = 9_001;
/// How long the story waits for a reversal to be acknowledged, in looks of 50 ms.
const LOOKS_MAX: u32 = 400;

struct Teller<'a> {
    screen: &'a mut Screen,
    bytes: bool,
}

impl Teller<'_> {
    fn chapter(&mut self, zh: &str, en: &str) -> anyhow::Result<()> {
        let line = self.screen.paint(Tone::Strong, format!("{zh}  {en}"));
        self.screen.line("")?;
        Ok(self.screen.line(line)?)
    }

    fn aside(&mut self, text: &str) -> anyhow::Result<()> {
        let line = self.screen.paint(Tone::Faint, format!("    {text}"));
        Ok(self.screen.line(line)?)
    }

    /// Tells a step; what it must come to is said by `expected`, and the story fails when it does not.
    fn step(
        &mut self,
        what: &str,
        outcome: &Outcome,
        expected: &[&str],
        since: Instant,
    ) -> anyhow::Result<()> {
        for preceding in &outcome.preceding {
            let row = preceding.kind.row();
            self.line(&format!("  └ {} {}", row.zh, row.en), preceding, None)?;
        }
        self.line(what, outcome, Some(since))?;
        for notice in &outcome.notices {
            self.aside(notice)?;
        }
        let code = outcome.response_code.as_deref().unwrap_or("--");
        if !expected.contains(&code) {
            bail!("the story went wrong: {what} came to {code}, expected {}", expected.join(" or "));
        }
        Ok(())
    }

    fn line(&mut self, what: &str, outcome: &Outcome, since: Option<Instant>) -> anyhow::Result<()> {
        let amount = match (outcome.amount_fen, outcome.balance) {
            (_, Some(balance)) => format!("余额 ¥{}", pos::amount::yuan(balance.amount_fen)),
            (Some(fen), None) => format!("¥{}", pos::amount::yuan(fen)),
            (None, None) => String::new(),
        };
        let code = outcome.response_code.as_deref().unwrap_or("--");
        let tone = match outcome.status {
            Status::Approved => Tone::Good,
            Status::NoAnswer | Status::Unusable | Status::ChipRefused => Tone::Warn,
            Status::Declined | Status::DeclinedByChip => Tone::Bad,
        };
        let result = self.screen.paint(tone, format!("{code} {}", outcome.text()));
        let took = since.map_or(String::new(), |since| format!("{} ms", since.elapsed().as_millis()));
        let line = format!(
            "  {} {} {} {}  {result}",
            pad(what, 34),
            pad_left(&amount, 18),
            pad(outcome.card.as_deref().unwrap_or(""), 20),
            pad_left(&took, 8),
        );
        self.screen.line(line)?;
        if self.bytes {
            self.message("terminal → posp", &outcome.request)?;
            if let Some(response) = &outcome.response {
                self.message("posp → terminal", response)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, who: &str, frame: &[u8]) -> anyhow::Result<()> {
        if frame.is_empty() {
            return Ok(());
        }
        let decoded = iso8583::text::decode_hex(&hex::encode(frame))?;
        let message = decoded.message()?;
        self.aside(&format!("{who}, {} bytes", frame.len()))?;
        for line in describe::describe(&message).to_table(Language::Both).lines() {
            self.aside(&format!("  {line}"))?;
        }
        let mut masked = Vec::new();
        iso8583::mask::mask_message(&message, &mut masked);
        for chunk in masked.chunks(32) {
            self.aside(&format!("  {}", hex::encode_upper(chunk)))?;
        }
        Ok(())
    }
}

fn pin(text: &str) -> anyhow::Result<Option<Pin>> {
    Ok(Some(Pin::new(text)?))
}

fn sale(fen: u64, card: &str, entry: Entry, pin: Option<Pin>) -> anyhow::Result<SaleRequest> {
    Ok(SaleRequest { amount_fen: fen, card: CardInput::deck(card)?, entry, pin })
}

/// Without a story: takes the terminals out of their boxes and signs them in, ready for use.
pub async fn open_shop(scene: &Scene, node: &Node) -> anyhow::Result<()> {
    for prop in scene.props() {
        let outcome = prop.unpack(&node.pos.to_string()).await?.sign_in(prop.layout).await?;
        if !outcome.approved {
            bail!("terminal {} cannot sign in: {}", prop.id, outcome.text());
        }
    }
    Ok(())
}

/// Plays the morning.
pub async fn play(
    scene: &Scene,
    node: &Node,
    network: &SimHandle,
    bytes: bool,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let host = node.pos.to_string();
    let mut tell = Teller { screen, bytes };
    let mut terminals = Vec::new();
    for prop in scene.props() {
        terminals.push((prop, prop.unpack(&host).await?));
    }

    tell.chapter("开店", "The shop opens")?;
    tell.aside(&format!(
        "商户 {MERCHANT} {MERCHANT_NAME}, posp on {host}, UnionPay simulated on {}",
        network.addr()
    ))?;
    for (prop, terminal) in &mut terminals {
        let since = Instant::now();
        let outcome = terminal.sign_in(prop.layout).await?;
        let keys = format!("签到 sign-in  {}  {:?}", prop.id, prop.layout);
        tell.step(&keys, &outcome, &["00"], since)?;
    }
    let [(_, first), (_, national), (_, third)] = terminals.as_mut_slice() else {
        bail!("the demo has three terminals")
    };

    tell.chapter("上午的生意", "Business")?;
    let since = Instant::now();
    let swiped = first.sale(sale(12_800, "M01", Entry::Swipe, pin("123456")?)?).await?;
    tell.step("消费 sale, swiped with PIN", &swiped, &["00"], since)?;
    let since = Instant::now();
    let chip = first.sale(sale(10_000, "L01", Entry::Chip, pin("123456")?)?).await?;
    tell.step("消费 sale, chip with PIN", &chip, &["00"], since)?;
    let since = Instant::now();
    let tap = first.sale(sale(1_250, "L01", Entry::Tap, None)?).await?;
    tell.step("消费 sale, tap, no PIN", &tap, &["00"], since)?;
    let since = Instant::now();
    let national_sale = national.sale(sale(6_600, "L02", Entry::Chip, pin("123456")?)?).await?;
    tell.step("消费 sale, SM4 terminal 国密", &national_sale, &["00"], since)?;
    let since = Instant::now();
    let request = BalanceRequest { card: CardInput::deck("L01")?, entry: Entry::Chip, pin: pin("123456")? };
    let balance = first.balance(request).await?;
    tell.step("余额查询 balance", &balance, &["00"], since)?;

    tell.chapter("被拒绝的", "Declines")?;
    let since = Instant::now();
    let poor = first.sale(sale(8_800, "L04", Entry::Chip, pin("123456")?)?).await?;
    tell.step("消费 sale, too little money", &poor, &["51"], since)?;
    let since = Instant::now();
    let wrong = first.sale(sale(5_000, "L03", Entry::Chip, pin("000000")?)?).await?;
    tell.step("消费 sale, wrong PIN", &wrong, &["55"], since)?;

    tell.chapter("超时与冲正", "A time-out and its reversal")?;
    let since = Instant::now();
    let lost = third.sale(sale(NO_ANSWER, "L02", Entry::Chip, pin("123456")?)?).await?;
    tell.step("消费 sale, the network stays silent", &lost, &["68"], since)?;
    let since = Instant::now();
    let state = reversed(node, &lost).await?;
    let ms = since.elapsed().as_millis();
    tell.aside(&format!(
        "posp reverses it at the network by itself: {} {} after {ms} ms",
        state.zh(),
        state.code()
    ))?;

    tell.chapter("撤销与退货", "A void and a refund")?;
    let since = Instant::now();
    let void = VoidRequest {
        trace: chip.trace,
        card: Some((CardInput::deck("L01")?, Entry::Chip)),
        pin: pin("123456")?,
    };
    let voided = first.void(void).await?;
    tell.step("消费撤销 void of the chip sale", &voided, &["00"], since)?;
    let since = Instant::now();
    let refund = RefundRequest {
        amount_fen: 2_800,
        card: CardInput::deck("M01")?,
        entry: Entry::Swipe,
        pin: None,
        original_rrn: swiped.rrn.clone().context("the sale has no reference number")?,
        original_date: first.now().strftime("%m%d").to_string(),
    };
    let refunded = first.refund(refund).await?;
    tell.step("退货 refund, part of the first sale", &refunded, &["00"], since)?;

    tell.chapter("批结算", "Settlement")?;
    for terminal in [first, national, third] {
        settle(&mut tell, terminal).await?;
    }
    tell.chapter("下午继续", "The afternoon")?;
    for (prop, terminal) in &mut terminals {
        let since = Instant::now();
        let outcome = terminal.sign_in(prop.layout).await?;
        tell.step(&format!("签到 sign-in  {}", prop.id), &outcome, &["00"], since)?;
    }
    if let Some(receipt) = &swiped.receipt {
        tell.chapter("签购单", "The slip of the first sale")?;
        for line in receipt.lines() {
            tell.aside(line)?;
        }
    }
    compare(&mut tell, node, network).await
}

async fn settle(tell: &mut Teller<'_>, terminal: &mut Terminal) -> anyhow::Result<()> {
    let since = Instant::now();
    let outcome = terminal.settle().await?;
    let what = format!("批结算 settlement  {}", terminal.config().terminal);
    tell.step(&what, &outcome, &["00"], since)
}

/// Waits until the reversal of a payment is acknowledged.
async fn reversed(node: &Node, outcome: &Outcome) -> anyhow::Result<PaymentState> {
    let rrn = outcome.rrn.clone().context("the answer has no reference number")?;
    let filter = PaymentFilter { text: Some(rrn), ..PaymentFilter::default() };
    for _ in 0..LOOKS_MAX {
        let found = node.store.find(filter.clone(), Page::first(1)).await?;
        let record = found.items.first().context("the payment is not in the journal")?;
        if record.state == PaymentState::Reversed {
            return Ok(record.state);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bail!("the reversal was not acknowledged")
}

/// The books agree: what posp holds for approved is what the network moved.
async fn compare(tell: &mut Teller<'_>, node: &Node, network: &SimHandle) -> anyhow::Result<()> {
    let mut ours: i64 = 0;
    let mut page = Page::first(500);
    loop {
        let found = node.store.find(PaymentFilter::default(), page).await?;
        for record in &found.items {
            if !record.state.counts() {
                continue;
            }
            let fen = i64::try_from(record.amount.fen())?;
            match record.kind.spec().side {
                acquiring::kind::Side::Debit => ours += fen,
                acquiring::kind::Side::Credit => ours -= fen,
                acquiring::kind::Side::None => {}
            }
        }
        match found.next {
            Some(next) => page = Page { limit: 500, after: Some(next) },
            None => break,
        }
    }
    let theirs = super::scene::network_net(network);
    tell.chapter("对账", "Do the books agree?")?;
    let yuan =
        |fen: i64| format!("{}¥{}", if fen < 0 { "-" } else { "" }, pos::amount::yuan(fen.unsigned_abs()));
    let line = format!("  posp 流水净额 {}    银联记录净额 {}", yuan(ours), yuan(theirs));
    if ours == theirs {
        let line = tell.screen.paint(Tone::Good, format!("{line}    一致 they agree"));
        tell.screen.line(line)?;
        Ok(())
    } else {
        bail!("the journal says {}, the network says {}", yuan(ours), yuan(theirs))
    }
}
