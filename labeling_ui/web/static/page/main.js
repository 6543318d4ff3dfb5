// The labeling page: shows a card, takes the answer, and has the next one ready before the answer is saved.
//
// What is on the screen is either the first of `cards` (what the server wants judged) or `aside` (an answer that is
// being changed, a live pair, or a card that came back). Answers go through the outbox; what is typed or half done
// is kept as a draft until its answer is saved.

import { makeCard } from "./card.js";
import { Clock, Sitting } from "./clock.js";
import { makeFrame } from "./frame.js";
import { LiveAnswer, LiveKept, makeLive } from "./live.js";
import { keyOf, typing } from "./elements.js";
import { ask, kept, Outbox, Problem, reasonOf } from "./server.js";
import { askWhySkip, said, showFeedback, showHelp, showHistory } from "./windows.js";

class Page {
  constructor(root) {
    this.root = root;
    this.cards = [];
    this.aside = null;
    this.view = null; // the card on the screen
    this.live = null; // the live part, while it is on the screen
    this.answer = null; // a live prompt at work
    this.clock = new Clock();
    this.clock.listen();
    document.addEventListener("keydown", (event) => this.key(event));
    // A key that is held down presses a button once; the next button may have come under it meanwhile.
    const held = (event) => event.repeat && event.key === "Enter" && event.target.closest?.("button");
    document.addEventListener("keydown", (event) => held(event) && event.preventDefault(), { capture: true });
    window.addEventListener("pagehide", () => this.keepDraft());
    document.addEventListener("visibilitychange", () => document.hidden && this.keepDraft());
  }

  async start() {
    await this.speak();
    await this.load();
  }

  async speak(language) {
    const found = await ask(language ? `api/words?language=${language}` : "api/words", "words");
    this.language = found;
    document.documentElement.lang = found.code;
    this.t = (word, values = {}) => (found.words[word] ?? word).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  }

