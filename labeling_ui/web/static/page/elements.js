// Building the page from text that nobody vouches for: strings only ever become text nodes and attributes, but for what
// the server has rendered and sanitised.

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/**
 * What a model or a person wrote, as the server rendered it (`html`). `showText(raw, marked)` shows it as it was written,
 * or rendered again, and with `marked`, the server's HTML of both with marks in it, what differs from another text.
 */
export function written(text, html = null) {
  const node = h("div", { class: "text", dir: "auto" }, text);
  node.showText = (raw, marked = null) => {
    const plain = raw || !html;
    node.classList.toggle("rendered", !plain);
    const shown = plain ? marked?.raw : (marked?.rendered ?? html);
    if (shown) node.innerHTML = shown;
    else node.textContent = text;
  };
  if (html) node.showText(false);
  return node;
}

/** The responses of a card: each with its text, and what is known about it for its heading. */
export const responsesOf = (card, t) =>
  card.responses.map((text, n) => ({
    text: written(text, card.rendered?.responses[n]),
    notes: [
      card.cut_off?.[n] && span("cut", t("card.cut_off")),
      card.rendered?.responses[n] === null && span("note", t("card.not_rendered")),
      h("span", { class: "length", hidden: true }),
    ],
  }));

/** How long a text is, in words and characters as a person counts them. */
export function lengthOf(text, language) {
  const parts = (granularity) => [...new Intl.Segmenter(language, { granularity }).segment(text)];
  return { words: parts("word").filter((part) => part.isWordLike).length, characters: parts("grapheme").length };
}

export const div = (name, ...children) => h("div", { class: name }, ...children);

export const span = (name, ...children) => h("span", { class: name }, ...children);

export const quiet = (label, onclick) => h("button", { type: "button", class: "quiet", onclick }, label);

/** A response under its heading. */
export function response(n, heading, { text, notes = [] }) {
  const id = `response-${n}`;
  return h("section", { class: "response", "aria-labelledby": id }, h("h2", { id }, heading, notes), text);
}

const ARROWS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };
const CAPS = { Enter: "⏎", Backspace: "⌫", Escape: "Esc", ...ARROWS };

export const cap = (key) => h("kbd", {}, CAPS[key] ?? (key.length === 1 ? key.toUpperCase() : key));

/** A button that shows its key; pressing the key is a click on it, so that mouse and keyboard are one path. */
export function keyed(key, label, onclick, props = {}) {
  const words = { type: "button", "data-key": key, "aria-keyshortcuts": key === "=" ? undefined : key };
  const button = h("button", { ...words, ...props }, cap(key), h("span", {}, label));
  button.addEventListener("click", (event) => {
    if (event.detail > 0) button.blur(); // after a mouse click, Enter and space are for the page again
    onclick(event);
  });
  return button;
}

/**
 * Let no click answer what nobody has seen: those on `node` in its first `settle` milliseconds are dropped, and the rest
 * of a double click that began elsewhere; keys are not. What is returned tells whether that time is over.
 */
export function dropStrayClicks(node, settle = 0) {
  const appeared = performance.now();
  const settled = () => performance.now() - appeared >= settle;
  let ours = false; // whether the first of several quick clicks was one on this node
  node.addEventListener("click", (event) => {
    if (event.detail === 1) ours = settled();
    if (event.detail === 0 || ours) return; // 0: a key that clicks a button
    event.preventDefault();
    event.stopImmediatePropagation();
  }, { capture: true });
  return settled;
}

/** Both words of a place; the style sheet shows the one that fits the width of the window. */
export const sided = (wide, narrow) => [span("wide", wide), span("narrow", narrow)];

/** Whether the responses are above one another, as the style sheet has them on a narrow screen. */
export const stacked = () => matchMedia("(max-width: 760px)").matches;

/** Whether a key is the input method's; of the Enter that ends a composition Safari says so by the code 229 alone. */
export const composing = (event) => event.isComposing || event.keyCode === 229;

/** The key that was pressed, by what is printed on it; null where it is not meant as a shortcut. */
export function keyOf(event) {
  if (event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return null;
  if (event.key === "=" || event.key === "?") return event.key;
  const digit = /^(Digit|Numpad)(\d)$/.exec(event.code); // also where digits need Shift
  const typed = digit?.[1] === "Digit" || /^\p{Nd}$/u.test(event.key); // without NumLock the keypad moves the page
  if (digit && typed) return digit[2];
  const letter = /^Key([A-Z])$/.exec(event.code); // under an input method, and on keyboards without Latin letters
  if (letter && !/^[a-z]$/i.test(event.key)) return letter[1].toLowerCase();
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}

export const typing = (target) => Boolean(target.closest?.("input, textarea, select, [contenteditable]"));

/**
 * A window over the page: the rest cannot be reached while it is open, and focus returns where it was. Without a word
 * for `close`, what it is given closes it.
 */
export function dialog(root, title, close, ...children) {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-title" }, title);
  const shut = close && h("button", { type: "button", class: "quiet" }, cap("Escape"), h("span", {}, close));
  const head = div("dialog-head", heading, shut);
  const node = h("dialog", { "aria-labelledby": "dialog-title" }, head, ...children);
  shut?.addEventListener("click", () => node.close());
  dropStrayClicks(node);
  node.addEventListener("click", (event) => event.target === node && node.close());
  node.addEventListener("close", () => {
    node.remove();
    if (before?.isConnected) before.focus({ preventScroll: true });
  });
  root.append(node);
  node.showModal();
  return node;
}
