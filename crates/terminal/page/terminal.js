"use strict";
// The page of a smart POS: draws what the terminal says and passes on what hands do. It decides nothing.
const $ = (id) => document.getElementById(id);
const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
};
const yuan = (fen) => {
  const sign = fen < 0 ? "-" : "", whole = Math.floor(Math.abs(fen) / 100).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  return `${sign}¥${whole}.${String(Math.abs(fen) % 100).padStart(2, "0")}`;
};
const state = { terminals: [], id: null, snapshot: null, deck: [], source: null, trace: 0, screenKey: "", typed: "", fields: {}, open: new Set() };

async function ask(path, body) {
  try {
    const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(path, options);
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error || answer.status);
    say("");
    return value;
  } catch (error) {
    say(error.message);
    return null;
  }
}
const say = (text) => { $("said").textContent = text; };
// One after the other: fast fingers must not overtake one another on their way.
let queue = Promise.resolve();
const inTurn = (path, body) => (queue = queue.then(() => ask(path, body)));
const press = (input) => inTurn(`/api/terminals/${state.id}/press`, input);
const hand = (act) => inTurn(`/api/terminals/${state.id}/hand`, act);

// ---- words and tabs
function dress() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-w]").forEach((node) => { node.textContent = w(node.dataset.w); });
  $("lang").textContent = language === "zh" ? "EN" : "中";
  $("tabs").replaceChildren(...state.terminals.map((terminal) =>
    el("button", { type: "button", class: terminal.id === state.id ? "on" : "", "data-terminal": terminal.id, onclick: () => choose(terminal.id) }, terminal.mpos ? `${terminal.id} MPOS` : terminal.id)));
  state.screenKey = "";
  drawDeck();
  redrawTrace();
  if (state.snapshot) draw(state.snapshot);
}
$("lang").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; localStorage.setItem("language", language); dress(); });

function choose(id) {
  state.id = id;
  state.snapshot = null;
  state.trace = 0;
  state.items = [];
  state.open.clear();
  $("trace").replaceChildren();
  if (state.source) state.source.close();
  state.source = new EventSource(`/api/terminals/${id}/events`);
  state.source.onmessage = (event) => { say(""); draw(JSON.parse(event.data)); };
  state.source.onerror = () => say(w("lost"));
  dress();
}

// ---- the device
function draw(snapshot) {
  state.snapshot = snapshot;
  const device = $("device");
  device.classList.toggle("off", !snapshot.power);
  const waiting = cardDevice(snapshot).waiting.includes("detector");
  device.classList.toggle("ready", waiting);
  snapshot.device.leds.forEach((led, at) => { $(`led${at}`).className = `led ${led}`; });
  $("net").textContent = snapshot.online ? w("online") : w("offline");
  $("slot").classList.toggle("in", snapshot.slot != null);
  $("slotcard").textContent = snapshot.slot || "";
  drawReader(snapshot);
  drawPaper(snapshot);
  drawSwitches(snapshot);
  drawScreen(snapshot);
  if (JSON.stringify(state.deckKey) !== JSON.stringify([snapshot.slot, waiting])) drawDeck();
  if (snapshot.trace > state.trace) fetchTrace();
  liftWhenRead(snapshot);
}
setInterval(() => { $("clock").textContent = new Date().toLocaleTimeString("zh-CN", { hour12: false }); }, 1000);

function drawPaper(snapshot) {
  const hanging = snapshot.paper.filter((slip) => !slip.torn);
  const last = hanging[hanging.length - 1];
  const key = last ? `${state.id}/${last.number}` : "";
  if (state.paperKey === key) return;
  state.paperKey = key;
  const image = last && el("img", { src: `/api/terminals/${state.id}/paper/${last.number}.svg`, alt: w("slip"), "data-slip": last.number, onclick: () => showSlip(last.number) });
  $("paper").replaceChildren(...(image ? [image] : []));
}
function showSlip(number) {
  const path = `/api/terminals/${state.id}/paper/${number}`;
  $("sliptitle").textContent = `${w("slip")} ${number}`;
  $("slipimg").src = `${path}.svg`;
  $("slippng").href = `${path}.png`;
  $("sliptxt").href = `${path}.txt`;
  $("slipbox").hidden = false;
}
// A slip held before the scanner: the code on it, as a camera would read it.
$("slipscan").addEventListener("click", async () => {
  const text = await (await fetch($("sliptxt").href)).text();
  const code = text.replace(/\s+/g, "").match(/POSP1\/[A-Z0-9/]+/);
  if (!code) return say(w("noslipcode"));
  if (state.snapshot?.screen?.view !== "scan") return say(w("notscanning"));
  $("slipbox").hidden = true;
  hand({ act: "scan", code: code[0] });
});
$("slipclose").addEventListener("click", () => { $("slipbox").hidden = true; });
$("slipbox").addEventListener("click", (event) => { if (event.target === $("slipbox")) $("slipbox").hidden = true; });
$("home").addEventListener("click", () => press({ do: "cancel" }));

