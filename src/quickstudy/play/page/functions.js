// Functions of one variable: the same points for every learner, side by side.

import { colourOf, element, slider } from "./dom.js";
import { ask, attempt, give, notify } from "./net.js";
import { Plot } from "./plot.js";
import { brief, numberOr, present, readPoints, writePoints } from "./state.js";

const NEAR = 14; // pixels within which a click means a point that is there
const NEAR_TOUCH = 24;
const COUNT = 8; // functions drawn from each belief
const SECOND = 1000;
const HELP = `Click or tap a plot to add a point: all learners see it. Drag a point to move it, click it again to remove it.
The line is a learner's mean, the band its 90% interval for a new noisy value; moving lines are functions drawn from its belief.
The triangle marks the input where a learner is least certain: measure there next. Below a plot stand the distance of the
mean from the hidden function (root mean square), the share of new noisy values within the band (90% would be right) and
their log-likelihood for each value (larger is better).`;
const KEYS = `Keyboard, in a plot: arrow keys move a cursor (Shift: faster), Enter adds or removes a point there,
M takes hold of the nearest point and lets go of it. Anywhere: D dice, S sample, U undo, R redo, C clear.`;

/** Open the activity in `main`; returns a function that closes it. */
export function open(main, setup, parameters) {
  const first = Object.keys(setup.scenes)[0];
  const scene = parameters.get("scene") in setup.scenes ? parameters.get("scene") : first;
  return present("functions", read(setup.scenes[scene], scene, parameters, setup.limits), write, (state) => new View(main, setup, state));
}

function read(scene, name, parameters, limits) {
  const truth = {};
  for (const s of scene.sliders) truth[s.name] = numberOr(parameters.get(s.name), s.low, s.high, middle(s));
  const trained = Math.max(0, ...Object.values(scene.players).map((p) => p.steps));
  return {
    scene: name,
    points: readPoints(parameters.get("points"), limits.points),
    truth,
    seed: Math.round(numberOr(parameters.get("seed"), 0, 1e9, 1)),
    turn: Math.round(numberOr(parameters.get("turn"), 0, 1e9, 0)),
    noise: numberOr(parameters.get("noise"), 0, 10 * Math.max(scene.noise, 0.1), scene.noise),
    steps: Math.round(numberOr(parameters.get("steps"), 0, limits.steps, trained)),
    hidden: parameters.get("hidden") !== "0",
    draws: parameters.get("draws") !== "0",
  };
}

function write(state) {
  const found = new URLSearchParams({ scene: state.scene });
  for (const [name, value] of Object.entries(state.truth)) found.set(name, brief(value));
  found.set("points", writePoints(state.points));
  for (const name of ["seed", "turn", "steps"]) found.set(name, state[name]);
  found.set("noise", brief(state.noise));
  if (!state.hidden) found.set("hidden", "0");
  if (!state.draws) found.set("draws", "0");
  return found.toString().replaceAll("%2C", ",").replaceAll("%3B", ";");
}

const middle = (s) => (s.log ? Math.sqrt(s.low * s.high) : (s.low + s.high) / 2);

class View {
  constructor(main, setup, state) {
    Object.assign(this, { main, setup, state, answer: null, drawn: null, panels: {}, grabbed: null, frame: 0 });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.actions = {
      undo: () => state.undo(),
      redo: () => state.redo(),
      dice: () => this.dice(),
      sample: () => this.sample(),
      clear: () => state.value.points.length && state.set({ points: [] }),
    };
  }

  get scene() {
    return this.setup.scenes[this.state.value.scene];
  }

