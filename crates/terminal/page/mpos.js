"use strict";
// An MPOS: the phone beside its reader, which has a display, keys and slots of its own. Words, the reader, and the screen on
// which a phone pairs.
Object.assign(WORDS, {
  m_reader: ["读卡器", "card reader"], m_label: ["标签码", "label code"], m_linked: ["已连接", "connected"], m_unlinked: ["未连接", "not connected"],
  m_unpaired: ["未配对", "not paired"], m_cut: ["断开蓝牙", "cut the link"], m_mend: ["恢复蓝牙", "mend the link"], m_pair: ["连接读卡器", "Pair with the reader"],
  m_pairhint: ["输入或扫描读卡器背面的标签码", "Key or scan the code on the reader's label"], m_scan: ["扫描标签", "scan the label"], m_onreader: ["请在读卡器上输入密码", "Enter the PIN on the reader"]
});

// Where cards and PINs go: the reader, where there is one.
const cardDevice = (snapshot) => (snapshot.reader ? snapshot.reader.device : snapshot.device);

function drawReader(snapshot) {
  const reader = snapshot.reader, box = $("reader");
  $("device").classList.toggle("phone", reader != null);
  box.hidden = reader == null;
  if (!reader) {
    state.readerKey = "";
    return;
  }
  const device = reader.device, pin = device.pin;
  box.classList.toggle("ready", device.waiting.includes("detector"));
  box.classList.toggle("in", snapshot.slot != null);
  const key = JSON.stringify([language, state.id, reader.paired, reader.connected, reader.link, device.pad_lines, pin, snapshot.slot]);
  if (state.readerKey === key) return;
  state.readerKey = key;
  const dots = pin ? el("div", { class: "rdots", "data-count": pin.count }, "●".repeat(pin.count) || "_") : null;
  const layout = pin ? pin.layout : [1, 2, 3, 4, 5, 6, 7, 8, 9, 0];
  const digit = (at) => el("button", { type: "button", disabled: !pin, "data-pin": pin ? layout[at] : null, onclick: () => hand({ act: "pin_key", at }) }, String(layout[at]));
  const act = (name, look, text, doing) => el("button", { type: "button", class: look, disabled: !pin, "data-do": name, onclick: () => hand({ act: doing }) }, text);
  const link = !reader.paired ? "m_unpaired" : reader.connected ? "m_linked" : "m_unlinked";
  box.replaceChildren(
    el("div", { class: "rbody" },
      el("div", { class: "rtop" }, el("span", { class: `rlight ${reader.connected ? "on" : ""}` }), el("b", {}, "posp reader"), el("span", { class: "rbat" }, `▮ ${reader.battery ?? "–"}%`)),
      el("div", { class: "rdisplay", id: "rdisplay", "aria-live": "polite" }, ...device.pad_lines.map((line) => el("div", {}, line)), dots),
      el("div", { class: "rkeys" }, ...[0, 1, 2].map(digit), act("pin-cancel", "stop", "✕", "pin_cancel"), ...[3, 4, 5].map(digit), act("pin-clear", "back", "C", "pin_clear"),
        ...[6, 7, 8].map(digit), el("span", {}), el("span", {}), digit(9), el("span", {}), act("pin-ok", "go", "✓", "pin_confirm")),
      el("div", { class: "rnfc", "aria-hidden": "true" }, ")))"), el("div", { class: "rslot" }, el("span", {}, snapshot.slot || ""))),
    el("dl", { class: "rfacts" }, el("dt", {}, w("m_reader")), el("dd", {}, `${reader.serial} · `, el("em", { class: reader.connected ? "ok" : "no", id: "rlink" }, w(link))),
      el("dt", {}, w("m_label")), el("dd", { class: "code", id: "rlabel" }, reader.label)));
}

// The phone's screen before it knows a reader.
function pairingScreen(snapshot) {
  const scan = el("button", { type: "button", class: "wide", "data-do": "scan", onclick: () => { $("f-code").value = snapshot.reader.label; } }, `▣ ${w("m_scan")}`);
  return [appHead(w("m_pair"), w("m_reader")), el("p", { class: "sub" }, w("m_pairhint")),
    ...form([["code", w("m_label"), { max: 47, text: true }]], (v) => hand({ act: "pair", code: v.code }), el("div", { class: "field" }, scan))];
}