function drawSwitches(snapshot) {
  const paper = snapshot.device.printer.paper !== "out";
  const hanging = snapshot.paper.some((slip) => !slip.torn);
  const button = (id, label, act, look = "") => el("button", { type: "button", id, class: look, onclick: () => hand(act) }, label);
  $("switches").replaceChildren(
    button("sw-power", snapshot.power ? w("poweroff") : w("poweron"), { act: "power", on: !snapshot.power }, snapshot.power ? "" : "bad"),
    button("sw-net", snapshot.online ? w("cutnet") : w("mendnet"), { act: "network", online: !snapshot.online }, snapshot.online ? "" : "bad"),
    button("sw-lose", snapshot.lose_answer ? w("losing") : w("lose"), { act: "lose_answer", lose: !snapshot.lose_answer }, snapshot.lose_answer ? "warn" : ""),
    button("sw-paper", paper ? w("papera") : w("paperb"), { act: "paper", there: !paper }, paper ? "" : "bad"),
    hanging ? button("sw-tear", w("tear"), { act: "tear" }) : "",
    snapshot.reader ? button("sw-link", snapshot.reader.link ? w("m_cut") : w("m_mend"), { act: "link", on: !snapshot.reader.link }, snapshot.reader.link ? "" : "bad") : "",
    snapshot.slot ? button("sw-remove", w("remove"), { act: "remove" }) : "");
}

// ---- the deck
function drawDeck() {
  const snapshot = state.snapshot;
  state.deckKey = snapshot ? [snapshot.slot, cardDevice(snapshot).waiting.includes("detector")] : null;
  $("deck").replaceChildren(...state.deck.map((card) => {
    const inSlot = snapshot && snapshot.slot === card.id;
    const acts = el("div", { class: "acts" },
      card.chip ? el("button", { type: "button", "data-act": `insert-${card.id}`, onclick: () => hand(inSlot ? { act: "remove" } : { act: "insert", card: card.id }) }, inSlot ? w("remove") : w("insert")) : null,
      card.tap ? el("button", { type: "button", "data-act": `tap-${card.id}`, onclick: () => tap(card.id) }, w("tap")) : null,
      card.stripe ? el("button", { type: "button", "data-act": `swipe-${card.id}`, onclick: () => hand({ act: "swipe", card: card.id }) }, w("swipe")) : null);
    const kind = card.phone ? "phone" : card.chip ? (card.credit ? "credit" : "") : "mag";
    return el("div", { class: `bankcard ${kind} ${inSlot ? "in" : ""}`, "data-card": card.id },
      el("div", { class: "row" }, el("b", {}, card.id), card.chip || card.tap ? el("span", { class: "chipmark" }) : ""),
      el("span", { class: "pan" }, card.masked), el("p", {}, language === "zh" ? card.zh : card.en),
      el("div", { class: "row" }, el("span", {}, `${w("valid")} ${card.expiry}`), el("span", {}, card.pin ? `${w("pin")} ${card.pin}` : "")), acts);
  }));
}
// A card is held to the antenna until it has been read, and not for ever.
async function tap(card) {
  if (!(await hand({ act: "tap", card }))) return;
  state.tapping = setTimeout(takeAway, 3000);
  if (state.snapshot) liftWhenRead(state.snapshot);
}
function takeAway() {
  clearTimeout(state.tapping);
  state.tapping = null;
  hand({ act: "untap" });
}
function liftWhenRead(snapshot) {
  const screen = snapshot.screen;
  const held = screen && (screen.view === "card" || (screen.view === "busy" && screen.with === "reading"));
  if (state.tapping && !held) takeAway();
}

