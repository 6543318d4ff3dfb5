// How long somebody judges, pauses left out.

const ACTS = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "input"];
const REST_MS = 10 * 60_000; // so long without an answer is a break

/** Seconds of judging: of each pause the first `idle` seconds count, of a hidden page none. */
export class Clock {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.restart(30);
  }

  listen() {
    const options = { passive: true, capture: true };
    for (const act of ACTS) document.addEventListener(act, () => this.touch(), options);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.go()));
  }

  restart(idle, seconds = 0) {
    this.idle = 1000 * idle;
    this.total = 1000 * seconds;
    this.last = this.now();
    this.running = !document.hidden;
  }

  get seconds() {
    return Math.min(86_400, Math.round(this.total + this.#since()) / 1000);
  }

  touch() {
    this.total += this.#since();
    this.last = this.now();
  }

  stop() {
    this.touch();
    this.running = false;
  }

  go() {
    this.last = this.now();
    this.running = true;
  }

  #since() {
    return this.running ? Math.min(this.now() - this.last, this.idle) : 0;
  }
}

/** Time since the last break: `add` the seconds of each answer; `due` says when to propose one. */
export class Sitting {
  constructor(store, key, now = () => Date.now()) {
    Object.assign(this, { store, key, now });
  }

  add(seconds) {
    const before = this.store.read(this.key);
    const rested = !before || this.now() - before.at > REST_MS;
    this.store.write(this.key, { seconds: (rested ? 0 : before.seconds) + seconds, at: this.now() });
  }

  minutes() {
    return Math.floor((this.store.read(this.key)?.seconds ?? 0) / 60);
  }

  due(minutes) {
    return minutes !== null && (this.store.read(this.key)?.seconds ?? 0) >= 60 * minutes;
  }

  restart() {
    this.store.write(this.key, null);
  }
}
