// Talking to the server, and keeping what it has not acknowledged.

const PATIENCE_MS = 15_000;
const LONGEST_PAUSE_MS = 30_000;

export class Problem extends Error {
  /** `status` is HTTP's, or 0 where no answer came; `detail` is the server's word, empty if it was not the server. */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Why something did not work, in words. */
export const reasonOf = (problem, t) => problem.message || t(problem.status ? "say.not_ours" : "say.unreachable");

/**
 * What the server replies, which has this `field`. A reply without it is a `Problem`, whatever its status: between
 * here and the server there may be a proxy that answers by itself, with a page to sign in or of its maintenance.
 */
export async function ask(path, field, body) {
  try {
    const response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers: body ? { "content-type": "application/json" } : {},
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const data = parsed(await response.text()) ?? {};
    if (response.ok && data[field] !== undefined) return data;
    throw new Problem(response.status, String(data.detail ?? (response.ok ? "" : response.statusText)));
  } catch (error) {
    throw error instanceof Problem ? error : new Problem(0, "");
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What the server sends while it works: one JSON object a line. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const whole = (rest + (value ?? "")).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
    if (done) return;
  }
}

/** Storage that may be full or forbidden: then the page goes on without it. */
export const kept = {
  read(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null;
    }
  },
  /** Whether it is kept. */
  write(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
  keys(prefix) {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).sort();
    } catch {
      return [];
    }
  },
};

/**
 * Answers on their way, oldest first, sent one at a time with the ticket that makes a second sending harmless.
 * They outlive reloads and sign-outs, apart for each annotator; each has an entry of its own, so that two tabs
 * never overwrite one another.
 */
export class Outbox {
  /** `on.saved(item, reply)`, `on.refused(item, problem)`, `on.waiting(problem | null)`, `on.changed()`. */
  constructor(annotator, on) {
    this.prefix = `rlhf-outbox:${annotator}:`;
    this.annotator = annotator;
    this.on = on;
    this.pause = 1000;
    this.items = kept.keys(this.prefix).map((key) => ({ key, ...kept.read(key) })).filter((item) => item.card);
    this.items.forEach((item) => (item.kept = true));
    window.addEventListener("online", () => this.flush());
    // What is only here is lost with the page.
    window.addEventListener("beforeunload", (event) => this.items.every((item) => item.kept) || event.preventDefault());
    document.addEventListener("visibilitychange", () => document.hidden || this.flush());
  }

  get size() {
    return this.items.length;
  }

  has(card) {
    return this.items.some((item) => item.card.ticket === card.ticket || item.card.id === card.id);
  }

  add(item) {
    const key = `${this.prefix}${String(Date.now()).padStart(15, "0")}-${Math.random().toString(36).slice(2)}`;
    this.items.push({ key, ...item, kept: kept.write(key, item) });
    this.on.changed();
    return this.flush();
  }

  /** Send what is here; resolves when all is sent or the server cannot take it now. */
  flush() {
    clearTimeout(this.timer);
    this.sending ??= this.#send().finally(() => (this.sending = null));
    return this.sending;
  }

  async #send() {
    while (this.items.length) {
      const item = this.items[0];
      try {
        const { answer, seconds, since, view, aids } = item;
        const sent = { ticket: item.card.ticket, answer, seconds, since, view, aids };
        const reply = await ask("api/judgements", "saved", sent);
        if (typeof reply.saved !== "string") throw new Problem(200, "");
        this.#drop(item);
        this.pause = 1000;
        this.on.waiting(null);
        this.on.saved(item, reply);
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        const why = await this.#why(problem);
        if (why.final) {
          this.#drop(item);
          this.on.refused(item, why);
          continue;
        }
        this.on.waiting(why);
        this.timer = setTimeout(() => this.flush(), this.pause);
        this.pause = Math.min(2 * this.pause, LONGEST_PAUSE_MS);
        return;
      }
    }
  }

  /** What stands in the way. `final`: the server will never take this answer, from the person who gave it. */
  async #why(problem) {
    const final = problem.status >= 400 && problem.status < 500 && ![401, 403, 408, 429].includes(problem.status);
    if (!final) return problem;
    try {
      const { annotator_id } = await ask("api/desk", "annotator_id");
      return annotator_id === this.annotator ? Object.assign(problem, { final }) : new Problem(401, "");
    } catch (other) {
      return other;
    }
  }

  #drop(item) {
    this.items = this.items.filter((one) => one !== item);
    kept.write(item.key, null);
    this.on.changed();
  }
}