// ---- the trace
async function fetchTrace() {
  if (state.fetching) return;
  state.fetching = true;
  const id = state.id, items = await ask(`/api/terminals/${id}/trace?after=${state.trace}`);
  state.fetching = false;
  if (!items || id !== state.id) return;
  for (const item of items) {
    if (item.number <= state.trace) continue;
    state.trace = item.number;
    (state.items ||= []).push(item);
    $("trace").querySelector(".none")?.remove();
    $("trace").prepend(message(item));
  }
  if (state.snapshot && state.snapshot.trace > state.trace) fetchTrace();
}
function redrawTrace() {
  const items = (state.items || []).slice().reverse();
  $("trace").replaceChildren(...(items.length ? items.map(message) : [el("p", { class: "none" }, w("none"))]));
}
$("wipe").addEventListener("click", () => { state.items = []; redrawTrace(); });
const name = (one) => (language === "zh" ? one.zh || one.en : one.en || one.zh);
function message(item) {
  if (item.way === "line") return el("div", { class: "msg line" }, el("summary", {}, el("span", {}, "⚡"), el("span", { class: "at" }, item.at), el("span", {}), el("span", {}, name(item))));
  const field = (number) => item.fields.find((one) => one.number === number)?.value;
  // In a reversal that goes out, field 39 is its reason.
  const code = item.way === "in" ? item.code : null, good = code === "00";
  const reversal = item.mti.startsWith("04");
  const tag = code ? el("span", { class: `tag ${good ? "ok" : "bad"}` }, code) : field("4") ? el("b", {}, `¥${field("4")}`) : "";
  const details = el("details", { class: `msg ${item.way} ${code && !good ? "no" : ""} ${reversal ? "rev" : ""}`, "data-mti": item.mti, open: state.open.has(item.number) },
    el("summary", {}, el("span", {}, item.way === "out" ? "▲" : "▼"), el("span", { class: "at" }, item.at), el("span", { class: "mti" }, item.mti),
      el("span", {}, name(item), " ", el("span", { class: "key" }, field("11") ? `${w("trace_no")} ${field("11")}` : "")),
      el("span", {}, tag, " ", el("span", { class: "took" }, item.took_ms != null ? `${item.took_ms} ms` : ""))));
  details.addEventListener("toggle", () => {
    if (!details.open) { state.open.delete(item.number); return; }
    state.open.add(item.number);
    if (details.childElementCount > 1) return;
    const rows = [];
    for (const one of item.fields) {
      rows.push(el("tr", {}, el("td", {}, one.number), el("td", {}, name(one)), el("td", {}, one.value)));
      for (const child of one.children || []) rows.push(el("tr", { class: "kid" }, el("td", {}, child.number), el("td", {}, name(child)), el("td", {}, child.value)));
    }
    details.append(el("table", {}, ...rows), el("pre", {}, `${w("bytes")}\n${item.bytes.replace(/(..)/g, "$1 ").trim()}`));
  });
  if (state.open.has(item.number)) details.dispatchEvent(new Event("toggle"));
  return details;
}

// ---- the screen
const button = (label, input, look = "", id = null) => el("button", { type: "button", class: look, "data-do": id, onclick: () => (typeof input === "function" ? input() : press(input)) }, label);
const appHead = (title, sub) => el("div", { class: "apphead" }, el("h3", {}, title), el("p", {}, sub || ""));
const yesNo = (yes, no, yesLabel = w("ok"), noLabel = w("cancel")) => el("div", { class: "row2" }, button(noLabel, no, "stop", "no"), button(yesLabel, yes, "go", "yes"));
const backOr = (yes, label) => el("div", { class: "row2" }, button(w("close"), { do: "cancel" }, "", "no"), button(label, yes, "pri", "yes"));
const table = (rows) => el("table", { class: "kv" }, ...rows.filter(([, value]) => value != null && value !== "").map(([key, value]) => el("tr", {}, el("td", {}, key), el("td", {}, String(value)))));

function drawScreen(snapshot) {
  const screen = snapshot.screen, pin = snapshot.device.pin;
  const key = JSON.stringify([language, state.id, screen && screen.version, screen && screen.view, pin && pin.layout, screen && screen.view === "menu" ? screen.standing : 0]);
  if (pin && state.screenKey === key) return drawDots(pin);
  if (state.screenKey === key) return;
  state.screenKey = key;
  state.typed = "";
  if (!screen && snapshot.power && snapshot.reader && !snapshot.reader.paired) {
    $("screen").dataset.view = "pairing";
    return $("screen").replaceChildren(...pairingScreen(snapshot));
  }
  if (!screen) return $("screen").replaceChildren();
  const draw = pin ? () => pinPad(screen, pin) : SCREENS[screen.view] || (() => [el("div", { class: "center" }, screen.view)]);
  $("screen").dataset.view = pin ? "pinpad" : screen.view;
  // An app that orders may have named the language of its payer.
  const own = language;
  language = screen.standing.lang || own;
  $("screen").replaceChildren(...draw(screen).filter(Boolean));
  language = own;
  $("screen").querySelector("input")?.focus({ preventScroll: true });
}

