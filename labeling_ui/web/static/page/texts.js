// How the texts of a card are shown: rendered or as they were written, with their differences, with their lengths.
// Each has a key, and what was looked at goes with the answer.

import { keyed, lengthOf } from "./elements.js";

const LONGEST = 40_000; // characters; of longer texts the server marks nothing

/**
 * `on.differences()` resolves to the marked texts of the server, or to null; `on.say(words)`; `on.looked()`, whenever
 * something is looked at. `before`: what `looked()` was before the card was built anew.
 */
export function makeTexts(card, t, on, before = {}) {
  const looked = new Set(before.view === "both" ? ["raw", "rendered"] : [before.view].filter(Boolean));
  const aids = new Set(before.aids);
  let node = null;
  let raw = !card.rendered;
  let marked = null; // the server's, once asked for
  let differing = false;

  const toggle = (key, word, act) => keyed(key, t(word), act, { "aria-pressed": "false" });
  const asWritten = toggle("m", "card.as_written", () => ((raw = !raw), paint(), on.looked()));
  const differences = toggle("d", "card.differences", showDifferences);
  const lengths = toggle("c", "card.length", showLengths);

  function paint() {
    looked.add(raw ? "raw" : "rendered");
    asWritten.setAttribute("aria-pressed", String(raw));
    differences.setAttribute("aria-pressed", String(differing));
    for (const text of node.querySelectorAll(".prompt .text")) text.showText(raw);
    [...node.querySelectorAll(".responses .text")].forEach((text, n) => {
      const marks = differing && { raw: marked.raw[n], rendered: marked.rendered?.[n] ?? null };
      text.showText(raw || (differing && !marked.rendered), marks || null);
    });
  }

  async function showDifferences() {
    const long = card.responses.some((text) => text.length > LONGEST);
    if (!long) marked ??= await on.differences();
    if (!long && !marked) return;
    if (!marked?.raw.some((text) => text.includes("<mark>"))) return on.say(t("say.no_differences"));
    differing = !differing;
    if (differing) aids.add("differences");
    paint();
    on.looked();
  }

  function showLengths() {
    aids.add("length");
    const shown = lengths.getAttribute("aria-pressed") !== "true";
    lengths.setAttribute("aria-pressed", String(shown));
    [...node.querySelectorAll(".responses .length")].forEach((place, n) => {
      place.hidden = !shown;
      place.textContent = t("card.length_is", lengthOf(card.responses[n], document.documentElement.lang));
    });
    on.looked();
  }

  const pair = card.responses.length === 2;
  const all = [
    [card.rendered, asWritten, "m", "help.as_written"],
    [pair, differences, "d", "help.differences"],
    [true, lengths, "c", "help.length"],
  ].filter(([there]) => there);
  return {
    buttons: all.map(([, button]) => button),
    help: all.map(([, , key, word]) => [[key], t(word)]),
    show: (shown) => ((node = shown), paint()),
    looked: () => ({ view: looked.size > 1 ? "both" : [...looked][0], aids: [...aids] }),
  };
}
