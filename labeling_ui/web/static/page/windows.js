// The windows over the page: keys, my last answers, why a task is skipped.

import { cap, dialog, div, h, keyOf, keyed, span, stacked, typing, written } from "./elements.js";

const REASONS = ["unclear", "expertise", "upsetting", "broken"]; // stored as they are, whatever the language

export function showHelp(root, t, rows) {
  const all = [
    ...rows,
    [["s"], t("help.skip")],
    [["u"], t("help.undo")],
    [["h"], t("help.history")],
    [["Enter"], t("help.submit")],
    [["Ctrl", "Enter"], t("help.submit_field")],
    [["Escape"], t("help.leave")],
    [["?"], t("help.help")],
  ];
  const row = ([keys, words]) => h("tr", {}, h("td", {}, keys.map(cap)), h("td", {}, words));
  const table = h("table", { class: "keys" }, h("tbody", {}, all.map(row)));
  dialog(root, t("help.title"), t("dialog.close"), table);
}

/** `chosen(reason)` with "" for none. */
export function askWhySkip(root, t, chosen) {
  const other = h("input", { id: "skip-other", maxlength: 1000, dir: "auto" });
  const label = h("label", { for: "skip-other" }, t("skip.other"));
  const send = h("button", { type: "submit", class: "quiet" }, t("card.skip"));
  const form = h("form", { class: "other" }, label, div("row", other, send));
  const close = (reason) => {
    node.close();
    chosen(reason);
  };
  const buttons = REASONS.map((reason, n) => keyed(String(n + 1), t(`skip.${reason}`), () => close(reason)));
  const none = keyed("Enter", t("skip.none"), () => close(""), { class: "primary" });
  const node = dialog(root, t("skip.title"), t("dialog.close"), div("list", buttons, none), form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (other.value.trim()) close(other.value);
    else other.focus();
  });
  node.addEventListener("keydown", (event) => {
    if (typing(event.target)) return;
    const button = buttons[Number(keyOf(event)) - 1];
    if (button) (event.preventDefault(), button.click());
  });
  none.focus();
}

/** `chosen(entry)` with an entry of `/api/history`. */
export function showHistory(root, t, entries, chosen) {
  const rows = entries.map((entry) => {
    const when = moment(new Date(entry.created_at));
    const asked = div("asked", written(entry.prompt, entry.rendered));
    const words = [asked, span("said", said(entry.answer, t)), h("time", {}, when)];
    const button = h("button", { type: "button", class: "entry" }, words);
    button.addEventListener("click", () => {
      node.close();
      chosen(entry);
    });
    return button;
  });
  const hint = h("p", { class: "hint" }, t(rows.length ? "history.hint" : "history.empty"));
  const node = dialog(root, t("history.title"), t("dialog.close"), hint, div("list", rows));
  node.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(document.activeElement) + step))]?.focus();
  });
  (rows[0] ?? node.querySelector("button")).focus();
}

/** The time of today, and the day as well of what was said before. */
function moment(then) {
  const day = then.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
  return then.toLocaleString(document.documentElement.lang, { ...day, hour: "2-digit", minute: "2-digit" });
}

/** What the known answer is, after an answer of the qualification round; `closed()` once it was read. */
export function showFeedback(root, t, told, closed) {
  const word = told.right >= 1 ? "round.right" : told.right > 0 ? "round.partly" : "round.wrong";
  const known = h("p", {}, t("round.known", { answer: said(told.known, t) }));
  const why = told.known.rationale && written(told.known.rationale, told.rendered);
  const far = h("p", { class: "hint" }, t(`round.${told.state}`, told));
  const go = keyed("Enter", t("say.go_on"), () => node.close(), { class: "primary" });
  const node = dialog(root, t(word), null, div("told", ...[known, why, far].filter(Boolean)), go);
  node.classList.add("below");
  node.addEventListener("close", closed);
  go.focus();
}

/** An answer in a few words. */
export function said(answer, t) {
  if (answer.verdict === "preferred") {
    const word = ["said.plain", "pair.slightly", "pair.clearly", "pair.much"][answer.strength ?? 0];
    const sides = stacked() ? ["said.upper", "said.lower"] : ["said.left", "said.right"];
    return t(sides[answer.winner], { strength: t(word).toLowerCase() });
  }
  if (answer.verdict === "ranked") {
    const equals = (group) => group.map((item) => item + 1).join(" = ");
    return answer.ranking.map(equals).join(" > ");
  }
  if (answer.verdict === "rated") {
    return Object.entries(answer.ratings).map(([aspect, given]) => `${aspect} ${given?.[0] ?? t("rate.none")}`).join(" · ");
  }
  if (answer.verdict === "skip" && answer.reason) {
    return `${t("said.skip")}: ${REASONS.includes(answer.reason) ? t(`skip.${answer.reason}`) : answer.reason}`;
  }
  return t(`said.${answer.verdict}`);
}