function keypad(show, go, { max = 12, go_label = w("ok"), point = false } = {}) {
  const type = (key) => {
    if (key === "back") state.typed = state.typed.slice(0, -1);
    else if (state.typed.length + key.length <= max) state.typed = (state.typed + key).replace(/^0+/, "");
    show();
  };
  const keys = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map((digit) => el("button", { type: "button", "data-key": digit, onclick: () => type(digit) }, digit));
  return el("div", { class: "pad" }, ...keys,
    el("button", { type: "button", "data-key": "00", onclick: () => type("00") }, "00"), el("button", { type: "button", "data-key": "0", onclick: () => type("0") }, "0"),
    el("button", { type: "button", class: "back", onclick: () => type("back") }, w("back")),
    button(w("cancel"), { do: "cancel" }, "stop", "cancel"), el("span", {}), button(go_label, go, "go", "ok"));
}
function form(fields, submit, extra) {
  const inputs = fields.map(([id, label, options = {}]) => el("div", { class: "field" }, el("label", { for: `f-${id}` }, label),
    el("input", { id: `f-${id}`, type: options.secret ? "password" : "text", inputmode: options.text ? "text" : "numeric", maxlength: options.max || 12, autocomplete: "off", value: options.value || "" })));
  const go = () => submit(Object.fromEntries(fields.map(([id]) => [id, $(`f-${id}`).value.trim()])));
  const box = el("form", {}, ...inputs, extra);
  box.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  return [box, el("div", { class: "row2" }, button(w("cancel"), { do: "cancel" }, "stop", "cancel"), button(w("ok"), go, "go", "ok"))];
}
// The number of a card that cannot be read: the app waits for the card meanwhile.
function keyCard() {
  const screen = state.snapshot.screen;
  const luhn = (digits) => [...digits].reverse().reduce((sum, c, at) => { const d = Number(c) * (1 + (at % 2)); return sum + (d > 9 ? d - 9 : d); }, 0) % 10 === 0;
  const error = wrong("");
  const parts = form([["pan", w("cardno"), { max: 19 }], ["expiry", w("expiry"), { max: 4 }]], (v) => {
    if (!/^\d{13,19}$/.test(v.pan) || !luhn(v.pan) || !/^\d\d(0[1-9]|1[0-2])$/.test(v.expiry)) error.textContent = w("h_key_again");
    else press({ do: "keyed", pan: v.pan, expiry: v.expiry });
  });
  $("screen").replaceChildren(appHead(w(screen.trade), w("keyed")), error, ...parts);
  $("screen").querySelector("input").focus({ preventScroll: true });
}
// What the terminal says in both languages, in the one that is read here.
const own = (text) => {
  const both = text.split(" / ");
  return both.length === 2 ? both[language === "zh" ? 0 : 1] : text;
};
const wrong = (text) => el("div", { class: "wrong" }, text ? (WORDS[text] ? w(text) : own(text)) : "");

function pinPad(screen, pin) {
  const count = el("div", { class: "dots", id: "dots" }, ...Array.from({ length: 6 }, (_, at) => el("i", { class: at < pin.count ? "on" : "" })));
  const keys = pin.layout.map((digit, at) => el("button", { type: "button", "data-pin": digit, onclick: () => hand({ act: "pin_key", at }) }, String(digit)));
  const last = keys.pop();
  return [appHead(w("enterpin"), `${w(screen.trade || "sale")} ${screen.card || ""}`), pin.amount != null ? el("div", { class: "big" }, yuan(pin.amount)) : null, count,
    el("div", { class: "sub" }, pin.bypass ? w("nopin") : ""),
    el("div", { class: "pad" }, ...keys, el("button", { type: "button", class: "back", onclick: () => hand({ act: "pin_clear" }) }, "C"), last, el("span", {}),
      el("button", { type: "button", class: "stop", "data-do": "pin-cancel", onclick: () => hand({ act: "pin_cancel" }) }, w("cancel")), el("span", {}),
      el("button", { type: "button", class: "go", "data-do": "pin-ok", onclick: () => hand({ act: "pin_confirm" }) }, w("ok")))];
}
const drawDots = (pin) => document.querySelectorAll("#dots i").forEach((dot, at) => dot.classList.toggle("on", at < pin.count));

const GROUPS = [
  ["g_pay", [["instalment", "◫"], ["points_sale", "★"], ["balance", "◔"], ["offline_sale", "⌁"], ["offline_chip", "▣"], ["tip", "+"]]],
  ["g_undo", [["void", "↩"], ["refund", "⤺"], ["chip_refund", "↶"]]],
  ["g_hold", [["preauth", "◷"], ["preauth_complete", "✓"], ["preauth_void", "✕"], ["preauth_complete_void", "⊘"]]],
  ["g_purse", [["load", "⊕"], ["transfer_load", "⇄"], ["cash_load", "◎"], ["cash_load_void", "⊖"]]]
];
const DESKS = [["settle", "∑"], ["sign_in", "⇥"], ["download", "⇩"], ["echo", "↻"], ["sign_off", "⇤"]];
const HINTS = { insert: "h_insert", tap: "h_tap", tap_same: "h_tap_same", swipe: "h_swipe", try_again: "h_try_again", fallback: "h_fallback", one_card: "h_one_card", swipe_again: "h_swipe_again", key_again: "h_key_again" };
const problem = (kind) => (kind === "unprinted" ? w("p_unprinted") : kind === "no_paper" ? w("nopaper") : kind === "cover_open" ? w("cover") : `${w("printer")}: ${kind}`);
const lineTable = (line) => table([[w("original"), language === "zh" ? line.zh : line.en], [w("amount"), line.here ? yuan(line.amount) : ""], [w("card"), line.card], [w("trace_no"), String(line.trace).padStart(6, "0")], [w("ref"), line.reference], [w("auth"), line.auth_code], ["", line.at]]);
const said = (host) => (host ? (language === "zh" ? host.text_zh : host.text_en) : "");

