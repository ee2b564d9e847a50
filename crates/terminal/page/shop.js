"use strict";
// A shop by somebody else: it knows pay.v1 and nothing of the terminal. What it must not forget, the number of its pending
// request, it writes down before it asks; whatever happens to it then, it asks for the result of that number.
const TEXT = {
  title: ["小店", "a shop"], what: ["第三方应用示例:通过 pay.v1 调用收单应用收款", "An app by somebody else: it has the acquiring app take its money, by pay.v1"],
  goods: ["商品", "Goods"], tea: ["龙井茶", "Longjing tea"], bun: ["小笼包", "Soup dumplings"], fan: ["折扇", "Folding fan"], empty: ["清空", "Empty"], pay: ["刷卡付款", "Pay by card"],
  waiting: ["请在终端上付款", "Please pay at the terminal"], hangup: ["立即杀死本应用", "Kill me now"], giveup: ["取消付款", "Cancel"], killed: ["应用已被杀死,请求已丢下", "The app was killed and has dropped its request"], restart: ["重新打开", "Open again"],
  asking: ["正在查询上一笔", "Asking for the pending request"], approved: ["已付款", "Paid"], declined: ["未付款", "Not paid"], unknown: ["结果未知,稍后再查", "Outcome unknown, asking again"], none: ["未受理", "Not taken"],
  unreached: ["终端不可达,稍后再查", "The terminal is not reached, asking again"], again: ["再买", "Go on"], orders: ["订单", "Orders"], card: ["卡号", "Card"], trace: ["凭证号", "Voucher"], ref: ["参考号", "Reference"], time: ["时间", "Time"], code: ["应答码", "Code"], request: ["请求号", "Request"],
};
const GOODS = [["tea", "🍵", 2900], ["bun", "🥟", 1850], ["fan", "🪭", 9900]];
const APP = "posp.lab.shop";
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
const t = (key) => TEXT[key] ? TEXT[key][language === "zh" ? 0 : 1] : key;
const $ = (id) => document.getElementById(id);
const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
};
const yuan = (fen) => `¥${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, "0")}`;
const stored = (key, otherwise) => { try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; } };
const keep = (key, value) => value == null ? localStorage.removeItem(key) : localStorage.setItem(key, JSON.stringify(value));

let terminals = [], terminal = localStorage.getItem("shop.terminal"), cart = {}, flight = null, shown = null, timer = null;
const total = () => GOODS.reduce((sum, [id, , price]) => sum + price * (cart[id] || 0), 0);
const pending = () => stored("shop.pending", null);

