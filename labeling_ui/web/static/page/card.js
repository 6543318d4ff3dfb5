// One task on the screen: the conversation, the responses, and what can be said of them.

import { div, dropStrayClicks, h, keyed, written } from "./elements.js";
import { pairwise } from "./pairwise.js";
import { ranking } from "./ranking.js";
import { rating } from "./rating.js";
import { scrolling, scrollByKey } from "./scrolling.js";
import { kept } from "./server.js";
import { makeTexts } from "./texts.js";

const SETTLE_MS = 150; // a press this soon after a card appears was meant for the card before it
const FORMS = { pairwise, ranking, rating };

/**
 * The card's element, and how to work it. `on.submit(answer)`, `on.skip(texts)`, `on.undo()`, `on.changed(spoken)`,
 * `on.missing(word)`, `on.say(words)`, `on.differences()`; `start` is a draft, or the answer that this one would
 * replace, and `looked` what was looked at before the card was built anew.
 */
export function makeCard(card, t, on, start = {}, looked = {}) {
  const view = { card };
  const form = FORMS[card.kind](card, t, { changed: (spoken) => (refresh(), on.changed(spoken)), decided });
  const fields = makeFields(card, t, form, () => (refresh(), on.changed("")), submit);
  const done = keyed("Enter", t("card.submit"), submit, { class: "primary" });
  const hold = () => !form.instant || fields.open || card.rationale === "required";

  // A pair is answered by one key, unless there is something to write as well.
  function decided() {
    refresh();
    on.changed("");
    if (!hold()) return submit();
    const empty = fields.focusWanted();
    if (!empty) done.focus({ preventScroll: true });
  }

  function submit() {
    const missing = form.missing() ?? fields.missing();
    if (missing) return on.missing(missing);
    on.submit({ ...form.value(), ...fields.texts() });
  }

  function refresh() {
    done.hidden = !hold();
    done.classList.toggle("ready", !form.missing() && !fields.missing());
    fields.refresh();
  }

  const texts = makeTexts(card, t, { ...on, looked: () => on.changed("") }, looked);

  const tools = div("tools",
    fields.buttons,
    texts.buttons,
    keyed("s", t("card.skip"), () => on.skip(fields.texts()), { class: "apart" }),
    keyed("u", t("card.undo"), on.undo),
    done);
  const prompt = conversation(card, t);
  const several = card.responses.length > 1;
  const reading = h("section", { class: "reading", "aria-label": t("card.responses"), tabindex: "0" },
    h("div", { class: "responses", "data-count": card.responses.length }, form.responses));
  view.node = h("main", { class: `card ${card.kind} fresh`, tabindex: "-1", "data-card": card.id, "data-kind": card.kind },
    div("context", card.instructions && instructions(card, t), scrolling(prompt, t, "asking")),
    scrolling(reading, t, "room"),
    fields.node,
    h("div", { class: "answers", role: "group", "aria-label": t("card.answer") },
      several && jumps(card, t, prompt, form.responses), form.bar, tools));
  // The pointer lies where the last answer was given: nothing lights up under it until it is moved.
  view.node.addEventListener("pointermove", () => view.node.classList.remove("fresh"), { once: true });
  view.settled = dropStrayClicks(view.node, SETTLE_MS);
  texts.show(view.node);
  if (form.dragged) view.node.addEventListener("pointerdown", form.dragged);

  if (start.verdict && start.verdict !== "skip") form.show(start);
  fields.show(start);
  refresh();

  view.looked = texts.looked;
  view.draft = () => ({ ...form.value(), ...fields.texts(true) });
  view.help = [...form.help, ...(fields.help ?? []), ...texts.help];
  view.press = (key) => {
    if (form.press(key)) return true;
    const shows = (one) => one.dataset.key === key && !one.hidden && !one.disabled;
    const button = [...view.node.querySelectorAll("button[data-key]")].find(shows);
    if (!button) return false;
    button.click();
    return true;
  };
  view.scroll = (event) => scrollByKey(reading, event);
  /** Of a long conversation, show its last turn from its beginning. */
  view.shown = () => {
    const last = prompt.lastElementChild;
    prompt.scrollTop = Math.min(prompt.scrollHeight, last.offsetTop - prompt.offsetTop);
  };
  new ResizeObserver(view.shown).observe(prompt); // where a field takes its room, the question stays in sight
  view.leaveField = () => view.node.focus({ preventScroll: true });
  view.submit = submit;
  return view;
}