const SCREENS = {
  menu: (s) => {
    const st = s.standing, notices = [];
    if (st.reversal) notices.push(w("reversalwaits"));
    if (st.refund_open) notices.push(w("refundopen"));
    if (st.settlement_open) notices.push(w("settlementopen"));
    if (st.waiting) notices.push(`${st.waiting} ${w("waits")}`);
    return [appHead(st.merchant_name, `${st.terminal} · ${w("batch")} ${String(st.batch).padStart(6, "0")} · ${st.count} · ${w("operator")} ${st.operator} · ${st.signed_in ? w("signedin") : w("signedoff")}`),
      ...notices.map((text) => el("div", { class: "notice" }, text)),
      el("div", { class: "grid" },
        el("button", { type: "button", class: "main", "data-do": "sale", onclick: () => press({ do: "trade", trade: "sale" }) }, el("span", {}, "¥"), w("sale")),
        ...GROUPS.flatMap(([title, trades]) => [el("h5", {}, w(title)), ...trades.filter(([trade]) => st.sells_offline || !trade.startsWith("offline_")).map(([trade, icon]) => el("button", { type: "button", "data-do": trade, onclick: () => press({ do: "trade", trade }) }, el("span", {}, icon), w(trade)))]),
        el("h5", {}, w("g_desk")),
        el("button", { type: "button", "data-do": "list", onclick: () => press({ do: "list", page: 0 }) }, el("span", {}, "☰"), w("list")),
        el("button", { type: "button", "data-do": "scan", onclick: () => press({ do: "scan" }) }, el("span", {}, "▦"), w("scan")),
        el("button", { type: "button", "data-do": "reprint", onclick: () => press({ do: "reprint" }) }, el("span", {}, "▤"), w("reprint")),
        el("button", { type: "button", "data-do": "waiting", onclick: () => press({ do: "waiting" }) }, el("span", {}, "⇧"), w("waiting")),
        st.refund_open || st.reversal ? el("button", { type: "button", "data-do": "repeat", onclick: () => press({ do: "desk", desk: "repeat" }) }, el("span", {}, "⟳"), w("repeat")) : null,
        ...DESKS.map(([desk, icon]) => el("button", { type: "button", "data-do": desk, onclick: () => press({ do: "desk", desk }) }, el("span", {}, icon), w(desk))))];
  },
  login: (s) => [appHead(w("login"), ""), wrong(s.wrong ? "wrongpw" : ""), ...form([["operator", w("opno"), { max: 2 }], ["password", w("password"), { secret: true, max: 8 }]], (v) => press({ do: "login", ...v }), el("p", { class: "sub" }, w("labcashier")))],
  supervisor: (s) => [appHead(w("supervisor"), s.trade ? w(s.trade) : w("settle")), wrong(s.wrong ? "wrongpw" : ""), ...form([["operator", w("opno"), { max: 2 }], ["password", w("password"), { secret: true, max: 8 }]], (v) => press({ do: "login", ...v }), el("p", { class: "sub" }, w("labhint")))],
  amount: (s) => {
    const big = el("div", { class: "big", id: "amount" }, yuan(0));
    const show = () => { const fen = Number(state.typed || 0); big.textContent = yuan(fen); big.classList.toggle("small", fen >= 1e9); };
    return [appHead(w(s.trade), w("amount")), big, wrong(s.wrong), keypad(show, () => press({ do: "amount", amount: Number(state.typed || 0) }))];
  },
  periods: (s) => {
    const big = el("div", { class: "big" }, "0");
    return [appHead(w("instalment"), yuan(s.amount)), el("div", { class: "sub" }, w("periods")), big, wrong(s.wrong), keypad(() => { big.textContent = state.typed || "0"; }, () => press({ do: "periods", periods: Math.min(255, Number(state.typed || 0)) }), { max: 2 })];
  },
  points: (s) => [appHead(w("points_sale"), yuan(s.amount)), el("div", { class: "center" }, el("h4", {}, w("whosepoints")), ...["issuer", "alliance"].map((points) => button(w(`p_${points}`), { do: "points", points }, "wide", `points-${points}`))),
    el("div", { class: "row2" }, button(w("cancel"), { do: "cancel" }, "stop", "cancel"))],
  voice: (s) => [appHead(w("offline_sale"), yuan(s.amount)), wrong(s.wrong), ...form([["code", w("voicecode"), { max: 6, text: true }]], (v) => press({ do: "voice", code: v.code || null }), el("p", { class: "sub" }, `${s.needed ? w("voiceneeded") : w("voicefree")} ${yuan(s.limit)}`))],
  original: (s) => {
    const fields = { trace: [["trace", w("trace_no"), { max: 6 }]], reference: [["reference", w("ref"), { max: 12, text: true }], ["date", w("date"), { max: 4 }]], authorisation: [["auth_code", w("auth"), { max: 6, text: true }], ["date", w("date"), { max: 4 }]] }[s.names];
    return [appHead(w(s.trade), w("original")), wrong(s.wrong), ...form(fields, (v) => press({ do: "original", trace: v.trace ? Number(v.trace) : null, reference: v.reference || null, auth_code: v.auth_code || null, date: v.date || null }), el("div", { class: "row1" }, button(`▦ ${w("orscan")}`, { do: "scan" }, "wide", "scan")))];
  },
  confirm_original: (s) => [appHead(w(s.trade), w("thisone")), el("div", { class: "big" }, yuan(s.line.amount)), lineTable(s.line), yesNo({ do: "confirm" }, { do: "cancel" })],
  card: (s) => {
    const way = (on, icon, key) => el("div", { class: `way ${on ? "" : "no"}` }, el("span", {}, icon), w(key));
    const ask = s.second ? "pursecard" : s.trade === "transfer_load" ? "paycard" : "present";
    return [appHead(w(s.trade), w(ask)), el("div", { class: "center" }, s.amount != null ? el("div", { class: "big" }, yuan(s.amount)) : null, s.standing.note ? el("p", { class: "sub", id: "note" }, s.standing.note) : null, s.hint !== "nothing" ? el("div", { class: "hint", id: "hint" }, w(HINTS[s.hint])) : s.second || ask === "paycard" ? el("div", { class: "hint" }, w(ask)) : null,
      el("div", { class: "ways" }, way(s.slot, "▤", "insert"), way(s.field, ")))", "tap"), way(s.stripe, "▬", "swipe"))),
      el("div", { class: "row2" }, button(w("cancel"), { do: "cancel" }, "stop", "cancel"), s.keyed ? button(w("keyed"), keyCard, "", "keyed") : null)];
  },
  select: (s) => [appHead(w("choose"), ""), el("div", { class: "center" }, ...s.candidates.map((label, index) => button(label, s.candidates.length > 1 ? { do: "choose", index } : { do: "confirm" }, "wide", `choose-${index}`))), el("div", { class: "row2" }, button(w("cancel"), { do: "cancel" }, "stop", "cancel"))],
  pin: (s) => [appHead(w("enterpin"), s.card), el("div", { class: "center" }, state.snapshot.reader ? el("h4", {}, w("m_onreader")) : null, el("div", { class: "spin" }))],
  busy: (s) => [appHead(s.trade ? w(s.trade) : s.desk ? w(s.desk) : "posp", ""), el("div", { class: "center" }, s.amount != null ? el("div", { class: "big" }, yuan(s.amount)) : null, el("div", { class: "spin" }), el("h4", {}, w(s.with === "online" ? "b_online" : s.with)))],
  remove_card: () => [appHead(w("takecard"), ""), el("div", { class: "center" }, el("h4", {}, w("takecard")), el("div", { class: "ways" }, el("div", { class: "way" }, el("span", {}, "▤"), w("remove"))))],
  sign: signScreen,
  scan: scanScreen,
  tear: () => [appHead(w("printing"), ""), el("div", { class: "center" }, el("h4", {}, w("tearoff"))), yesNo({ do: "confirm" }, { do: "cancel" }, w("second"), w("skip"))],
  paper: (s) => [appHead(w("printing"), ""), el("div", { class: "center" }, el("div", { class: "verdict wait" }, "!"), el("h4", {}, problem(s.problem))), yesNo({ do: "confirm" }, { do: "cancel" }, s.problem === "unprinted" ? w("yes") : w("goon"), w("skip"))],
  result: (s) => {
    const e = s.ending, host = e.host || {}, look = { approved: "ok", declined: "bad", unknown: "wait" }[e.outcome];
    const why = e.why.is === "host" ? said(host) : e.why.is === "terminal" ? own(e.why.text) : `${w(`w_${e.why.is}`)}${e.why.reason ? ` (${w(e.why.reason)})` : e.why.text ? `: ${own(e.why.text)}` : ""}`;
    return [appHead(w(s.trade), ""), el("div", { class: "center", id: "result", "data-outcome": e.outcome, "data-code": host.code || "", "data-trace": host.trace || "", "data-ref": host.reference || "", "data-auth": host.auth_code || "" },
      el("div", { class: `verdict ${look}` }, { approved: "✓", declined: "✕", unknown: "?" }[e.outcome]), el("h4", {}, w(e.outcome)), s.amount != null ? el("div", { class: "big" }, yuan(host.amount ?? s.amount)) : null,
      host.balance != null ? el("div", { class: "big" }, yuan(host.balance)) : null, el("div", { class: "sub" }, why), table([[w("code"), host.code], [w("card"), host.card], [w("trace_no"), host.trace ? String(host.trace).padStart(6, "0") : ""], [w("ref"), host.reference], [w("auth"), host.auth_code]])),
      el("div", { class: "row2" }, button(w("ok"), { do: "confirm" }, "pri", "ok"))];
  },
  list: (s) => {
    const p = s.page;
    return [appHead(w("list"), `${w("debit")} ${p.debit[1]} · ${yuan(p.debit[0])}   ${w("credit")} ${p.credit[1]} · ${yuan(p.credit[0])}`),
      p.lines.length ? el("ul", { class: "list" }, ...p.lines.map((line) => el("li", {}, button("", { do: "pick", trace: line.trace }, "", `pick-${line.trace}`)))) : el("div", { class: "empty" }, w("nobatch")),
      el("div", { class: "row2" }, p.page > 0 ? button("‹", { do: "list", page: p.page - 1 }) : null, button(w("close"), { do: "cancel" }, "pri", "close"), p.page + 1 < p.pages ? button("›", { do: "list", page: p.page + 1 }) : null)].map((node) => fillList(node, p));
  },
  detail: (s) => [appHead(language === "zh" ? s.line.zh : s.line.en, s.line.here ? "" : w("notthisbatch")), s.line.here ? el("div", { class: "big" }, yuan(s.line.credit ? -s.line.amount : s.line.amount)) : null, s.line.voided ? el("div", { class: "wrong" }, w("voided")) : null, lineTable(s.line),
    el("div", { class: "offers" }, ...s.line.offers.map((trade) => button(w(trade), { do: "trade", trade }, "wide", `offer-${trade}`))),
    s.line.here ? backOr({ do: "reprint" }, w("reprint")) : el("div", { class: "row2" }, button(w("close"), { do: "cancel" }, "pri", "close"))],
  waiting: (s) => [appHead(w("waiting"), w("waithint")),
    s.items.length ? el("ul", { class: "list" }, ...s.items.map((one) => el("li", { class: "wait", "data-wait": one.trace }, el("span", {}, language === "zh" ? one.zh : one.en), el("span", { class: "amt" }, one.amount != null ? yuan(one.amount) : ""),
      el("small", {}, String(one.trace).padStart(6, "0")), el("small", {}, one.attempts ? `${w("attempts")} ${one.attempts}` : "")))) : el("div", { class: "empty" }, w("nowaiting")),
    s.items.length ? backOr({ do: "confirm" }, w("sendnow")) : el("div", { class: "row2" }, button(w("close"), { do: "cancel" }, "pri", "close"))],
  confirm_settle: (s) => [appHead(w("settle"), w("settlethis")), el("div", { class: "center" }, table([[`${w("debit")} (${s.page.debit[1]})`, yuan(s.page.debit[0])], [`${w("credit")} (${s.page.credit[1]})`, yuan(s.page.credit[0])]])), yesNo({ do: "confirm" }, { do: "cancel" })],
  told: (s) => {
    const good = s.says.status === "approved" || s.says.status == null;
    return [appHead(w(s.desk), ""), el("div", { class: "center", id: "told", "data-status": s.says.status || "" }, el("div", { class: `verdict ${good ? "ok" : "bad"}` }, good ? "✓" : "✕"), el("h4", {}, good ? w("done") : w("failed")), el("div", { class: "sub" }, said(s.says)), ...s.says.notices.map((text) => el("div", { class: "notice" }, own(text)))), el("div", { class: "row2" }, button(w("ok"), { do: "confirm" }, "pri", "ok"))];
  },
  trouble: (s) => [appHead(w("trouble"), ""), el("div", { class: "center", id: "trouble" }, el("div", { class: "verdict wait" }, "!"), el("div", { class: "sub" }, own(s.trouble.text))), el("div", { class: "row2" }, button(w("ok"), { do: "confirm" }, "pri", "ok"))]
};
function fillList(node, page) {
  if (!node || !node.classList || !node.classList.contains("list")) return node;
  node.querySelectorAll("button").forEach((row, at) => {
    const line = page.lines[at];
    row.append(el("span", { class: line.voided ? "void" : "" }, language === "zh" ? line.zh : line.en), el("span", { class: `amt ${line.voided ? "void" : ""}` }, yuan(line.credit ? -line.amount : line.amount)),
      el("small", {}, `${String(line.trace).padStart(6, "0")} ${line.card}`), el("small", {}, line.at.slice(5, 16)));
  });
  return node;
}