  build() {
    const { value } = this.state;
    this.built = value.scene;
    this.panels = {};
    const choose = element("select", { "aria-label": "Family of functions", id: "scene", onchange: () => this.choose(choose.value) });
    for (const [name, scene] of Object.entries(this.setup.scenes)) choose.append(element("option", { value: name }, scene.title));
    choose.value = value.scene;
    const button = (name, text, title) => element("button", { type: "button", id: name, title, onclick: this.actions[name] }, text);
    this.buttons = { undo: button("undo", "Undo", "U or Ctrl+Z"), redo: button("redo", "Redo", "R or Ctrl+Shift+Z"), clear: button("clear", "Clear", "C") };
    const hides = this.scene.hidden;
    const chance = hides ? [button("dice", "Dice", "Draw another hidden function: D"), button("sample", "Sample", "See a noisy value of the hidden function: S")] : [];
    this.checks = {};
    if (Object.values(this.scene.players).some((p) => p.draws)) this.checks.draws = this.check("draws", "functions drawn");
    if (hides) this.checks.hidden = this.check("hidden", "hidden function");
    this.sliders = {};
    const sliders = this.scene.sliders.map((s) => this.add(s, (v) => ({ truth: { ...this.state.value.truth, [s.name]: v } })));
    if (hides) sliders.push(this.add({ name: "noise", title: "noise of samples", low: 0, high: 10 * Math.max(this.scene.noise, 0.1) / 4 }, (noise) => ({ noise })));
    if (Object.values(this.scene.players).some((p) => p.kind === "gradient"))
      sliders.push(this.add({ name: "steps", title: "gradient steps", low: 0, high: this.setup.limits.steps, step: 1 }, (steps) => ({ steps })));
    const panels = element("div", { className: "panels" });
    for (const [name, player] of Object.entries(this.scene.players)) panels.append(this.panel(name, player));
    this.main.replaceChildren(
      element("p", { className: "about" }, this.scene.about),
      element("div", { className: "bar" }, choose, ...chance, this.buttons.undo, this.buttons.redo, this.buttons.clear, ...Object.values(this.checks)),
      element("div", { className: "sliders" }, ...sliders),
      panels,
      element("details", { className: "help", open: true }, element("summary", {}, "How to read and use this page"), element("p", {}, HELP), element("p", {}, KEYS)),
    );
  }

  add(s, fields) {
    const set = (v) => this.state.set(fields(v), { keep: false });
    const now = s.name in this.state.value ? this.state.value[s.name] : this.state.value.truth[s.name];
    return (this.sliders[s.name] = slider({ ...s, value: now, begin: () => this.state.mark(), input: set }));
  }

  check(name, text) {
    const box = element("input", { type: "checkbox", id: `show-${name}`, onchange: () => this.state.set({ [name]: box.checked }, { keep: false }) });
    box.checked = this.state.value[name];
    return element("label", { className: "check" }, box, text);
  }

  panel(name, player) {
    const colour = `var(--${name}, var(--other))`;
    const plot = new Plot({ ...this.scene, label: `${player.title}: a plot of its belief. ${KEYS}` });
    plot.canvas.id = `plot-${name}`;
    plot.paint = () => this.paint(name, plot);
    const facts = element("p", { className: "facts", id: `facts-${name}` });
    const warning = element("p", { className: "warning" });
    this.panels[name] = { plot, facts, warning };
    this.listen(plot);
    return element(
      "section", { className: "panel", "aria-label": player.title },
      element("h2", { style: { "--colour": colour } }, element("i"), player.title),
      element("p", { className: "note" }, player.note), plot.canvas, facts, warning,
    );
  }

