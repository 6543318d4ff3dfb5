// Trying the model: a prompt of one's own, two responses as they are written, then a card like any other.

import { composing, div, h, keyed, quiet, response, written } from "./elements.js";
import { kept, lines } from "./server.js";

/** A prompt at work, also while its page is not on the screen: `on.grown()`, `on.ready(card)`, `on.failed(detail)`. */
export class LiveAnswer {
  constructor(prompt, on) {
    this.prompt = prompt;
    this.on = on;
    this.ahead = 0;
    this.texts = null;
    this.stopper = new AbortController();
    this.#run().catch((error) => error.name === "AbortError" || on.failed(""));
  }

  stop() {
    this.stopper.abort();
  }

  async #run() {
    const response = await fetch("api/live", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: this.prompt }),
      signal: this.stopper.signal,
    });
    if (!response.ok) return this.on.failed((await response.json().catch(() => ({}))).detail ?? response.statusText);
    let ended = false;
    for await (const line of lines(response)) {
      if (line.waiting !== undefined) this.ahead = line.waiting;
      if (line.texts) this.texts = line.texts;
      ended ||= Boolean(line.card || line.error);
      if (line.card) this.on.ready(line.card);
      else if (line.error) this.on.failed(line.error);
      else this.on.grown();
    }
    if (!ended) this.on.failed("");
  }
}

/** What outlives a reload: `prompt`, until its pair is ready, and its pair, until it is judged; `pair` is the first. */
export class LiveKept {
  #prompt; // both also here, for storage may be full or forbidden
  #pairs = [];

  constructor(annotator) {
    this.keys = { prompt: `rlhf-prompt:${annotator}`, pair: `rlhf-live:${annotator}` };
    this.#prompt = kept.read(this.keys.prompt) ?? "";
  }

  get prompt() {
    return this.#prompt;
  }

  set prompt(text) {
    this.#prompt = text;
    kept.write(this.keys.prompt, text || null);
  }

  get pair() {
    return this.#all()[0];
  }

  /** An answer that was refused brings its pair back, when another may be ready already. */
  add(card) {
    this.#keep([...this.#all(), card]);
  }

  drop(card) {
    this.#keep(this.#all().filter((one) => one.id !== card.id));
  }

  #all() {
    return [...[kept.read(this.keys.pair) ?? []].flat(), ...this.#pairs]; // an earlier version kept one by itself
  }

  #keep(cards) {
    const written = kept.write(this.keys.pair, cards.length ? cards : null);
    if (!written) kept.write(this.keys.pair, null); // what is there is older
    this.#pairs = written ? [] : cards;
  }
}

/** The page part: a field for the prompt, or the responses as they grow. `on.ask(prompt)`, `on.stop()`, `on.changed()`. */
export function makeLive(t, on, draft = "") {
  const area = h("textarea", { id: "live-prompt", rows: 4, dir: "auto", maxlength: 8000, value: draft });
  const ask = keyed("Enter", t("live.ask"), () => on.ask(area.value), { class: "primary ready" });
  const label = h("label", { for: "live-prompt" }, t("live.prompt"));
  const form = div("ask", label, area, h("p", { class: "hint" }, t("live.hint")), div("row", ask));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !composing(event)) {
      event.preventDefault();
      on.ask(area.value);
    }
    if (event.key === "Escape") area.blur();
  });
  area.addEventListener("input", on.changed);
  const state = h("p", { class: "state", role: "status" });
  const texts = [0, 1].map(() => written(""));
  const sides = texts.map((text, n) => response(n, t(n ? "card.right" : "card.left"), { text }));
  const columns = h("div", { class: "responses", "data-count": 2, "aria-busy": "true" }, sides);
  const asked = written("");
  const writing = div("writing", div("turn asked", asked), div("row", state, quiet(t("live.stop"), on.stop)), columns);
  const node = h("main", { class: "live", tabindex: "-1" }, form, writing);

  return {
    node,
    prompt: () => area.value,
    focus: () => area.focus(),
    /** Show how far the answer is, or the empty field. */
    show(answer) {
      form.hidden = Boolean(answer);
      writing.hidden = !answer;
      if (!answer) return;
      asked.textContent = answer.prompt;
      const word = answer.ahead ? "live.waiting" : answer.texts ? "live.writing" : "live.starting";
      const words = t(word, { ahead: answer.ahead });
      if (state.textContent !== words) state.textContent = words; // said once, not at every letter
      texts.forEach((text, n) => (text.textContent = answer.texts?.[n] ?? ""));
    },
  };
}
