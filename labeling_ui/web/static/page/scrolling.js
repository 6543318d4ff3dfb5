// Boxes that scroll by themselves, and say where there is more to read.

import { div, h } from "./elements.js";

const NEAR_PX = 8; // closer to an end than this is at it
const STEPS = { PageDown: 0.85, " ": 0.85, PageUp: -0.85, ArrowDown: 0.12, ArrowUp: -0.12 };

/**
 * `box` in a frame, with a word at the edge beyond which it goes on. Keyboards and screen readers reach the box itself,
 * so the words are for the eye and the pointer alone.
 */
export function scrolling(box, t, name) {
  const edge = (where, word, by) => {
    const button = h("button", { type: "button", class: `more ${where}`, tabindex: "-1", "aria-hidden": "true" }, t(word));
    button.addEventListener("click", () => scrollBy(box, by));
    return button;
  };
  const above = edge("above", "more.above", -0.85);
  const below = edge("below", "more.below", 0.85);
  const look = () => {
    above.hidden = box.scrollTop <= NEAR_PX;
    below.hidden = box.scrollHeight - box.clientHeight - box.scrollTop <= NEAR_PX;
  };
  above.hidden = below.hidden = true;
  box.addEventListener("scroll", look, { passive: true });
  const sizes = new ResizeObserver(look); // first called when the box is laid out
  for (const one of [box, ...box.children]) sizes.observe(one);
  return div(`scrolling ${name}`, box, above, below);
}

/** Scroll by a share of what is in view. */
function scrollBy(box, share) {
  box.scrollBy({ top: share * box.clientHeight });
}

/** Scroll the box as a browser does a page at this key; whether the key is one of these, and the box can be scrolled. */
export function scrollByKey(box, event) {
  if (box.scrollHeight <= box.clientHeight) return false;
  if (event.key === "Home") box.scrollTop = 0;
  else if (event.key === "End") box.scrollTop = box.scrollHeight;
  else if (event.key in STEPS) scrollBy(box, event.key === " " && event.shiftKey ? -STEPS[" "] : STEPS[event.key]);
  else return false;
  return true;
}