// ---- pay.v1
async function speak(path, options = {}) {
  const answer = await fetch(`/api/terminals/${encodeURIComponent(path.terminal)}/pay${path.id ? `/${encodeURIComponent(path.id)}` : ""}`, { ...options, headers: { "x-app": APP, "content-type": "application/json" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}
const number = () => Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0")).join("");
async function pay() {
  const goods = GOODS.filter(([id]) => cart[id]).map(([id, , price]) => ({ name: TEXT[id][0], quantity: cart[id], price }));
  const id = number();
  const request = { v: "1.0", request_id: id, type: "sale", amount: total(), pay_method: "card", order: { order_no: `S${id}`, desc: t("title"), goods }, print: { mode: "default" }, ui: { skip_result_page: true } };
  // First written down, then asked for.
  keep("shop.pending", { terminal, id, amount: request.amount });
  flight = new AbortController();
  show("waiting");
  try {
    settle(await speak({ terminal }, { method: "POST", body: JSON.stringify(request), signal: flight.signal }));
  } catch (error) {
    if (error.name !== "AbortError") later("unreached");
  }
}
// What became of the pending request; the answer of a query is the only truth after a break.
async function recover() {
  const last = pending();
  if (!last) return;
  if (!shown || shown === "killed") show("asking");
  try {
    const answer = await speak({ terminal: last.terminal, id: last.id });
    if (answer.call_code === 302) return later("waiting");
    if (answer.outcome === "unknown") return later("unknown");
    settle(answer);
  } catch { later("unreached"); }
}
function later(what) {
  show(what);
  clearTimeout(timer);
  timer = setTimeout(recover, 1500);
}
function settle(answer) {
  if (answer.outcome === "unknown" || answer.call_code === 302) return later("unknown");
  const last = pending();
  keep("shop.pending", null);
  flight = null;
  if (answer.outcome === "approved") {
    cart = {};
    keep("shop.orders", [{ id: last.id, amount: answer.amount, ref: answer.ref_no, trace: answer.trace_no }, ...stored("shop.orders", [])].slice(0, 20));
  }
  show("answer", answer);
}
// As if the system had killed the app: nothing runs any more, nothing is remembered but what is written down.
function kill() {
  clearTimeout(timer);
  if (flight) flight.abort();
  flight = null;
  show("killed");
}
async function cancel() {
  const last = pending();
  if (!last) return;
  const request = { v: "1.0", request_id: number(), type: "abort", orig: { request_id: last.id } };
  try { await speak({ terminal: last.terminal }, { method: "POST", body: JSON.stringify(request) }); } catch { later("unreached"); }
}

// ---- the page
function show(what, answer) {
  shown = what === "answer" ? { answer } : what;
  draw();
}
function draw() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-s]").forEach((node) => { node.textContent = t(node.dataset.s); });
  $("lang").textContent = language === "zh" ? "EN" : "中";
  const busy = shown != null && !shown.answer;
  $("tabs").replaceChildren(...terminals.map((row) => el("button", { type: "button", class: row.id === terminal ? "on" : "", onclick: () => { if (busy) return; terminal = row.id; localStorage.setItem("shop.terminal", terminal); draw(); } }, row.id)));
  $("goods").replaceChildren(...GOODS.map(([id, sign, price]) => el("li", {}, el("button", { type: "button", "data-good": id, onclick: () => { if (busy) return; cart[id] = Math.min((cart[id] || 0) + 1, 99); shown = null; draw(); } },
    el("span", {}, `${sign} ${t(id)}${cart[id] ? ` × ${cart[id]}` : ""}`), el("span", { class: "amt" }, yuan(price))))));
  $("total").textContent = yuan(total());
  $("pay").disabled = $("empty").disabled = busy || total() === 0;
  const box = $("state");
  box.hidden = shown == null;
  if (shown?.answer) box.replaceChildren(...verdict(shown.answer));
  else if (shown === "killed") box.replaceChildren(el("div", { class: "center" }, el("h4", {}, t("killed")), el("button", { class: "wide go", type: "button", id: "restart", onclick: () => location.reload() }, t("restart"))));
  else if (shown) box.replaceChildren(el("div", { class: "center" }, el("div", { class: "spin" }), el("h4", {}, t(shown)), el("div", { class: "sub" }, `${t("request")} ${pending()?.id || ""}`)),
    el("div", { class: "row2" }, el("button", { type: "button", id: "cancel", onclick: cancel }, t("giveup")), el("button", { class: "stop", type: "button", id: "kill", onclick: kill }, t("hangup"))));
  const orders = stored("shop.orders", []);
  $("done").hidden = orders.length === 0;
  $("orders").replaceChildren(...orders.map((order) => el("li", {}, el("button", { type: "button" }, el("span", {}, order.trace || "", " ", el("small", {}, order.ref || "")), el("span", { class: "amt" }, yuan(order.amount))))));
}
function verdict(answer) {
  const kind = { approved: "ok", declined: "bad" }[answer.outcome] || "";
  const rows = [["code", answer.resp_code], ["card", answer.card?.masked_pan], ["trace", answer.trace_no], ["ref", answer.ref_no], ["time", answer.trade_time], ["request", answer.request_id]];
  return [el("div", { class: "center" }, el("div", { class: `verdict ${kind}` }, { ok: "✓", bad: "✕" }[kind] || "–"), el("h4", { id: "outcome", "data-outcome": answer.outcome }, t(answer.outcome)),
    answer.amount == null ? null : el("div", { class: "big small" }, yuan(answer.amount)), el("div", { class: "sub" }, `${answer.call_code} ${answer.resp_msg || answer.call_msg || ""}`)),
  el("table", { class: "kv" }, ...rows.filter(([, value]) => value).map(([name, value]) => el("tr", {}, el("td", {}, t(name)), el("td", {}, value)))),
  el("div", { class: "row2" }, el("button", { class: "pri", type: "button", id: "again", onclick: () => { shown = null; draw(); } }, t("again")))];
}
$("lang").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; localStorage.setItem("language", language); draw(); });
$("pay").addEventListener("click", pay);
$("empty").addEventListener("click", () => { cart = {}; shown = null; draw(); });
(async () => {
  try { terminals = await (await fetch("/api/terminals")).json(); } catch { terminals = []; }
  if (!terminals.some((row) => row.id === terminal)) terminal = terminals[0]?.id || null;
  draw();
  recover();
})();
