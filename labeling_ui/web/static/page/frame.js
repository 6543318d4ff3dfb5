// What stays on the screen around the cards: the header, and what the page has to say.

import { cap, div, h, keyed, quiet, sided, span } from "./elements.js";
import { reasonOf } from "./server.js";

const PATIENCE_MS = 1500; // saving takes less; only what takes longer is worth a word

/** `on.language(code)`, `on.retry()`, `on.history()`, `on.help()`, `on.live()`. */
export function makeFrame(root, t, language, desk, on) {
  const title = h("h1", {}, "");
  const done = h("span", {});
  const bar = h("progress", { "aria-label": t("header.progress_label"), max: 1, value: 0 });
  const progress = div("progress", done, bar);
  const unsaved = h("button", { type: "button", class: "quiet unsaved", hidden: true, onclick: on.retry });
  const option = ([code, name]) => h("option", { value: code, lang: code, selected: code === language.code }, name);
  const choice = h("select", { "aria-label": t("header.language") }, Object.entries(language.languages).map(option));
  choice.addEventListener("change", () => on.language(choice.value));
  const live = desk.live && keyed("l", "", on.live, { class: "quiet" });
  const header = h("header", { class: "bar" },
    title, progress, unsaved,
    h("nav", { class: "links" },
      live,
      keyed("h", t("header.history"), on.history, { class: "quiet" }),
      keyed("?", t("header.help"), on.help, { class: "quiet" }),
      ["reviewer", "admin"].includes(desk.role) && h("a", { class: "quiet", href: "admin" }, t("header.admin")),
      choice,
      h("form", { method: "post", action: `sign-out?page-of=${window.gradio_config.username}` },
        h("span", { class: "name", dir: "auto" }, desk.annotator ?? ""),
        h("button", { type: "submit", class: "quiet" }, t("header.sign_out")))));
  const spoken = h("p", { class: "spoken", role: "status" });
  const toasted = h("div", { class: "toast", role: "status" });
  const alerted = h("div", { class: "alert", role: "alert" });
  const paused = h("div", { class: "pause", role: "status" });
  const stage = div("stage");
  root.replaceChildren(header, div("notices", alerted, paused, toasted), stage, spoken);

  let late = null;
  /** Words, and an action beside them: [label, function], or a node. */
  const fill = (box, words, action) => {
    const button = Array.isArray(action) ? quiet(...action) : action;
    box.replaceChildren(...[words && h("span", {}, words), button].filter(Boolean));
  };

  const frame = {
    say: (words) => (spoken.textContent = words),
    toast: (words, action) => fill(toasted, words, action),
    alert: (words, action) => fill(alerted, words, action),
    quiet: () => fill(toasted, ""),

    /** `laid(node)` once it is in the document. */
    show(node, word, laid) {
      stage.replaceChildren(node);
      title.textContent = document.title = t(word);
      const other = word === "title.live" ? "label" : "live";
      live && live.lastChild.replaceChildren(...sided(t(`header.${other}`), t(`header.${other}_short`)));
      window.scrollTo(0, 0);
      node.focus({ preventScroll: true });
      laid?.();
    },

    /**
     * `nothing`: there was nothing to judge, not even before; `live`: to go on to it, where it is offered; `why`: what
     * keeps the person from other tasks.
     */
    empty(ended, name, again, nothing, live, why = []) {
      const page = (...children) => h("main", { class: "done", tabindex: "-1" }, ...children);
      if (!ended) return frame.show(page(h("p", {}, t("wait.next"))), "title.pairwise");
      const look = h("button", { type: "button", class: "link", onclick: again }, t("done.look"));
      if (why.length) {
        const reasons = why.map((words) => h("p", { dir: "auto" }, words));
        return frame.show(page(h("h2", {}, t("none.title")), ...reasons, h("p", {}, look)), "title.none");
      }
      if (nothing) {
        const go = live && quiet(t("header.live"), live);
        return frame.show(page(
          h("h2", {}, t("none.title")),
          h("p", {}, t(live ? "none.live" : "none.text")),
          h("p", {}, go, " ", look)), "title.none");
      }
      const hint = (key, word) => span("keyhint", cap(key), t(word));
      frame.show(page(
        h("h2", { dir: "auto" }, t("done.title", { name })),
        h("p", {}, t("done.text")),
        h("p", {}, t("done.again"), " ", look),
        h("p", {}, hint("u", "card.undo"), " ", hint("h", "header.history"))), "title.done");
    },

    /** How far it is: what is saved and what is on its way. */
    count(progress, outbox) {
      if (!progress || !outbox) return;
      const coming = outbox.items.filter((item) => item.card.action === "answer").length;
      const now = Math.min(progress.done + coming, Math.max(progress.total, progress.done));
      done.textContent = t("header.progress", { done: now, total: progress.total });
      done.parentElement.hidden = !progress.total && !now; // nothing of nothing
      bar.max = progress.total || 1;
      bar.value = now;
      clearTimeout(late);
      if (!outbox.size) unsaved.hidden = true;
      else {
        unsaved.textContent = t("say.unsaved", { n: outbox.size });
        late = setTimeout(() => (unsaved.hidden = false), PATIENCE_MS);
      }
    },

    /** Answers could not be sent, and why; null: they could. */
    waiting(problem, n) {
      if (!problem) return fill(alerted, "");
      const link = h("a", { class: "quiet", href: "./" }, t("say.sign_in"));
      if (problem.status === 401) return fill(alerted, t("say.signed_out", { n }), link);
      fill(alerted, t("say.unsaved_more", { n, detail: reasonOf(problem, t) }), [t("say.retry"), on.retry]);
    },

    pause(minutes, over) {
      const go = () => (fill(paused, ""), over());
      fill(paused, t("say.break", { minutes }), [t("say.go_on"), go]);
    },
  };
  return frame;
}
