// Two models side by side: a conversation that both answer, as they write, and votes for the better answer.
//
// What the models write reaches the document as text nodes while it grows, and then as the server rendered and
// sanitised it. In a blind conversation the server says which model is on which side only when it is asked to.

import { Clock } from "./clock.js";
import { composing, div, h, quiet, response, sided, span, written } from "./elements.js";
import { ask, lines, Problem, reasonOf } from "./server.js";

const VERDICTS = [
  ["left", "chat.better_left", "chat.better_upper"],
  ["tie", "pair.tie"],
  ["both_bad", "pair.both_bad"],
  ["right", "chat.better_right", "chat.better_lower"],
];
const IDLE_SECONDS = 30;

class Chat {
  constructor(root) {
    this.root = root;
    this.clock = new Clock();
    this.clock.listen();
    this.conversation = null; // the server's id of it
    this.writing = null; // what stops the answers that are being written
    this.turns = 0;
  }

  async start() {
    const found = await ask("api/words", "words");
    this.language = found;
    document.documentElement.lang = found.code;
    this.t = (word, values = {}) => (found.words[word] ?? word).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
    this.desk = await ask("api/chat", "models");
    this.build();
  }

  build() {
    const { t, desk } = this;
    document.title = t("chat.title");
    const choice = (label, chosen) =>
      h("select", { "aria-label": label }, desk.models.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    this.models = ["chat.left", "chat.right"].map((word, n) => choice(t(word), desk.compared[n]));
    this.blind = h("input", { type: "checkbox", id: "blind" });
    const blind = h("label", { for: "blind", title: t("chat.blind_hint") }, this.blind, " ", t("chat.blind"));
    for (const each of [...this.models, this.blind]) each.addEventListener("change", () => this.begin());
    const language = h("select", { "aria-label": t("header.language") },
      Object.entries(this.language.languages).map(([code, name]) =>
        h("option", { value: code, lang: code, selected: code === this.language.code }, name)));
    language.addEventListener("change", () => {
      document.cookie = `rlhf_language=${language.value}; path=/; max-age=31536000; samesite=lax`;
      location.reload();
    });
    const header = h("header", { class: "bar" },
      h("h1", {}, t("chat.title")),
      div("setup", this.models, blind, quiet(t("chat.new"), () => this.begin())),
      h("nav", { class: "links" }, language,
        h("form", { method: "post", action: `sign-out?page-of=${window.gradio_config.username}` },
          h("span", { class: "name", dir: "auto" }, desk.annotator),
          h("button", { type: "submit", class: "quiet" }, t("header.sign_out")))));
    this.thread = div("thread");
    this.state = h("p", { class: "state", role: "status" });
    this.alert = h("p", { class: "problem", role: "alert" });
    this.reveal = quiet(t("chat.reveal"), () => this.showModels());
    this.area = h("textarea", { id: "message", rows: 2, dir: "auto", maxlength: 8000, "aria-label": t("chat.prompt"), placeholder: t("chat.prompt") });
    this.send = h("button", { type: "submit", class: "primary ready" }, t("chat.send"));
    this.stop = quiet(t("live.stop"), () => this.writing?.abort());
    const form = h("form", { class: "composer" }, this.alert, this.area, div("row", this.send, this.stop, this.reveal, this.state));
    form.addEventListener("submit", (event) => (event.preventDefault(), this.say()));
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || composing(event)) return;
      event.preventDefault();
      this.say();
    });
    this.root.replaceChildren(header, h("main", { class: "chat" }, this.thread, form));
    this.begin();
  }

  /** A new conversation with the models that are chosen; the server hears of it with the first message. */
  begin() {
    this.writing?.abort();
    this.conversation = null;
    this.shown = null;
    this.thread.replaceChildren(h("p", { class: "hint" }, this.t("chat.welcome")));
    this.alert.textContent = this.state.textContent = "";
    this.working(false);
    this.area.focus();
  }

  working(busy) {
    this.send.disabled = busy;
    this.stop.hidden = !busy;
    this.reveal.hidden = busy || !this.conversation || Boolean(this.shown);
  }

  async say() {
    const text = this.area.value;
    if (this.send.disabled) return;
    if (!text.trim()) return (this.alert.textContent = this.t("live.empty"));
    const stopper = (this.writing = new AbortController());
    this.alert.textContent = "";
    this.state.textContent = this.t("chat.writing");
    this.working(true);
    const turn = this.turn(text);
    try {
      await this.open();
      const reply = await fetch("api/chat/say", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ conversation: this.conversation, prompt: text }),
        signal: stopper.signal,
      });
      if (!reply.ok) throw new Problem(reply.status, (await reply.json().catch(() => ({}))).detail ?? reply.statusText);
      let done = false;
      for await (const line of lines(reply)) {
        if (stopper.signal.aborted) break;
        if (line.error) throw new Problem(0, line.error);
        if (line.texts) line.texts.forEach((words, n) => (turn.texts[n].textContent = words));
        if (line.answers) (done = true), this.answered(turn, line.answers);
      }
      if (!done) throw new Problem(0, this.t("say.unreachable"));
      this.area.value = "";
    } catch (problem) {
      turn.node.remove();
      if (!stopper.signal.aborted) this.failed(problem);
    } finally {
      if (this.writing === stopper) {
        this.writing = null;
        this.state.textContent = "";
        this.working(false);
        this.area.focus();
      }
    }
  }

  async open() {
    if (this.conversation) return;
    const models = this.models.map((each) => each.value);
    const begun = await ask("api/chat/begin", "conversation", { models, blind: this.blind.checked });
    this.conversation = begun.conversation;
    this.shown = begun.models;
  }

  failed(problem) {
    if (problem.status === 401) return location.reload(); // leads to the sign-in page
    if (problem.status === 404) this.conversation = null;
    this.alert.textContent = this.t("live.failed", { detail: reasonOf(problem, this.t) });
  }

  /** A message with room for both answers. */
  turn(text) {
    const texts = [0, 1].map(() => written(""));
    const number = ++this.turns;
    const names = [0, 1].map((n) => span("side", this.side(n)));
    const sides = texts.map((one, n) => response(`${number}-${n}`, names[n], { text: one }));
    const columns = h("div", { class: "responses", "data-count": 2 }, sides);
    const asked = div("turn asked", written(text));
    const node = h("section", { class: "exchange" }, asked, columns);
    this.thread.querySelector(":scope > .hint")?.remove();
    this.thread.querySelectorAll(".votes button").forEach((button) => (button.disabled = true));
    this.thread.append(node);
    node.scrollIntoView({ block: "end" });
    return { node, texts, sides, names, columns };
  }

  side(n) {
    return this.shown ? this.shown[n] : this.t(n ? "chat.right" : "chat.left");
  }

  answered(turn, answers) {
    turn.columns.replaceChildren(...answers.texts.map((text, n) => {
      const name = (turn.names[n] = span("side", this.side(n)));
      const notes = [name, answers.cut_off[n] && span("cut", this.t("card.cut_off"))];
      return (turn.sides[n] = response(`${this.turns}-${n}`, notes, { text: written(text, answers.rendered[n]) }));
    }));
    if (answers.equal) turn.node.append(h("p", { class: "hint" }, this.t("chat.equal")));
    else this.offerVotes(turn, answers.turn);
    turn.node.scrollIntoView({ block: "end" });
    this.clock.restart(IDLE_SECONDS);
  }

  offerVotes(turn, number) {
    const conversation = this.conversation;
    const why = this.desk.rationale !== "off" && h("textarea", { rows: 2, dir: "auto", maxlength: 4000, "aria-label": this.t("why.rationale"), placeholder: this.t("why.rationale_hint") });
    const buttons = VERDICTS.map(([verdict, word, narrow = word]) =>
      h("button", { type: "button", "aria-pressed": "false", "data-verdict": verdict, onclick: () => vote(verdict) },
        sided(this.t(word), this.t(narrow))));
    const told = h("p", { class: "hint", role: "status" });
    const disable = (disabled) => buttons.forEach((button) => (button.disabled = disabled));
    const vote = async (verdict) => {
      if (this.desk.rationale === "required" && !why.value.trim()) {
        told.textContent = this.t("why.required");
        return why.focus();
      }
      disable(true);
      try {
        const rationale = why ? why.value : "";
        await ask("api/chat/vote", "saved", { conversation, turn: number, verdict, seconds: this.clock.seconds, rationale });
        buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict)));
        told.textContent = this.t("chat.saved");
        if (why) why.disabled = true;
        turn.sides[verdict === "right" ? 1 : 0].classList.add("kept");
      } catch (problem) {
        told.textContent = this.t("say.failed", { detail: reasonOf(problem, this.t) });
        disable(turn.node !== this.thread.lastElementChild); // only the last turn can be voted on
      }
    };
    const group = h("div", { class: "votes", role: "group", "aria-label": this.t("chat.vote") }, buttons);
    turn.node.append(...[why, group, told].filter(Boolean));
  }

  async showModels() {
    try {
      this.shown = (await ask("api/chat/reveal", "models", { conversation: this.conversation })).models;
      this.thread.querySelectorAll(".responses").forEach((row) =>
        row.querySelectorAll(".side").forEach((name, n) => (name.textContent = this.shown[n])));
      this.state.textContent = this.t("chat.over");
      this.working(false);
    } catch (problem) {
      this.failed(problem);
    }
  }
}

export const start = (root) => new Chat(root).start();
