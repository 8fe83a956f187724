// What a reader plays with. Python (harness/play.py) writes a list that is complete without this
// script; here it becomes a quiz or a slider. On paper it is the list again: see play.css.

function make(tag, settings = {}, ...children) {
  const element = Object.assign(document.createElement(tag), settings);
  element.append(...children);
  return element;
}

const times = (many, what) => `${many} ${what}${many === 1 ? "" : "s"}`;

class Quiz {
  constructor(play) {
    this.rounds = [...play.querySelectorAll(".round")];
    this.rounds.forEach((round) => this.prepare(round));
    this.picked = new Map(); // round -> whether the stranger was picked
    this.said = make("span", { className: "said" });
    this.score = make("span", { className: "score" });
    this.next = make("button", { type: "button", textContent: "Next round" });
    this.again = make("button", { type: "button", textContent: "Start again" });
    this.next.addEventListener("click", () => this.show(this.following(), true));
    this.again.addEventListener("click", () => this.restart());
    const status = make("p", { className: "status", role: "status" }, this.said, " ", this.score);
    const controls = make("p", { className: "controls" });
    if (this.rounds.length > 1) controls.append(this.next, " ");
    controls.append(this.again);
    play.append(status, controls);
    this.tell("");
    this.show(this.rounds[0]);
  }

  prepare(round) {
    round.querySelector("legend").tabIndex = -1; // a new round is read from its question on
    for (const candidate of this.candidates(round)) {
      const pick = candidate.querySelector(".pick");
      const button = make("button", { type: "button", className: "pick" }, ...pick.childNodes);
      button.addEventListener("click", () => this.pick(round, candidate));
      button.setAttribute("aria-pressed", "false");
      pick.replaceWith(button);
    }
  }

  candidates(round) {
    return [...round.querySelectorAll(".candidate")];
  }

  // The next round without an answer, after the last one from the first again.
  following() {
    const here = this.rounds.indexOf(this.now);
    const later = [...this.rounds.slice(here + 1), ...this.rounds.slice(0, here)];
    return later.find((round) => !this.picked.has(round));
  }

  show(round, byReader = false) {
    if (!round) return;
    this.now = round;
    for (const other of this.rounds) other.classList.toggle("now", other === round);
    this.update();
    if (!byReader) return;
    this.tell("");
    const legend = round.querySelector("legend");
    legend.focus({ preventScroll: true });
    legend.scrollIntoView({ block: "nearest" });
  }

  pick(round, candidate) {
    if (this.picked.has(round)) return;
    const candidates = this.candidates(round);
    const stranger = candidates.findIndex((other) => "stranger" in other.dataset);
    const right = candidates[stranger] === candidate;
    this.picked.set(round, right);
    round.classList.add("answered");
    for (const other of candidates) this.reveal(other, other === candidate);
    const outcome = candidates[stranger].querySelector(".outcome").textContent;
    this.tell(`${right ? "Right" : "Wrong"}. Picture ${stranger + 1} is the one: ${outcome}.`);
    this.update();
  }

  reveal(candidate, isPicked) {
    const button = candidate.querySelector(".pick");
    button.setAttribute("aria-pressed", String(isPicked));
    button.setAttribute("aria-disabled", "true"); // not `disabled`: that would lose the focus
    if (isPicked) button.querySelector(".number").append(make("span", { className: "yours" }, "your pick"));
    candidate.querySelector("details").open = true;
  }

  restart() {
    this.picked.clear();
    for (const round of this.rounds) {
      round.classList.remove("answered");
      for (const candidate of this.candidates(round)) {
        const button = candidate.querySelector(".pick");
        button.setAttribute("aria-pressed", "false");
        button.removeAttribute("aria-disabled");
        button.querySelector(".yours")?.remove();
        candidate.querySelector("details").open = false;
      }
    }
    this.show(this.rounds[0], true);
  }

  update() {
    this.next.setAttribute("aria-disabled", String(!this.following()));
    const answered = [...this.picked.keys()];
    const chances = answered.map((round) => 1 / this.candidates(round).length);
    const sizes = new Set(this.rounds.map((round) => this.candidates(round).length));
    const chance = sizes.size === 1 ? ` (1 in ${[...sizes]})` : "";
    const right = [...this.picked.values()].filter(Boolean).length;
    const expected = chances.reduce((sum, one) => sum + one, 0);
    this.score.textContent = answered.length
      ? `Score: ${right} of ${times(answered.length, "round")} right. `
        + `Guessing: ${Number(expected.toFixed(2))} on average${chance}.`
      : `No round answered yet. Guessing finds 1 in ${[...sizes].join(" or ")}.`;
  }

  tell(words) {
    this.said.textContent = words;
  }
}

class Slider {
  constructor(play) {
    this.states = [...play.querySelectorAll(".state")];
    const { control, start } = play.dataset;
    const labels = this.states.map((state) => state.dataset.label);
    this.value = make("strong");
    this.value.setAttribute("aria-hidden", "true"); // the range itself says it
    this.range = make("input", { type: "range", min: 0, max: labels.length - 1, step: 1 });
    this.range.autocomplete = "off"; // a reloaded page starts where it says
    this.range.value = start;
    const label = make("label", {}, make("span", {}, `${control}: `), this.value, this.range);
    const ends = make("p", { className: "ends" }, make("span", {}, labels[0]), make("span", {}, labels.at(-1)));
    ends.setAttribute("aria-hidden", "true");
    this.spoken = make("p", { className: "spoken", role: "status" });
    for (const state of this.states) state.querySelector(".sentence").setAttribute("aria-hidden", "true");
    play.prepend(label, ends);
    play.append(this.spoken);
    this.range.addEventListener("input", () => this.show());
    this.range.addEventListener("change", () => this.speak()); // once, at the end of a drag
    this.show();
    this.speak();
  }

  get now() {
    return this.states[this.range.valueAsNumber];
  }

  show() {
    for (const state of this.states) state.classList.toggle("now", state === this.now);
    this.value.textContent = this.now.dataset.label;
    this.range.setAttribute("aria-valuetext", this.now.dataset.label);
  }

  speak() {
    this.spoken.textContent = this.now.querySelector(".sentence").textContent;
  }
}

const PLAYS = { quiz: Quiz, slider: Slider };

document.addEventListener("DOMContentLoaded", () => {
  for (const play of document.querySelectorAll(".play")) {
    new PLAYS[play.dataset.kind](play);
    play.classList.add("live");
  }
});