// ---- the signature pad: strokes as the device keeps them, one dot a pixel
function signScreen(s) {
  const wide = 384, high = 128;
  const canvas = el("canvas", { id: "signpad", width: wide, height: high, "aria-label": w("signhere") });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;
  const wipe = () => { pen.clearRect(0, 0, wide, high); last = null; };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * wide / box.width, (event.clientY - box.top) * high / box.height];
  };
  const draw = (event) => {
    if (!last) return;
    const to = at(event);
    pen.beginPath();
    pen.lineWidth = 3;
    pen.lineCap = "round";
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  };
  canvas.addEventListener("pointerdown", (event) => { event.preventDefault(); canvas.setPointerCapture(event.pointerId); last = at(event); draw(event); });
  canvas.addEventListener("pointermove", draw);
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointercancel", () => { last = null; });
  const send = () => {
    const dots = pen.getImageData(0, 0, wide, high).data, bytes = new Uint8Array(wide / 8 * high);
    for (let dot = 0; dot < wide * high; dot++) if (dots[dot * 4 + 3] > 127) bytes[dot >> 3] |= 0x80 >> (dot & 7);
    let text = "";
    bytes.forEach((byte) => { text += String.fromCharCode(byte); });
    hand({ act: "sign", image: { width: wide, height: high, data: btoa(text) } });
  };
  return [appHead(w(s.trade), w("signhere")), el("div", { class: "center sign" }, s.amount != null ? el("div", { class: "big" }, yuan(s.amount)) : null, wrong(s.again ? "signagain" : ""),
    el("div", { class: "signbox" }, el("span", { class: "signcode" }, s.code), canvas), el("p", { class: "sub" }, w("confirmpay"))),
    el("div", { class: "row2" }, button(w("onpaper"), { do: "cancel" }, "", "cancel"), button(w("clear"), wipe, "", "clear"), button(w("ok"), send, "go", "ok"))];
}

