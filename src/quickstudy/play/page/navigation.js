// Navigation: a goal that policies do not see, and their paths before and after gradient steps on their own episodes.

import { colourOf, element, slider } from "./dom.js";
import { ask, attempt } from "./net.js";
import { Plot } from "./plot.js";
import { brief, numberOr, present, readPoints } from "./state.js";

const NEAR = 20; // pixels within which a press takes hold of the goal
const DASHES = [[2, 4], [7, 4], [12, 3, 2, 3], []]; // of paths after 0, 1, 2 and 3 steps: not by colour alone
const ABOUT = `A point starts in the middle and walks to a goal. The policy does not see the goal: all it learns is how far each of
its steps ended from it. Click a board to put the goal elsewhere, and see where a few gradient steps lead.`;
const RETURNS = "The return of an episode is minus the sum of its distances to the goal: 0 would be best, and the dotted line is the best that is possible.";
const HELP = `Every line is an episode; before each gradient step the policy walks some episodes, and learns from these alone.
The star is the goal, and the dashed square the part of the board where the goals of training were. One idea: before
adaptation MAML looks no better than its rival, since it was trained for what comes after one step. With more steps the rival,
whose rates are tuned alike, catches up.`;
const KEYS = `Keyboard, on a board: arrow keys move a cursor (Shift: less), Enter puts the goal there. Anywhere: D dice, S other episodes,
U undo, R redo.`;

/** Open the activity in `main`; returns a function that closes it. */
export function open(main, setup, parameters) {
  return present("navigation", read(parameters, setup), write, (state) => new View(main, setup, state));
}

function read(parameters, setup) {
  const [goal] = readPoints(parameters.get("goal"), 1);
  const [fewest, usual, most] = setup.episodes;
  return {
    goal: goal && goal.every((v) => Math.abs(v) <= setup.far) ? goal : [0.3, -0.4],
    seed: Math.round(numberOr(parameters.get("seed"), 0, 1e9, 1)),
    steps: Math.round(numberOr(parameters.get("steps"), 0, setup.steps, setup.steps)),
    episodes: Math.round(numberOr(parameters.get("episodes"), fewest, most, usual)),
  };
}

