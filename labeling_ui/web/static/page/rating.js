// One response on a scale, aspect by aspect: a digit rates the marked aspect and marks the next.

import { cap, div, h, response, written } from "./elements.js";

export function rating(card, t, { changed }) {
  const rows = card.aspects.map((aspect) => ({ aspect, rated: null }));
  let current = 0;

  const words = (row, value) => t("rate.said", { aspect: row.aspect, value, scale: card.scale });
  const digits = Array.from({ length: card.scale }, (_, n) => n + 1);
  for (const [at, row] of rows.entries()) {
    const id = `aspect-${at}`;
    row.buttons = digits.map((digit) => {
      const button = h("button", { type: "button", "aria-label": words(row, digit) }, String(digit));
      button.addEventListener("click", (event) => {
        if (event.detail > 0) button.blur();
        rate(at, digit);
      });
      return button;
    });
    const lead = h("div", { class: "lead", id, dir: "auto" }, row.aspect);
    row.node = h("div", { class: "aspect", role: "group", "aria-labelledby": id }, lead, div("scale", row.buttons));
  }

  function paint() {
    for (const [at, row] of rows.entries()) {
      row.node.classList.toggle("current", at === current);
      row.buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(row.rated === n + 1)));
    }
  }

  function rate(at, digit) {
    rows[at].rated = digit;
    current = Math.min(at + 1, rows.length - 1);
    paint();
    changed(words(rows[at], digit));
  }

  function press(key) {
    if (/^[1-9]$/.test(key) && Number(key) <= card.scale) rate(current, Number(key));
    else if (key === "ArrowUp" || key === "ArrowDown") {
      current = Math.max(0, Math.min(rows.length - 1, current + (key === "ArrowDown" ? 1 : -1)));
      paint();
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      const step = key === "ArrowRight" ? 1 : -1;
      const from = rows[current].rated ?? (step > 0 ? 0 : card.scale + 1);
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
    for (const row of rows) row.rated = answer.ratings?.[row.aspect]?.[0] ?? null;
    const open = rows.findIndex((row) => row.rated === null);
    current = open < 0 ? 0 : open;
    paint();
  }

  paint();
  const ends = `${t("rate.low")} · ${t("rate.high", { scale: card.scale })}`;
  return {
    responses: card.responses.map((text, n) => response(n, t("card.response"), written(text))),
    bar: div("choices rating",
      div("ends", h("span", {}, cap("1"), " – ", cap(String(card.scale))), h("span", {}, ends)),
      rows.map((row) => row.node)),
    show,
    press,
    value: () => ({ verdict: "rated", ratings: Object.fromEntries(rows.map((row) => [row.aspect, [row.rated]])) }),
    missing: () => (rows.every((row) => row.rated !== null) ? null : "rate.all"),
    better: () => 0,
    help: [
      [["1", String(card.scale)], t("help.rate")],
      [["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], t("help.arrows")],
      [["Backspace"], t("help.back")],
    ],
  };
}