  listen(plot) {
    const { canvas } = plot;
    canvas.addEventListener("pointerdown", (event) => this.press(plot, event));
    canvas.addEventListener("pointermove", (event) => this.move(plot, event));
    canvas.addEventListener("pointerup", (event) => this.release(plot, event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("touchstart", (event) => this.touch(plot, event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(plot, event));
    canvas.addEventListener("blur", () => ((this.cursor = null), this.redraw()));
  }

  nearest(plot, place, within) {
    let [found, least] = [-1, within];
    this.state.value.points.forEach((point, i) => {
      const gap = plot.apart(point, place);
      if (gap <= least) [found, least] = [i, gap];
    });
    return found;
  }

  press(plot, event) {
    if (event.button) return;
    event.preventDefault();
    plot.canvas.focus({ preventScroll: true });
    plot.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    this.pressed = event.timeStamp;
    const place = plot.place(event);
    const which = this.nearest(plot, place, event.pointerType === "touch" ? NEAR_TOUCH : NEAR);
    if (which >= 0) this.grabbed = { which, from: place, moved: false };
    else if (event.pointerType === "touch") this.tapped = place; // a swipe scrolls the page, and adds nothing
    else this.addPoint(place);
  }

  /** A finger on a point drags it; anywhere else it may scroll the page. */
  touch(plot, event) {
    const place = plot.place(event.touches[0]);
    if (event.touches.length === 1 && this.nearest(plot, place, NEAR_TOUCH) >= 0) event.preventDefault();
  }

  move(plot, event) {
    if (!this.grabbed) return;
    const place = plot.place(event);
    if (!this.grabbed.moved && plot.apart(place, this.grabbed.from) < 4) return;
    if (!this.grabbed.moved) this.state.mark();
    this.grabbed.moved = true;
    this.pressed = event.timeStamp;
    this.replace(this.grabbed.which, place);
  }

  release(plot, event) {
    if (this.grabbed && !this.grabbed.moved) {
      this.pressed = event.timeStamp;
      this.removePoint(this.grabbed.which);
    }
    if (this.tapped && plot.apart(this.tapped, plot.place(event)) < NEAR) {
      this.pressed = event.timeStamp;
      this.addPoint(this.tapped);
    }
    this.cancel();
  }

  cancel() {
    this.grabbed = this.tapped = null;
  }

  addPoint(place) {
    const { points } = this.state.value;
    if (points.length >= this.setup.limits.points) return notify(`At most ${this.setup.limits.points} points; remove one first.`);
    this.state.set({ points: [...points, place] });
  }

  removePoint(which) {
    this.state.set({ points: this.state.value.points.filter((_, i) => i !== which) });
  }

  replace(which, place) {
    this.state.set({ points: this.state.value.points.map((p, i) => (i === which ? place : p)) }, { keep: false });
  }

  key(plot, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { x, y } = this.scene;
    const size = event.shiftKey ? 10 : 40;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const cursor = this.cursor ?? [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
    if (by) {
      const within = ([a, b], v) => Math.min(b, Math.max(a, v));
      const step = ([a, b], n) => ((b - a) / size) * n;
      this.cursor = [within(x, cursor[0] + step(x, by[0])), within(y, cursor[1] + step(y, by[1]))];
      if (this.held !== undefined && this.held >= 0) this.replace(this.held, this.cursor);
      this.redraw();
    } else if (event.key === "Enter" || event.key === " ") {
      this.cursor = cursor;
      const which = this.nearest(plot, cursor, NEAR);
      if (which >= 0) this.removePoint(which);
      else this.addPoint(cursor);
      this.held = -1;
    } else if (event.key.toLowerCase() === "m") {
      if (this.held >= 0) this.held = -1;
      else {
        this.held = this.nearest(plot, cursor, Infinity);
        if (this.held >= 0) {
          this.state.mark();
          this.cursor = this.state.value.points[this.held];
        }
      }
      this.redraw();
    } else return;
    event.preventDefault();
  }

  choose(name) {
    const scene = this.setup.scenes[name];
    this.state.set(read(scene, name, new URLSearchParams(), this.setup.limits));
  }

  dice() {
    if (!this.scene.hidden) return;
    const truth = {};
    for (const s of this.scene.sliders) {
      const share = Math.random();
      truth[s.name] = s.log ? s.low * (s.high / s.low) ** share : s.low + share * (s.high - s.low);
    }
    this.state.set({ truth, seed: 1 + Math.floor(Math.random() * 1e6), points: [], turn: 0 });
  }

  async sample() {
    if (!this.scene.hidden) return;
    const { scene, truth, seed, noise, turn, points } = this.state.value;
    if (points.length >= this.setup.limits.points) return notify(`At most ${this.setup.limits.points} points; remove one first.`);
    const at = [this.scene.x[0] + Math.random() * (this.scene.x[1] - this.scene.x[0])];
    const answer = await attempt(() => ask("functions/observe", { scene, truth, seed, noise, turn, at }));
    if (answer) this.state.set({ points: [...this.state.value.points, ...answer.points], turn: turn + 1 });
  }

  /** The state has changed: ask for predictions, then for functions drawn. */
  update() {
    const { value } = this.state;
    if (value.scene !== this.built) {
      this.close();
      this.answer = this.drawn = null;
      this.build();
    }
    for (const [name, own] of Object.entries(this.sliders)) own.update(name in value ? value[name] : value.truth[name]);
    for (const [name, label] of Object.entries(this.checks)) label.querySelector("input").checked = value[name];
    this.buttons.undo.disabled = !this.state.past.length;
    this.buttons.redo.disabled = !this.state.future.length;
    this.buttons.clear.disabled = !value.points.length;
    this.redraw();
    this.predict();
  }

  message() {
    const { scene, points, steps, truth, seed, noise } = this.state.value;
    return { scene, points, steps, seed, noise, ...(this.scene.hidden ? { truth } : {}) };
  }

  async predict() {
    const began = this.pressed ?? performance.now();
    const message = this.message();
    clearTimeout(this.waiting);
    give("functions/draw");
    const answer = await attempt(() => ask("functions/predict", message));
    if (!answer || this.state.value.scene !== message.scene) return;
    this.answer = answer;
    this.drawn = null;
    this.describe();
    this.redraw();
    window.quickstudy.answer = { message, answer, milliseconds: performance.now() - began };
    this.waiting = setTimeout(() => this.draw(message), 60);
  }

  async draw(message) {
    if (!this.state.value.draws) return;
    const answer = this.answer;
    this.drawn = { players: {} };
    this.since = performance.now();
    this.animate();
    for (const [name, player] of Object.entries(this.scene.players)) {
      if (!player.draws) continue;
      const found = await attempt(() => ask("functions/draw", { ...message, player: name, count: COUNT }));
      if (!found || this.answer !== answer || !this.drawn) return; // the visitor has gone on
      this.drawn.players[name] = found.functions;
      if (this.still.matches) this.redraw();
    }
  }

  describe() {
    for (const [name, { facts, warning }] of Object.entries(this.panels)) {
      const own = this.answer.players[name];
      const parts = "error" in own ? [`error ${own.error.toPrecision(2)}`] : [];
      if ("inside" in own) {
        parts.push(`${Math.round(100 * own.inside)}% in the band`);
        parts.push(`log-likelihood ${own.log_likelihood === null ? "-∞" : own.log_likelihood.toFixed(2)}`);
      }
      facts.textContent = parts.join(" · ");
      warning.textContent = own.warning ?? "";
    }
  }

  redraw() {
    for (const { plot } of Object.values(this.panels)) plot.redraw();
  }

  /** Redraw the functions that move, some 25 times a second, while they are shown. */
  animate() {
    cancelAnimationFrame(this.frame);
    let last = 0;
    const tick = (now) => {
      if (!this.drawn || !this.state.value.draws) return;
      if (now - last > 40 && !document.hidden) {
        last = now;
        for (const name of Object.keys(this.drawn.players)) this.panels[name]?.plot.redraw();
      }
      if (!this.still.matches) this.frame = requestAnimationFrame(tick);
    };
    this.frame = requestAnimationFrame(tick);
  }

  paint(name, plot) {
    const colour = colourOf(name);
    const { value } = this.state;
    const own = this.answer?.players[name];
    if (own) {
      const { x } = this.answer;
      if (own.low) {
        plot.band(x, own.low, own.high, colour);
        for (const edge of [own.low, own.high]) plot.curve(x, edge, { colour, width: 0.8, alpha: 0.7 });
      }
      if (value.draws) this.moving(name).forEach((ys) => plot.curve(x, ys, { colour, width: 1.2, alpha: 0.75 }));
      if (this.answer.truth && value.hidden) plot.curve(x, this.answer.truth, { colour: colourOf("truth"), width: 1.8, dash: [6, 4] });
      plot.curve(x, own.mean, { colour, width: 2.4 });
      if (own.next !== null) plot.mark(own.next, colour);
    }
    value.points.forEach((point, i) => plot.dot(point, i === this.held ? { radius: 7 } : {}));
    if (this.cursor && document.activeElement === plot.canvas) plot.cross(this.cursor);
  }

  /**
   * Three functions at this moment. Each turns slowly from one drawn function to the next, around the mean: for normal
   * beliefs, what is seen at any moment is again a draw.
   */
  moving(name) {
    const drawn = this.drawn?.players[name];
    if (!drawn) return [];
    if (this.still.matches) return drawn.slice(0, 5);
    const { mean } = this.answer.players[name];
    const turn = (performance.now() - this.since) / (1.6 * SECOND);
    return [0, 1, 2].map((k) => {
      const at = turn + (k * drawn.length) / 3;
      const [a, b] = [drawn[Math.floor(at) % drawn.length], drawn[(Math.floor(at) + 1) % drawn.length]];
      const angle = ((at % 1) * Math.PI) / 2;
      return mean.map((m, i) => m + Math.cos(angle) * (a[i] - m) + Math.sin(angle) * (b[i] - m));
    });
  }

  close() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.waiting);
    for (const { plot } of Object.values(this.panels)) plot.observer.disconnect();
  }
}