// ---- the scanner
let camera = null;
function cameraOff() {
  if (camera) camera.getTracks().forEach((track) => track.stop());
  camera = null;
}
async function cameraOn(video, note) {
  if (!("BarcodeDetector" in window) || !navigator.mediaDevices?.getUserMedia) { note.textContent = w("nocamera"); return; }
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) { note.textContent = `${w("cameraoff")}: ${error.name}`; return; }
  video.srcObject = camera;
  video.hidden = false;
  await video.play();
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  const look = async () => {
    if (!video.isConnected || !camera) return cameraOff();
    const found = await detector.detect(video).catch(() => []);
    if (found.length) { cameraOff(); return hand({ act: "scan", code: found[0].rawValue }); }
    requestAnimationFrame(look);
  };
  look();
}
function scanScreen(s) {
  const video = el("video", { playsinline: true, muted: true, hidden: true }), note = el("p", { class: "sub", id: "scannote" }, w("scanhint"));
  const input = el("input", { id: "f-code", type: "text", autocomplete: "off", spellcheck: "false", maxlength: 200, placeholder: w("code_in"), "aria-label": w("code_in") });
  const go = () => { if (input.value.trim()) hand({ act: "scan", code: input.value.trim() }); };
  const box = el("form", { class: "field" }, input);
  box.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  return [appHead(s.trade ? w(s.trade) : w("scan"), s.trade ? w("scan") : ""), el("div", { class: "center" }, el("div", { class: "finder" }, el("i", {}), video), note), box,
    el("div", { class: "row2" }, button(w("cancel"), () => { cameraOff(); press({ do: "cancel" }); }, "stop", "cancel"), button(w("camera"), () => cameraOn(video, note), "", "camera"), button(w("ok"), go, "go", "ok"))];
}

// A keyboard is as good as a finger.
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey) return;
  const find = (selector) => $("screen").querySelector(selector);
  const key = /^\d$/.test(event.key) ? find(`[data-pin="${event.key}"]`) || find(`[data-key="${event.key}"]`) : event.key === "Enter" ? find(".go") || find(".pri") : event.key === "Escape" ? find(".stop") : event.key === "Backspace" ? find(".back") : null;
  if (key) { event.preventDefault(); key.click(); }
});

(async () => {
  state.terminals = (await ask("/api/terminals")) || [];
  state.deck = (await ask("/api/deck")) || [];
  const wanted = location.hash.slice(1);
  const first = state.terminals.find((terminal) => terminal.id === wanted) || state.terminals[0];
  if (first) choose(first.id); else dress();
})();