function write({ goal, seed, steps, episodes }) {
  return `goal=${goal.map(brief).join(",")}&seed=${seed}&steps=${steps}&episodes=${episodes}`;
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

class View {
  constructor(main, setup, state) {
    Object.assign(this, { main, setup, state, found: {}, panels: {}, held: null });
    this.names = Object.keys(setup.walkers);
    this.actions = {
      undo: () => state.undo(),
      redo: () => state.redo(),
      dice: () => this.place([0, 1].map(() => setup.seen * (2 * Math.random() - 1))),
      sample: () => state.set({ seed: 1 + Math.floor(Math.random() * 1e6) }),
    };
  }

  build() {
    const button = (name, text, title) => element("button", { type: "button", id: name, title, onclick: this.actions[name] }, text);
    this.buttons = { undo: button("undo", "Undo", "U or Ctrl+Z"), redo: button("redo", "Redo", "R or Ctrl+Shift+Z") };
    const chance = [button("dice", "Dice", "Draw another goal: D"), button("sample", "Other episodes", "Walk with other random numbers: S")];
    const [fewest, , most] = this.setup.episodes;
    this.sliders = {
      steps: this.add({ name: "steps", title: "gradient steps shown", low: 0, high: this.setup.steps, step: 1 }),
      episodes: this.add({ name: "episodes", title: "episodes for each step", low: fewest, high: most, step: 5 }),
    };
    const panels = element("div", { className: "panels" }, ...this.names.map((name) => this.panel(name)), this.returns());
    this.main.replaceChildren(
      element("p", { className: "about" }, ABOUT),
      element("div", { className: "bar" }, ...chance, ...Object.values(this.buttons)),
      element("div", { className: "sliders" }, ...Object.values(this.sliders)),
      panels,
      element("details", { className: "help", open: true }, element("summary", {}, "How to read and use this page"), element("p", {}, HELP), element("p", {}, KEYS)),
    );
  }

  add(s) {
    const input = (v) => this.state.set({ [s.name]: v }, { keep: false });
    return slider({ ...s, value: this.state.value[s.name], begin: () => this.state.mark(), input });
  }

  panel(name) {
    const { title, note } = this.setup.walkers[name];
    const plot = new Plot({ x: [-1, 1], y: [-0.75, 0.75], axes: ["x", "y"], scale: 1, height: 320, label: `${title}: its paths on the board. ${KEYS}` });
    plot.canvas.id = `plot-${name}`;
    plot.fit = () => plot.equalise();
    plot.paint = () => this.paint(name, plot);
    const rows = Array.from({ length: this.setup.steps + 1 }, (_, k) => this.row(name, k));
    this.panels[name] = { plot, rows };
    this.listen(plot);
    return element(
      "section", { className: "panel", "aria-label": title },
      element("h2", { style: { "--colour": `var(--${name})` } }, element("i"), title),
      element("p", { className: "note" }, note), plot.canvas,
      element("ul", { className: "facts key", id: `facts-${name}` }, ...rows.map((row) => row.item)),
    );
  }

  /** A row of the key: how paths after k steps are drawn, and what they reach. */
  row(name, k) {
    const mark = element("canvas", { width: 72, height: 16, className: "mark" });
    const text = element("span", {});
    return { mark, text, item: element("li", { id: `facts-${name}-${k}` }, mark, text) };
  }

  returns() {
    const { steps } = this.setup;
    this.chart = new Plot({ x: [-0.15, steps + 0.15], y: [-60, 0], axes: ["gradient steps", "return of an episode"], scale: 1, height: 320, label: "Return of an episode after 0 to 3 gradient steps, for each learner" });
    this.chart.canvas.id = "plot-returns";
    this.chart.fit = () => {
      const all = this.names.flatMap((name) => this.found[name]?.stages.map((stage) => stage.return) ?? []);
      this.chart.y = [10 * Math.floor(Math.min(-20, ...all) / 10), 0];
    };
    this.chart.paint = () => this.paintReturns();
    this.best = element("p", { className: "facts", id: "facts-best" });
    return element(
      "section", { className: "panel", "aria-label": "Returns" },
      element("h2", { style: { "--colour": "var(--exact)" } }, element("i"), "Returns"),
      element("p", { className: "note" }, RETURNS), this.chart.canvas, this.best,
    );
  }

  listen(plot) {
    const { canvas } = plot;
    canvas.addEventListener("pointerdown", (event) => this.press(plot, event));
    canvas.addEventListener("pointermove", (event) => this.held && this.drag(plot, event));
    canvas.addEventListener("pointerup", (event) => this.release(plot, event));
    canvas.addEventListener("pointercancel", () => (this.held = this.tapped = null));
    canvas.addEventListener("touchstart", (event) => this.touch(plot, event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(plot, event));
    canvas.addEventListener("blur", () => ((this.cursor = null), this.redraw()));
  }

  press(plot, event) {
    if (event.button) return;
    event.preventDefault();
    plot.canvas.focus({ preventScroll: true });
    plot.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    const place = plot.place(event);
    const near = plot.apart(place, this.state.value.goal) < NEAR;
    if (event.pointerType === "touch" && !near) this.tapped = place; // a swipe scrolls the page, and moves nothing
    else {
      this.held = { moved: false };
      if (!near) this.drag(plot, event);
    }
  }

  /** A finger on the goal drags it; anywhere else it may scroll the page. */
  touch(plot, event) {
    if (event.touches.length === 1 && plot.apart(plot.place(event.touches[0]), this.state.value.goal) < NEAR) event.preventDefault();
  }

  drag(plot, event) {
    this.pressed = performance.now();
    if (!this.held.moved) this.state.mark();
    this.held.moved = true;
    this.state.set({ goal: this.within(plot.place(event)) }, { keep: false });
  }

  release(plot, event) {
    if (this.tapped && plot.apart(this.tapped, plot.place(event)) < NEAR) this.place(this.tapped);
    this.held = this.tapped = null;
  }

  within(place) {
    const { far } = this.setup;
    return place.map((v) => Number(Math.min(far, Math.max(-far, v)).toFixed(4)));
  }

  place(goal) {
    this.pressed = performance.now();
    this.state.set({ goal: this.within(goal) });
  }

  key(plot, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const cursor = this.cursor ?? this.state.value.goal;
    if (by) {
      const size = event.shiftKey ? 0.01 : 0.05;
      this.cursor = this.within(cursor.map((v, i) => v + size * by[i]));
      this.redraw();
    } else if (event.key === "Enter" || event.key === " ") this.place(cursor);
    else return;
    event.preventDefault();
  }

  /** The state has changed: show it, and ask for paths. */
  update() {
    const { value } = this.state;
    for (const [name, own] of Object.entries(this.sliders)) own.update(value[name]);
    this.buttons.undo.disabled = !this.state.past.length;
    this.buttons.redo.disabled = !this.state.future.length;
    this.redraw();
    this.walk();
  }

  async walk() {
    const began = this.pressed ?? performance.now();
    this.pressed = null;
    const { goal, seed, episodes } = this.state.value;
    const message = { goal, seed, episodes };
    const asked = JSON.stringify(message);
    if (asked === this.asked) return; // another number of steps is shown
    this.asked = asked;
    const fresh = {};
    await Promise.all(this.names.map(async (name) => {
      const answer = await attempt(() => ask(`navigation/${name}`, message));
      if (!answer || asked !== this.asked) return;
      fresh[name] = this.found[name] = answer;
      this.redraw();
    }));
    if (asked !== this.asked) return;
    if (this.names.every((name) => fresh[name])) window.quickstudy.answer = { message, answer: fresh, milliseconds: performance.now() - began };
    else this.asked = null; // it failed: the next change asks again
  }

  redraw() {
    for (const [name, { plot, rows }] of Object.entries(this.panels)) {
      plot.redraw();
      rows.forEach((row, k) => this.describe(name, row, k));
    }
    this.chart.redraw();
    const [found] = Object.values(this.found);
    if (found) this.best.textContent = `Best possible: ${found.best.return.toFixed(2)}, by walking straight to the goal, which only a policy that sees it can do.`;
  }

  describe(name, row, k) {
    const stage = this.found[name]?.stages[k];
    row.item.classList.toggle("faint", k > this.state.value.steps);
    if (!stage) return;
    const pen = row.mark.getContext("2d");
    pen.clearRect(0, 0, 72, 16);
    Object.assign(pen, { strokeStyle: colourOf(`step-${k}`), lineWidth: 5 });
    pen.setLineDash(DASHES[k].map((v) => 2 * v));
    pen.beginPath();
    pen.moveTo(0, 8);
    pen.lineTo(72, 8);
    pen.stroke();
    row.text.textContent = `${plural(k, "step")}: return ${stage.return.toFixed(1)}, ${stage.arrived} of ${this.state.value.episodes} arrive`;
  }

  paint(name, plot) {
    const { seen } = this.setup;
    const { goal, steps } = this.state.value;
    const square = [[-seen, -seen], [seen, -seen], [seen, seen], [-seen, seen], [-seen, -seen]];
    plot.curve(...turned(square), { colour: colourOf("truth"), width: 1, dash: [4, 4] });
    const found = this.found[name];
    for (let k = 0; found && k <= steps; k++)
      for (const path of found.stages[k].paths) plot.curve(...turned(path), { colour: colourOf(`step-${k}`), dash: DASHES[k], width: k === steps ? 1.6 : 1.1, alpha: k === steps ? 0.9 : 0.6 });
    plot.dot([0, 0], { radius: 4 });
    plot.star(goal, colourOf("point"));
    if (this.cursor && document.activeElement === plot.canvas) plot.cross(this.cursor);
  }

  paintReturns() {
    const { chart } = this;
    const found = this.names.filter((name) => this.found[name]).map((name) => [name, this.found[name].stages.map((s) => s.return)]);
    if (!found.length) return;
    const [low] = chart.y;
    const best = this.found[found[0][0]].best.return;
    chart.curve(chart.x, [best, best], { colour: colourOf("exact"), dash: [2, 4], width: 2 });
    const steps = [...Array(this.setup.steps + 1).keys()];
    found.forEach(([name, values], i) => {
      const colour = colourOf(name);
      chart.curve(steps, values, { colour, width: 2.4, dash: i ? [7, 4] : [] });
      steps.forEach((k) => chart.dot([k, values[k]], { colour, radius: k === this.state.value.steps ? 6.5 : 4.5 }));
      chart.curve([1.2, 1.5], [0.5 + 0.1 * i, 0.5 + 0.1 * i].map((share) => share * low), { colour, width: 2.4, dash: i ? [7, 4] : [] });
      chart.text([1.6, low * (0.515 + 0.1 * i)], this.setup.walkers[name].title, colour);
    });
  }

  close() {
    this.asked = null;
    for (const plot of [this.chart, ...Object.values(this.panels).map((p) => p.plot)]) plot.observer.disconnect();
  }
}

/** Points [x, y] as two lists. */
const turned = (points) => [points.map((p) => p[0]), points.map((p) => p[1])];
