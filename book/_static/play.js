// What a reader plays with. Python (harness/play.py) writes a list that is complete without this
// script; here it becomes a quiz or a slider. On paper it is the list again: see play.css.

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class Quiz {
  constructor(play) {
    this.rounds = [...play.querySelectorAll(".round")];
    this.right = new Map(); // a round that was answered -> whether the stranger was picked
    this.said = make("span", { class: "said" });
    this.score = make("span", { class: "score" });
    this.next = make("button", { type: "button" }, "Next round");
    const again = make("button", { type: "button" }, "Start again");
    this.next.addEventListener("click", () => this.turnTo(this.following()));
    again.addEventListener("click", () => this.restart());
    for (const round of this.rounds) this.prepare(round);
    const controls = this.rounds.length > 1 ? [this.next, again] : [again];
    play.append(
      make("p", { class: "status", role: "status" }, this.said, " ", this.score),
      make("p", { class: "controls" }, ...controls),
    );
    this.show(this.rounds[0]);
  }

  candidates(round) {
    return [...round.querySelectorAll(".candidate")];
  }

  prepare(round) {
    round.querySelector("legend").tabIndex = -1; // a new round is read from its question on
    for (const candidate of this.candidates(round)) {
      const pick = candidate.querySelector(".pick");
      const attributes = { type: "button", class: "pick", "aria-pressed": "false" };
      const button = make("button", attributes, ...pick.childNodes);
      button.addEventListener("click", () => this.pick(round, candidate));
      pick.replaceWith(button);
    }
  }

  // The next round without an answer, after the last one from the first again.
  following() {
    const here = this.rounds.indexOf(this.now);
    const others = [...this.rounds.slice(here + 1), ...this.rounds.slice(0, here)];
    return others.find((round) => !this.right.has(round));
  }

  show(round) {
    this.now = round;
    for (const other of this.rounds) other.classList.toggle("now", other === round);
    this.tell("");
  }

  turnTo(round) {
    if (!round) return;
    this.show(round);
    const legend = round.querySelector("legend");
    legend.focus({ preventScroll: true });
    legend.scrollIntoView({ block: "nearest" });
  }

  pick(round, picked) {
    if (this.right.has(round)) return;
    const candidates = this.candidates(round);
    const place = candidates.findIndex((candidate) => "stranger" in candidate.dataset);
    const stranger = candidates[place];
    this.right.set(round, picked === stranger);
    round.classList.add("answered");
    for (const candidate of candidates) {
      const button = candidate.querySelector(".pick");
      button.setAttribute("aria-pressed", String(candidate === picked));
      button.setAttribute("aria-disabled", "true"); // not `disabled`: that would lose the focus
      candidate.querySelector("details").open = true;
    }
    picked.querySelector(".number").append(make("span", { class: "yours" }, " \u00b7 your pick"));
    const outcome = stranger.querySelector(".outcome").textContent;
    this.tell(`${picked === stranger ? "Right" : "Wrong"}. Picture ${place + 1} is the one: ${outcome}.`);
  }

  restart() {
    this.right.clear();
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
    this.turnTo(this.rounds[0]);
  }

  // What is said of the last answer, and the score beside what guessing gives.
  tell(words) {
    this.said.textContent = words;
    this.score.textContent = this.right.size ? this.scored() : this.chances();
    this.next.setAttribute("aria-disabled", String(!this.following()));
  }

  sizes(rounds) {
    return rounds.map((round) => this.candidates(round).length);
  }

  chances() {
    const sizes = [...new Set(this.sizes(this.rounds))];
    return `No round answered yet. Guessing finds 1 in ${sizes.join(" or ")}.`;
  }

  scored() {
    const sizes = this.sizes([...this.right.keys()]);
    const right = [...this.right.values()].filter(Boolean).length;
    const guessed = sizes.reduce((sum, size) => sum + 1 / size, 0);
    const rounds = sizes.length === 1 ? "round" : "rounds";
    const each = new Set(sizes).size === 1 ? ` (1 in ${sizes[0]})` : "";
    return `Score: ${right} of ${sizes.length} ${rounds} right. `
      + `Guessing: ${Number(guessed.toFixed(2))} on average${each}.`;
  }
}

class Slider {
  constructor(play) {
    this.states = [...play.querySelectorAll(".state")];
    const { control, start } = play.dataset;
    const labels = this.states.map((state) => state.dataset.label);
    const reach = { min: 0, max: labels.length - 1, step: 1, value: start };
    // a reloaded page starts where it says, not where it was left
    this.range = make("input", { type: "range", autocomplete: "off", ...reach });
    this.value = make("strong", {});
    this.spoken = make("p", { class: "spoken", role: "status" });
    // the range itself says its value, and the status the sentence
    const shown = make("span", { "aria-hidden": "true" }, ": ", this.value);
    const ends = [labels[0], labels.at(-1)].map((label) => make("span", {}, label));
    for (const state of this.states) state.querySelector(".sentence").setAttribute("aria-hidden", "true");
    play.prepend(
      make("label", {}, control, shown, this.range),
      make("p", { class: "ends", "aria-hidden": "true" }, ...ends),
    );
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
