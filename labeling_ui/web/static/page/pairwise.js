// Two responses: which is better, and by how much. One key is one answer.

import { div, h, keyed, response, responsesOf, sided } from "./elements.js";

// The digits run from left to right like the responses: the further out, the stronger.
const LEFT = [["1", 3, "pair.much"], ["2", 2, "pair.clearly"], ["3", 1, "pair.slightly"]];
const RIGHT = [["4", 1, "pair.slightly"], ["5", 2, "pair.clearly"], ["6", 3, "pair.much"]];
const NEITHER = [["t", "tie"], ["b", "both_bad"]];

export function pairwise(card, t, { decided }) {
  let value = {};
  const buttons = [];

  const choice = (key, label, answer) => {
    const button = keyed(key, label, () => {
      show(answer);
      decided();
    }, { "aria-pressed": "false" });
    buttons.push([button, answer]);
    return button;
  };
  const group = (name, lead, choices) => {
    const id = `is-${name}`;
    const head = h("div", { class: "lead", id }, lead);
    return h("div", { class: `group ${name}`, role: "group", "aria-labelledby": id }, head, choices);
  };
  const side = (winner) => ([key, strength, label]) =>
    choice(key, t(label), { verdict: "preferred", winner, strength });
  const neither = NEITHER.map(([key, verdict]) => choice(key, t(`pair.${verdict}`), { verdict }));

  function show(answer) {
    value = answer;
    for (const [button, one] of buttons) {
      const same = ["verdict", "winner", "strength"].every((field) => (one[field] ?? null) === (answer[field] ?? null));
      button.setAttribute("aria-pressed", String(same));
    }
  }

  const names = [sided(t("card.left"), t("card.upper")), sided(t("card.right"), t("card.lower"))];
  return {
    instant: true,
    responses: responsesOf(card, t).map((one, n) => response(n, names[n], one)),
    bar: div("choices pairwise",
      group("left", sided(t("pair.left_is"), t("pair.upper_is")), LEFT.map(side(0))),
      group("neither", t("pair.neither"), neither),
      group("right", sided(t("pair.right_is"), t("pair.lower_is")), RIGHT.map(side(1))),
    ),
    show,
    press: () => false, // every key is on a button
    value: () => value,
    missing: () => (value.verdict ? null : "why.choose"),
    better: () => value.winner ?? null,
    help: [
      [["1", "2", "3"], `${t("card.left")}: ${t("help.much")}`],
      [["4", "5", "6"], `${t("card.right")}: ${t("help.much")}`],
      [["t"], t("pair.tie")],
      [["b"], t("pair.both_bad")],
    ],
  };
}