/** Open until they are folded away; new ones are open again. */
function instructions(card, t) {
  const open = kept.read("rlhf-folded") !== card.instructions;
  const summary = h("summary", {}, t("card.instructions"));
  const details = h("details", { class: "instructions", open }, summary, written(card.instructions, card.rendered?.instructions));
  details.addEventListener("toggle", () => kept.write("rlhf-folded", details.open ? null : card.instructions));
  return details;
}

/** On a narrow screen, one touch brings the prompt or a response to the top. */
function jumps(card, t, prompt, responses) {
  const names = card.kind === "pairwise" ? [t("card.upper"), t("card.lower")] : responses.map((_, n) => String(n + 1));
  const to = (label, node, name = label) => {
    const button = h("button", { type: "button", "aria-label": name }, label);
    button.addEventListener("click", () => (button.blur(), node.scrollIntoView({ block: "start" })));
    return button;
  };
  const each = responses.map((node, n) => to(names[n], node, card.kind === "pairwise" ? names[n] : t("card.response_n", { n: n + 1 })));
  return h("nav", { class: "jumps", "aria-label": t("card.go_to") }, to(t("card.prompt"), prompt), each);
}

function conversation(card, t) {
  const turn = ({ role, content }, n) => {
    const known = ["user", "assistant", "system"].includes(role);
    const who = div("who", known ? t(`card.${role}`) : role);
    return div(role === "user" ? "turn asked" : "turn said", who, written(content, card.rendered?.prompt[n]));
  };
  return h("section", { class: "prompt", "aria-label": t("card.conversation"), tabindex: "0" }, card.prompt.map(turn));
}

/** The reason and the rewrite: folded away until they are asked for. */
function makeFields(card, t, form, changed, submit) {
  const field = (name, key) => {
    const label = h("label", { for: `field-${name}` }, t(`why.${name}`));
    const placeholder = t(`why.${name}_hint`);
    const maxlength = name === "rewrite" ? 20000 : 4000;
    const area = h("textarea", { id: `field-${name}`, rows: 3, dir: "auto", maxlength, placeholder });
    const box = h("div", { class: "field", hidden: true }, label, area, h("p", { class: "hint" }, t("why.leave")));
    const open = () => {
      box.hidden = false;
      changed();
      area.focus();
    };
    area.addEventListener("input", changed);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
      if (event.key === "Escape" && !event.isComposing) {
        if (!area.value.trim()) box.hidden = true;
        changed();
        area.closest(".card").focus({ preventScroll: true });
        event.preventDefault();
      }
    });
    return { name, key, box, area, open, button: keyed(key, t(`card.${name}`), open) };
  };
  const why = card.rationale !== "off" && field("rationale", "r");
  const better = card.rewrite && field("rewrite", "w");
  const all = [why, better].filter(Boolean);
  let filled = null; // the response that the rewrite began with
  const lines = (text) => text.trim().split(/\r\n?|\n/).join("\n"); // a text field has line breaks of one kind
  /** Which response a text is, as it was written; -1 if it is none of them. */
  const responseOf = (text) => card.responses.findIndex((response) => lines(response) === lines(text));

  function refresh() {
    if (!better) return;
    const winner = form.better();
    const untouched = !better.area.value.trim() || responseOf(better.area.value) >= 0;
    better.area.disabled = winner === null;
    better.area.placeholder = t(winner === null ? "why.rewrite_choose" : "why.rewrite_hint");
    if (better.box.hidden || !untouched || winner === filled) return;
    filled = winner;
    better.area.value = winner === null ? "" : card.responses[winner];
  }

  return {
    node: div("fields", all.map((one) => one.box)),
    buttons: all.map((one) => one.button),
    refresh,
    get open() {
      return all.some((one) => !one.box.hidden);
    },
    missing: () => (card.rationale === "required" && !why.area.value.trim() ? "why.required" : null),
    /** Go to the field that still wants text; whether there is one. */
    focusWanted() {
      const asked = (one) => !one.box.hidden || (one === why && card.rationale === "required");
      const wanted = all.find((one) => asked(one) && !one.area.value.trim());
      if (wanted) wanted.open();
      return Boolean(wanted);
    },
    texts(draft = false) {
      const texts = {};
      if (why && why.area.value.trim()) texts.rationale = why.area.value;
      const rewrite = better && !better.box.hidden ? better.area.value : "";
      if (rewrite.trim() && (draft || responseOf(rewrite) < 0)) texts.rewrite = rewrite;
      return texts;
    },
    show(start) {
      for (const one of all) {
        const text = start[one.name] ?? "";
        one.area.value = text;
        one.box.hidden = !text && !(one === why && card.rationale === "required");
      }
      const given = better ? responseOf(better.area.value) : -1;
      filled = given < 0 ? null : given;
    },
    help: all.map((one) => [[one.key], t(`help.${one.name}`)]),
  };
}