  async load() {
    try {
      const desk = await ask("api/desk", "cards");
      this.desk = desk;
      this.progress = desk.progress;
      if (!this.outbox) {
        const on = {
          saved: (item, reply) => this.saved(item, reply),
          refused: (item, problem) => this.refused(item, problem),
          waiting: (problem) => this.frame.waiting(problem, this.outbox.size),
          changed: () => this.frame.count(this.progress, this.outbox),
        };
        this.outbox = new Outbox(desk.annotator_id, on);
        this.sitting = new Sitting(kept, `rlhf-sitting:${desk.annotator_id}`);
        this.tried = new LiveKept(desk.annotator_id);
        this.build();
      }
      this.outbox.flush();
      this.notices = desk.notices;
      this.take(desk.cards);
      if (this.tried.pair) this.frame.toast(this.t("live.ready"), [this.t("live.show"), () => this.openLive()]);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 401) return location.reload(); // leads to the sign-in page
      this.frame ?? this.build();
      this.frame.alert(this.t("say.not_loaded", { detail: reasonOf(problem, this.t) }), [this.t("say.retry"), () => this.load()]);
    }
  }

  build() {
    this.frame = makeFrame(this.root, this.t, this.language, this.desk ?? {}, {
      language: (code) => this.setLanguage(code),
      retry: () => this.outbox.flush(),
      history: () => this.history(),
      help: () => this.help(),
      live: () => this.toggleLive(),
    });
    this.frame.count(this.progress, this.outbox);
  }

  async setLanguage(code) {
    this.keepDraft();
    document.cookie = `rlhf_language=${code}; path=${new URL("./", location).pathname}; max-age=31536000; samesite=lax`;
    await this.speak(code);
    this.build();
    this.show();
  }

  // What is on the screen.

  /** Take the server's word for what comes next; what is on the screen stays, and what is on its way is left out. */
  take(cards) {
    const shown = this.aside ? null : this.view?.card;
    const rest = cards.filter((card) => !this.outbox.has(card) && card.id !== shown?.id);
    const keep = shown && this.cards[0] === shown;
    this.cards = keep ? [shown, ...rest] : rest;
    this.ended = !this.cards.length && !this.outbox.size;
    if (!keep && !this.aside && !this.live) this.show();
  }

  show() {
    const card = this.aside ?? this.cards[0];
    this.live = null;
    this.view = null;
    this.frame.quiet();
    if (!card) {
      const nothing = this.progress?.done === 0 && this.progress?.total === 0;
      const live = this.desk.live && (() => this.openLive());
      const why = (this.notices ?? []).map(({ word, ...values }) => this.t(word, values));
      this.frame.empty(this.ended, this.desk.annotator, () => this.load(), nothing, live, why);
      return;
    }
    const draft = kept.read(this.draftKey(card));
    this.view = makeCard(card, this.t, {
      submit: (answer) => this.submit(answer),
      skip: (texts) => this.skip(texts),
      undo: () => this.undo(),
      changed: (spoken) => (this.keepDraft(), spoken && this.frame.say(spoken)),
      missing: (word) => this.frame.toast(this.t(word)),
      say: (words) => this.frame.toast(words),
      differences: () => this.differences(card),
    }, draft?.answer ?? card.previous ?? {}, draft?.looked);
    this.clock.restart(card.idle_seconds, draft?.seconds);
    this.since = draft?.since ?? card.ticket; // the first ticket of this card: seconds count from then on
    if (card.round) this.frame.toast(this.t("round.place", card.round));
    if (card.previous) {
      const before = this.t("card.before", { answer: said(card.previous, this.t) });
      const keep = [this.t("card.keep"), () => this.leave()];
      if (card.action === "edit") this.frame.toast(`${this.t("card.edit")} ${before}`, keep);
      else this.frame.toast(`${this.t("say.undone")} ${before}`);
    }
    this.frame.show(this.view.node, `title.${card.kind}`, this.view.shown);
  }

  // Answering.

  submit(answer) {
    if (!this.view || this.busy) return;
    const card = this.view.card;
    this.view.node.inert = true; // where it stays on the screen, it takes no other answer
    const seconds = this.clock.seconds;
    const looked = this.view.looked();
    kept.write(this.draftKey(card), null);
    if (this.aside) this.aside = null;
    this.cards = this.cards.filter((one) => one.id !== card.id); // also where it came once more, while it was aside
    this.ended = false;
    this.view = null;
    this.outbox.add({ card, answer, seconds, since: this.since, ...looked });
    if (card.live) {
      this.tried.drop(card);
      this.openLive();
    } else if (!card.round) this.show(); // a card of the round stays, so that it can be read beside the known answer
    this.frame.say(this.t("say.next", { done: this.progress.done + this.outbox.size, total: this.progress.total }));
    this.sitting.add(seconds);
    if (this.sitting.due(card.break_minutes)) this.frame.pause(this.sitting.minutes(), () => this.sitting.restart());
  }

  saved(item, reply) {
    kept.write(this.draftKey(item.card), null);
    this.progress = reply.progress ?? this.progress;
    this.frame.count(this.progress, this.outbox);
    if (reply.saved === "answered") this.frame.toast(this.t("say.answered"));
    if (reply.saved === "edited") this.frame.toast(this.t("say.edited"));
    this.notices = reply.notices;
    const next = () => (reply.cards ? this.take(reply.cards) : this.load());
    if (reply.feedback) showFeedback(this.root, this.t, reply.feedback, next);
    else next();
  }

  /** The server will never take this answer: show its card again, with the answer still in it, and say why. */
  async refused(item, problem) {
    const { answer, seconds = 0, since, view, aids } = item;
    kept.write(this.draftKey(item.card), { answer, seconds, since, looked: { view, aids } });
    this.keepDraft();
    this.aside = item.card;
    if (problem.status === 409) {
      this.aside = null; // its ticket is worth nothing: if the task is still ours, it comes with a new one
      this.view = null;
      this.cards = [];
      await this.load();
    } else {
      if (item.card.live) this.tried.add(item.card);
      this.show();
    }
    this.frame.alert(this.t("say.refused", { detail: problem.message }));
  }

  /** `texts`: what was written beside the card; a skip throws none of it away. */
  skip(texts) {
    const asked = this.view; // another card may come under the window
    const skip = (reason) => this.view === asked && this.submit({ verdict: "skip", reason, ...texts });
    if (asked) askWhySkip(this.root, this.t, skip);
  }

  async undo() {
    if (this.aside?.action === "edit") return this.leave();
    this.keepDraft();
    await this.alone(() => this.takeBack());
  }

  /** Do what changes the card on the screen, and take no key meanwhile. */
  async alone(act) {
    if (this.busy) return;
    this.busy = true;
    try {
      await this.outbox.flush();
      await act();
    } catch (problem) {
      this.frame.toast(this.t("say.failed", { detail: reasonOf(problem, this.t) }));
    } finally {
      this.busy = false;
    }
  }

  async takeBack() {
    if (this.outbox.size) return this.frame.toast(this.t("say.undo_waits"));
    // Until it is acknowledged, the key stays the same: an undo that is sent twice takes one answer back.
    this.undoKey ??= Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
    const reply = await ask("api/undo", "undone", { key: this.undoKey });
    this.undoKey = null;
    this.progress = reply.progress;
    this.frame.count(this.progress, this.outbox);
    if (!reply.undone) return this.frame.toast(this.t("say.nothing"));
    this.aside = null;
    this.cards = reply.cards;
    this.show();
  }

  /** What differs between the responses of a card; null, with a word about it, if the server cannot be asked. */
  differences(card) {
    return ask("api/differences", "raw", { texts: card.responses }).catch((problem) => {
      this.frame.toast(this.t("say.failed", { detail: reasonOf(problem, this.t) }));
      return null;
    });
  }

  history() {
    const change = async (entry) => {
      this.keepDraft();
      this.aside = await ask(`api/card?ticket=${encodeURIComponent(entry.ticket)}`, "ticket");
      this.show();
    };
    return this.alone(async () => {
      showHistory(this.root, this.t, await ask("api/history", "length"), (entry) => this.alone(() => change(entry)));
    });
  }

  /** Stop changing an answer. */
  leave() {
    kept.write(this.draftKey(this.aside), null);
    this.aside = null;
    this.show();
  }

  help() {
    const live = this.desk.live ? [[["l"], this.t("help.live")]] : [];
    showHelp(this.root, this.t, [...(this.view?.help ?? []), ...live]);
  }

  draftKey(card) {
    return `rlhf-draft:${this.desk.annotator_id}:${card.action}:${card.id}`;
  }

  keepDraft() {
    if (this.live) this.tried.prompt = this.live.prompt();
    if (!this.view) return;
    const [answer, looked] = [this.view.draft(), this.view.looked()];
    const draft = { answer, seconds: this.clock.seconds, since: this.since, looked };
    kept.write(this.draftKey(this.view.card), draft);
  }

  // Trying the model.

  toggleLive() {
    if (!this.desk.live) return;
    this.keepDraft();
    if (!this.live && !this.aside?.live) return this.openLive();
    this.aside = null;
    this.show();
  }

  openLive() {
    this.keepDraft();
    this.view = null;
    if (this.tried.pair) {
      this.aside = this.tried.pair;
      return this.show();
    }
    this.frame.quiet();
    const on = { ask: (prompt) => this.askLive(prompt), stop: () => this.stopLive(), changed: () => this.keepDraft() };
    this.live = makeLive(this.t, on, this.tried.prompt);
    this.live.show(this.answer);
    this.frame.show(this.live.node, "title.live");
    if (!this.answer) this.live.focus();
  }

  askLive(prompt) {
    if (!prompt.trim()) return this.frame.toast(this.t("live.empty"));
    this.tried.prompt = prompt;
    this.answer = new LiveAnswer(prompt, {
      grown: () => this.live?.show(this.answer),
      ready: (card) => {
        const watched = this.live;
        this.answer = this.live = null; // the prompt is answered: it is no longer kept
        this.tried.prompt = "";
        this.tried.add({ ...card, live: true });
        if (watched) this.openLive();
        else this.frame.toast(this.t("live.ready"), [this.t("live.show"), () => this.openLive()]);
      },
      failed: (detail) => {
        this.answer = null;
        if (this.live) this.openLive();
        this.frame.alert(this.t("live.failed", { detail: detail || this.t("say.unreachable") }));
      },
    });
    this.live.show(this.answer);
    this.live.node.focus({ preventScroll: true });
  }

  stopLive() {
    this.answer?.stop();
    this.answer = null;
    this.openLive();
  }

  // Keys.

  key(event) {
    if (typing(event.target) || this.root.querySelector("dialog[open]")) return;
    const key = keyOf(event);
    // On a button or a link these two keys are the browser's.
    if (!key || ((key === "Enter" || key === " ") && event.target.closest?.("button, a, summary"))) return;
    if (this.busy || this.pressed(key) || this.scrolled(event)) event.preventDefault();
  }

  /** Where the page itself does not scroll, its responses do. */
  scrolled(event) {
    return !event.target.closest?.(".prompt, .reading, .instructions, .links") && Boolean(this.view?.scroll(event));
  }

  pressed(key) {
    const common = { "?": () => this.help(), h: () => this.history(), u: () => this.undo() };
    if (this.desk?.live) common.l = () => this.toggleLive();
    if (this.aside?.action === "edit") common.Escape = () => this.leave();
    if (common[key]) return common[key](), true;
    if (this.view && !this.view.settled()) return true;
    if (this.view?.press(key)) return true;
    if (key === "Backspace") return this.undo(), true;
    return false;
  }
}

export const start = (root) => new Page(root).start();
