"use strict";
// Filters the list of all samples, and shows what the policy wrote at one step at a time. Without it all is shown.
document.documentElement.classList.add("scripted");

const all = document.getElementById("all");
if (all) {
  const [search, gain, told] = ["input", "select", "output"].map((name) => all.querySelector(name));
  const pairs = [...all.querySelectorAll(".pair")].map((pair) => [pair, pair.textContent.toLowerCase()]);
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [pair, text] of pairs) {
      pair.hidden = !(words.every((word) => text.includes(word)) && (!gain.value || pair.dataset.gain === gain.value));
      shown += pair.hidden ? 0 : 1;
    }
    told.textContent = `${shown} of ${pairs.length}`;
  };
  search.addEventListener("input", filter);
  gain.addEventListener("change", filter);
  filter();
}

const slider = document.getElementById("step");
if (slider) {
  const answers = [...document.querySelectorAll("[data-step]")];
  const steps = [...new Set(answers.map((answer) => Number(answer.dataset.step)))].sort((a, b) => a - b);
  const show = () => {
    const step = steps[Number(slider.value)];
    for (const answer of answers) answer.hidden = Number(answer.dataset.step) !== step;
    slider.nextElementSibling.textContent = `step ${step}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
  };
  slider.max = String(steps.length - 1);
  slider.value = slider.max;
  slider.addEventListener("input", show);
  show();
}
