// Several responses in order, best first: by keys, or by dragging the numbers.

import { cap, div, h, keyed, response, responsesOf, span } from "./elements.js";

const DRAG_PX = 6;

/** `ranking` (groups of equals, best first) with `item` in the next place, or sharing the last one. */
export function place(ranking, item, shared = false) {
  const groups = remove(ranking, item);
  if (shared && groups.length) return [...groups.slice(0, -1), [...groups.at(-1), item]];
  return [...groups, [item]];
}

/** `ranking` without `item`. */
export function remove(ranking, item) {
  return ranking.map((group) => group.filter((one) => one !== item)).filter((group) => group.length);
}

/** `ranking` after `item` is dropped: "pool" takes it out, "into:2" shares the third place, "before:0" comes first. */
export function drop(ranking, item, target) {
  const [where, at] = target.split(":");
  const groups = ranking.map((group) => group.filter((one) => one !== item));
  if (where === "into") groups[at].push(item);
  if (where === "before") groups.splice(Number(at), 0, [item]);
  return groups.filter((group) => group.length);
}

export function ranking(card, t, { changed }) {
  let order = [];
  let shared = false; // the next one shares the last place

  const items = card.responses.map((_, n) => n);
  const badges = items.map(() => span("badge"));
  const bar = div("choices ranking");

  const placeOf = (item) => order.findIndex((group) => group.includes(item));
  const chip = (item) => {
    const words = { type: "button", class: "chip", "data-item": item, "aria-label": spoken(item) };
    const button = h("button", words, cap(String(item + 1)));
    button.addEventListener("click", (event) => {
      if (event.detail > 0) button.blur();
      toggle(item);
    });
    return button;
  };
  const spoken = (item) => {
    const at = placeOf(item);
    return at < 0 ? t("rank.out", { n: item + 1 }) : t("rank.said", { n: item + 1, place: at + 1 });
  };
  const heads = items.map((item) => span("handle", chip(item)));

  function set(next, item, keep = false) {
    order = next;
    shared = keep;
    paint();
    changed(item === undefined ? "" : spoken(item));
  }

  function toggle(item) {
    if (placeOf(item) >= 0) set(remove(order, item), item);
    else set(place(order, item, shared), item);
  }

  function tie() {
    shared = order.length > 0 && !shared;
    paint();
    changed(shared ? t("rank.tie_armed", { place: order.length }) : "");
  }

  function back() {
    if (shared) return set(order);
    const last = order.at(-1)?.at(-1);
    set(remove(order, last), last);
  }

  function paint() {
    const pool = items.filter((item) => placeOf(item) < 0);
    const gap = (at) => h("span", { class: "gap", "data-drop": `before:${at}` });
    const groups = order.flatMap((group, at) => [
      gap(at),
      h("span", { class: shared && at === order.length - 1 ? "place armed" : "place", "data-drop": `into:${at}` },
        span("number", `${at + 1}.`), group.map(chip)),
    ]);
    const hint = order.length ? "" : t("rank.empty");
    const rest = h("span", { class: "gap rest", "data-drop": `before:${order.length}` }, hint);
    const box = (name, word, chips, more) => {
      const words = { class: name, role: "group", "aria-label": t(word), ...more };
      return h("div", words, div("lead", t(word)), div("slots", chips));
    };
    bar.replaceChildren(
      box("order", "rank.order", [...groups, rest]),
      box("pool", "rank.pool", pool.map(chip), { "data-drop": "pool" }),
      div("ties",
        keyed("=", t("rank.tie"), tie, { "aria-pressed": String(shared), disabled: !order.length || !pool.length }),
        keyed("Backspace", t("rank.back"), back, { disabled: !order.length })),
    );
    for (const item of items) {
      const at = placeOf(item);
      badges[item].textContent = at < 0 ? t("rank.unplaced") : t("rank.place", { place: at + 1 });
      badges[item].classList.toggle("placed", at >= 0);
      heads[item].replaceChildren(chip(item));
    }
  }

  function press(key) {
    const item = Number(key) - 1;
    if (/^[1-9]$/.test(key) && item < items.length) set(place(order, item, shared), item);
    else if (key === "=") tie();
    else if (key === "Backspace" && order.length) back();
    else return false;
    return true;
  }

  paint();
  return {
    responses: responsesOf(card, t).map((one, n) =>
      response(n, [heads[n], h("span", {}, t("card.response_n", { n: n + 1 })), badges[n]], one),
    ),
    bar,
    show: (answer) => {
      order = answer.ranking ?? [];
      paint();
    },
    press,
    dragged: (event) => drag(event, (item, target) => set(drop(order, item, target), item)),
    value: () => ({ verdict: "ranked", ranking: order }),
    missing: () => (order.flat().length > 1 ? null : "rank.two"),
    better: () => (order[0]?.length === 1 ? order[0][0] : null),
    help: [
      [["1", String(items.length)], t("help.place")],
      [["="], t("help.tie")],
      [["Backspace"], t("help.back")],
      [[], t("help.drag")],
    ],
  };
}

/** Follow a number from where the pointer took hold of it; `dropped(item, target)` where it was let go. */
function drag(start, dropped) {
  const chip = start.target.closest("[data-item]");
  if (!chip || start.button !== 0) return;
  let ghost = null;
  const under = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-drop]");
  const mark = (spot) => {
    document.querySelectorAll("[data-drop].over").forEach((one) => one.classList.remove("over"));
    spot?.classList.add("over");
  };
  const move = (event) => {
    if (event.pointerId !== start.pointerId) return;
    if (!ghost && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) < DRAG_PX) return;
    if (!ghost) {
      ghost = chip.cloneNode(true);
      ghost.classList.add("ghost");
      ghost.setAttribute("aria-hidden", "true");
      chip.closest(".card").append(ghost);
      chip.closest(".card").classList.add("dragging");
    }
    ghost.style.translate = `${event.clientX - 22}px ${event.clientY - 22}px`;
    mark(under(event));
  };
  const end = (event) => {
    if (event.pointerId !== start.pointerId) return;
    chip.removeEventListener("pointermove", move);
    if (!ghost) return;
    const card = ghost.closest(".card");
    ghost.remove();
    card.classList.remove("dragging");
    mark(null);
    // The click that ends a drag is not a click on the number.
    chip.addEventListener("click", (click) => click.stopImmediatePropagation(), { capture: true, once: true });
    const spot = event.type === "pointerup" && under(event);
    if (spot) dropped(Number(chip.dataset.item), spot.dataset.drop);
  };
  chip.setPointerCapture(start.pointerId);
  chip.addEventListener("pointermove", move);
  for (const type of ["pointerup", "pointercancel"]) chip.addEventListener(type, end, { once: true });
}
