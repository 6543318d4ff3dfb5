// One response on a scale, aspect by aspect: a digit rates the marked aspect and marks the next.

import { cap, div, h, response, responsesOf } from "./elements.js";

export function rating(card, t, { changed }) {
  // `rated` is 1 to the scale, 0 where the aspect does not apply, and null before either is said.
  const rows = card.aspects.map((aspect, n) => ({ aspect, meaning: card.definitions?.[n], rated: null }));
  let current = 0;

  const words = (row, value) =>
    value ? t("rate.said", { aspect: row.aspect, value, scale: card.scale }) : t("rate.none_said", { aspect: row.aspect });
  const digits = Array.from({ length: card.scale }, (_, n) => n + 1);
  if (card.not_applicable) digits.push(0);
  const meaning = h("div", { class: "meaning", id: "meaning", dir: "auto" });
  for (const [at, row] of rows.entries()) {
    const id = `aspect-${at}`;
    row.buttons = digits.map((digit) => {
      const button = h("button", { type: "button", "aria-label": words(row, digit), class: digit ? null : "none" }, digit ? String(digit) : t("rate.none"));
      button.addEventListener("click", (event) => {
        if (event.detail > 0) button.blur();
        rate(at, digit);
      });
      return button;
    });
    const lead = h("div", { class: "lead", id, dir: "auto" }, row.aspect);
    const described = row.meaning && h("p", { class: "spoken", id: `${id}-means` }, row.meaning);
    const about = { "aria-labelledby": id, "aria-describedby": row.meaning ? `${id}-means` : null };
    row.node = h("div", { class: "aspect", role: "group", title: row.meaning || null, ...about }, lead, described, div("scale", row.buttons));
  }

  function paint() {
    for (const [at, row] of rows.entries()) {
      row.node.classList.toggle("current", at === current);
      row.buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(row.rated === digits[n])));
    }
    const { aspect, meaning: means } = rows[current];
    meaning.textContent = means ? `${aspect}: ${means}` : "";
  }

  function rate(at, digit) {
    rows[at].rated = digit;
    current = Math.min(at + 1, rows.length - 1);
    paint();
    changed(words(rows[at], digit));
  }

  function press(key) {
    if (/^\d$/.test(key) && digits.includes(Number(key))) rate(current, Number(key));
    else if (key === "ArrowUp" || key === "ArrowDown") {
      current = Math.max(0, Math.min(rows.length - 1, current + (key === "ArrowDown" ? 1 : -1)));
      paint();
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      const step = key === "ArrowRight" ? 1 : -1;
      const from = rows[current].rated || (step > 0 ? 0 : card.scale + 1);
      rows[current].rated = Math.max(1, Math.min(card.scale, from + step));
      paint();
      changed(words(rows[current], rows[current].rated));
    } else if (key === "Backspace" && rows.some((row) => row.rated !== null)) {
      if (rows[current].rated === null) current = Math.max(0, current - 1);
      rows[current].rated = null;
      paint();
      changed("");
    } else return false;
    return true;
  }

  function show(answer) {
    for (const row of rows) {
      const given = answer.ratings?.[row.aspect];
      row.rated = given === null ? 0 : (given?.[0] ?? null);
    }
    const open = rows.findIndex((row) => row.rated === null);
    current = open < 0 ? 0 : open;
    paint();
  }

  paint();
  const ends = `${t("rate.low")} · ${t("rate.high", { scale: card.scale })}`;
  return {
    responses: responsesOf(card, t).map((one, n) => response(n, t("card.response"), one)),
    bar: div("choices rating",
      div("ends", h("span", {}, cap("1"), " – ", cap(String(card.scale)), card.not_applicable && cap("0")), meaning, h("span", {}, ends)),
      rows.map((row) => row.node)),
    show,
    press,
    value: () => ({ verdict: "rated", ratings: Object.fromEntries(rows.map(({ aspect, rated }) => [aspect, rated === 0 ? null : [rated]])) }),
    missing: () => (rows.every((row) => row.rated !== null) ? null : "rate.all"),
    better: () => 0,
    help: [
      [["1", String(card.scale)], t("help.rate")],
      ...(card.not_applicable ? [[["0"], t("help.none")]] : []),
      [["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], t("help.arrows")],
      [["Backspace"], t("help.back")],
    ],
  };
}
