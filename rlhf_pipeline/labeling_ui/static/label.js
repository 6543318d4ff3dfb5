// Runs once, when the page component is drawn; Gradio hands in element, trigger, props and watch.
// A key press is a click on the button that shows the key, so that mouse and keyboard are one path.

const SETTLE_MS = 300; // a press this soon after a pair appears was meant for the pair before it
const PATIENCE_MS = 3000;
const LOST = "No answer from the server: this may not be saved. Press the key again (an answer is never counted twice), or reload the page.";

let shownAt = 0;
let waiting = null;
let shownTicket = null;

const ticket = () => element.querySelector("[data-ticket]")?.dataset.ticket;

function settle() {
  clearTimeout(waiting);
  waiting = null;
  element.classList.remove("saving");
  if (ticket() === shownTicket) return;
  shownTicket = ticket();
  shownAt = performance.now();
  window.scrollTo(0, 0);
  const prompt = element.querySelector(".prompt");
  if (prompt) prompt.scrollTop = prompt.scrollHeight; // of a long conversation, show the end
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-key]");
  if (!button) return;
  if (event.detail > 0) button.blur(); // after a mouse click, the space bar must scroll and not answer
  if (event.detail > 1 || waiting || performance.now() - shownAt < SETTLE_MS) return;
  element.classList.add("saving");
  button.classList.add("chosen");
  waiting = setTimeout(() => { props.notice = LOST; settle(); }, PATIENCE_MS);
  trigger("submit", { ticket: ticket(), key: button.dataset.key });
});

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code); // also on keyboards that need Shift for digits
  const key = digit ? digit[1] : event.key.toLowerCase();
  const button = [...element.querySelectorAll("button[data-key]")].find((one) => one.dataset.key === key);
  if (!button) return;
  event.preventDefault();
  button.click();
});

watch(["value", "reply"], settle);
settle();
