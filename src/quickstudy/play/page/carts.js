// A cart of unknown physics: push it by hand, let a learner take over, and see what it believes of a push.

import { drawCart, fallen, readPushes, replay, start, step, writePushes } from "./cart.js";
import { colourOf, element, slider } from "./dom.js";
import { ask, attempt } from "./net.js";
import { Plot } from "./plot.js";
import { brief, numberOr, present } from "./state.js";

const EPISODES = 12; // that are remembered
const SLOW = 2; // by hand, time runs slower by this factor
const TAPPED = 5; // pushes of a press whose end is not seen, such as that of Enter on a button
const SECOND = 1000;
const WORDS = 0.65; // where on a belief's lines their names stand
const PARTS = {
  spin: {
    title: "What a push does to the pole",
    axis: "change of spin, rad/s",
    note: "A band holds 90% of the belief about one push of an upright cart at rest; dashed lines are the truth. Few transitions narrow it.",
  },
  speed: {
    title: "What a push does to the cart",
    axis: "change of speed, m/s",
    note: "The same for the speed of the cart. Its sign says which way a push goes; as long as a band holds both signs, the driver cannot know.",
  },
};
const ABOUT = `Keep the pole upright. Every cart has its own masses, length and force, and in half of all carts the force is reversed: a push
to the left goes right. Push it a few times, then let the Neural Process take over: it has only what you have seen.`;
const HOW = "Time runs while you push, at half its pace. The episode ends if the pole leaves the dotted lines or the cart its track, or after 10 s.";
const HELP = `One idea: a learner that was trained on many carts needs only a few transitions to know this one, and then plans 25 steps ahead
with what it knows. Choose another driver to see what is lost: "Never adapts" has the same network, and does not look; the average
cart is the mean of all carts, which suits none; the last driver knows the true equations. Before the first transition the Neural
Process is too sure of itself: its band misses the truth of many carts.`;
const KEYS = `Keyboard, in the picture: hold the left or right arrow key (or A or L) to push; T or Space: take over and stop; N: next
episode. Anywhere: D another cart, C forget all transitions, U undo, R redo.`;

/** Open the activity in `main`; returns a function that closes it. */
export function open(main, setup, parameters) {
  return present("carts", read(parameters, setup), write, (state) => new View(main, setup, state));
}

function read(parameters, setup) {
  const cart = { reversed: parameters.get("reversed") === "0" ? 0 : 1 };
  for (const s of setup.sliders) cart[s.name] = numberOr(parameters.get(s.name), s.low, s.high, s.usual);
  const whole = (name, high, otherwise) => Math.round(numberOr(parameters.get(name), 0, high, otherwise));
  return {
    cart,
    seed: whole("seed", 1e6, 1),
    driver: parameters.get("driver") in setup.drivers ? parameters.get("driver") : Object.keys(setup.drivers)[0],
    shown: parameters.get("shown") === "1",
    first: whole("first", 1e6, 0),
    episodes: readPushes(parameters.get("pushes"), EPISODES, setup.physics.horizon),
  };
}

function write({ cart, seed, driver, shown, first, episodes }) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(cart)) found.set(name, brief(value));
  found.set("seed", seed);
  found.set("driver", driver);
  if (shown) found.set("shown", "1");
  if (first) found.set("first", first);
  if (episodes.some((pushes) => pushes.length)) found.set("pushes", writePushes(episodes));
  return found.toString().replaceAll("%7E", "~");
}

/** A number that the address holds exactly: from it, the same pushes must lead to the same states. */
const rounded = (value) => Number(value.toPrecision(4));

class View {
  constructor(main, setup, state) {
    Object.assign(this, { main, setup, state, belief: null, plots: {}, mode: null, held: null, queue: [], pushes: [], states: [], traces: [] });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.actions = {
      undo: () => (this.stop(), state.undo()),
      redo: () => (this.stop(), state.redo()),
      dice: () => this.dice(),
      clear: () => this.reset({}),
    };
  }

  build() {
    const { drivers } = this.setup;
    const button = (name, text, title, onclick = this.actions[name]) => element("button", { type: "button", id: name, title, onclick }, text);
    this.choose = element("select", { id: "driver", "aria-label": "Who drives", onchange: () => this.drivenBy(this.choose.value) });
    for (const [name, driver] of Object.entries(drivers)) this.choose.append(element("option", { value: name }, driver.title));
    this.take = button("take", "Take over", "T or Space", () => this.takeOver());
    this.buttons = {
      next: button("next", "Next episode", "N", () => this.next()),
      dice: button("dice", "Another cart", "D"),
      clear: button("clear", "Forget", "Forget all transitions: C"),
      undo: button("undo", "Undo", "U or Ctrl+Z"),
      redo: button("redo", "Redo", "R or Ctrl+Shift+Z"),
    };
    this.shown = element("input", { type: "checkbox", id: "shown", onchange: () => this.state.set({ shown: this.shown.checked }, { keep: false }) });
    this.reversed = element("input", { type: "checkbox", id: "reversed", onchange: () => this.reset({ reversed: Number(this.reversed.checked) }) });
    this.sliders = Object.fromEntries(this.setup.sliders.map((s) => [s.name, this.add(s)]));
    this.hidden = element("div", { className: "sliders", id: "hidden" }, ...Object.values(this.sliders), element("label", { className: "check" }, this.reversed, "force is reversed"));
    this.note = element("p", { className: "note", id: "driver-note" });
    this.main.replaceChildren(
      element("p", { className: "about" }, ABOUT),
      element("div", { className: "bar" }, this.choose, this.take, ...Object.values(this.buttons), element("label", { className: "check" }, this.shown, "show what is hidden")),
      this.hidden,
      element("div", { className: "panels" }, this.picture(), ...Object.keys(PARTS).map((part) => this.panel(part))),
      element("details", { className: "help", open: true }, element("summary", {}, "How to read and use this page"), element("p", {}, HELP), element("p", {}, KEYS)),
    );
  }

  add(s) {
    const begin = () => (this.stop(), this.state.mark());
    return slider({ ...s, value: this.state.value.cart[s.name], begin, input: (v) => this.reset({ [s.name]: rounded(v) }, { keep: false }) });
  }

  picture() {
    const plot = (this.plots.cart = new Plot({ x: [-3, 3], y: [0, 2], axes: ["position, m", ""], scale: 1, height: 270, label: `The cart and its pole. ${KEYS}` }));
    plot.canvas.id = "plot-cart";
    plot.fit = () => {
      const [wide, high] = plot.inner;
      const unit = Math.min(wide / 5.2, high / 2.6); // pixels for a metre: the whole track, and the longest pole
      [plot.x, plot.y] = [[-wide / unit / 2, wide / unit / 2], [-0.2, high / unit - 0.2]];
    };
    plot.paint = () => this.paint(plot);
    plot.canvas.addEventListener("keydown", (event) => this.key(event));
    plot.canvas.addEventListener("keyup", (event) => event.key in WAYS && this.release(WAYS[event.key]));
    plot.canvas.addEventListener("blur", () => this.release(this.held));
    this.score = element("p", { className: "facts", id: "score", role: "status" });
    this.warning = element("p", { className: "warning" });
    return element(
      "section", { className: "panel", "aria-label": "The cart" },
      element("h2", { style: { "--colour": "var(--focus)" } }, element("i"), "The cart"),
      element("p", { className: "note" }, HOW), plot.canvas,
      element("div", { className: "bar push" }, this.pusher(0, "◀ Push left"), this.pusher(1, "Push right ▶")),
      this.score, this.note, this.warning,
    );
  }

  /** A button that pushes while it is held. */
  pusher(way, text) {
    const made = element("button", { type: "button", id: `push-${way}`, className: "pusher" }, text);
    made.addEventListener("pointerdown", (event) => event.button || (made.setPointerCapture(event.pointerId), this.press(way)));
    for (const end of ["pointerup", "pointercancel"]) made.addEventListener(end, () => this.release(way));
    made.addEventListener("contextmenu", (event) => event.preventDefault());
    made.addEventListener("click", (event) => event.detail || this.tap(way)); // by keyboard, or by an aid that only clicks
    return made;
  }

  panel(part) {
    const { title, axis, note } = PARTS[part];
    const place = (count) => [Math.log2(1 + count), String(count)];
    const labels = [0, 1, 2, 5, 10, 20, this.setup.limits.seen].map(place);
    const plot = (this.plots[part] = new Plot({ x: [-0.2, Math.log2(1 + this.setup.limits.seen) + 0.15], y: [-1, 1], axes: ["transitions seen (the last 50)", axis], scale: 1, height: 250, labels, label: `${title}: belief by the number of transitions seen` }));
    plot.canvas.id = `plot-${part}`;
    plot.fit = () => this.belief && (plot.y = reach(this.belief.parts[part]));
    plot.paint = () => this.paintBelief(part, plot);
    const facts = element("p", { className: "facts", id: `facts-${part}` });
    plot.facts = facts;
    return element(
      "section", { className: "panel", "aria-label": title },
      element("h2", { style: { "--colour": "var(--np)" } }, element("i"), title),
      element("p", { className: "note" }, note), plot.canvas, facts,
    );
  }

  // What the visitor does.

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = WAYS[event.key];
    if (way !== undefined) event.repeat || this.press(way);
    else if (event.key === " " || event.key.toLowerCase() === "t") this.takeOver();
    else if (event.key.toLowerCase() === "n") this.next();
    else return;
    event.preventDefault();
  }

  /** Hold a push; the first one of a new episode if the last has ended. */
  press(way) {
    this.stop();
    this.begin();
    this.held = way;
    this.mode = "hand";
    this.run();
  }

  release(way) {
    if (this.mode === "hand" && this.held === way) this.stop();
  }

  tap(way) {
    this.stop();
    this.begin();
    for (let i = 0; i < TAPPED && !this.over; i++) this.push(way);
    this.commit();
  }

  takeOver() {
    if (this.mode === "auto") return this.stop();
    this.stop();
    this.begin();
    this.mode = "auto";
    this.queue = [];
    this.ahead = this.states[this.states.length - 1];
    this.imagined = [];
    this.describe();
    this.plan();
    this.run();
  }

  /** Remember the state for undo; if the episode has ended, go on to the next. */
  begin() {
    this.state.mark();
    if (this.over) this.state.set(this.another(), { keep: false });
  }

  another() {
    const { episodes, first } = this.state.value;
    const kept = [...episodes, []].slice(-EPISODES);
    return { episodes: kept, first: first + episodes.length + 1 - kept.length };
  }

  next() {
    this.stop();
    if (this.pushes.length) this.state.set(this.another());
  }

  drivenBy(driver) {
    this.stop();
    this.state.set({ driver });
  }

  dice() {
    const cart = { reversed: Number(Math.random() < 0.5) };
    for (const s of this.setup.sliders) cart[s.name] = rounded(s.low + Math.random() * (s.high - s.low));
    this.stop();
    this.state.set({ cart, seed: 1 + Math.floor(Math.random() * 1e6), first: 0, episodes: [[]] });
  }

  /** Another cart of which nothing is known, or the same one again. */
  reset(fields, options) {
    this.stop();
    this.state.set({ cart: { ...this.state.value.cart, ...fields }, first: 0, episodes: [[]] }, options);
  }

  // How time passes.

  get over() {
    return fallen(this.states[this.states.length - 1], this.setup.physics) || this.pushes.length >= this.setup.physics.horizon;
  }

  run() {
    cancelAnimationFrame(this.frame);
    let last = null;
    const pace = SECOND * this.setup.physics.tau * (this.mode === "hand" ? SLOW : 1);
    const tick = (now) => {
      if (!this.mode) return;
      last ??= now - pace;
      if (now - last > 10 * pace) last = now - pace; // the page was hidden: time stood still
      for (; now - last >= pace && this.mode; last += pace) this.advance();
      this.draw();
      if (this.mode) this.frame = requestAnimationFrame(tick);
    };
    this.frame = requestAnimationFrame(tick);
  }

  /** One step of time: the push that is held, or the next of the driver's plan. */
  advance() {
    const way = this.mode === "hand" ? this.held : this.queue.shift();
    if (this.mode === "auto" && this.queue.length <= this.setup.limits.steps) this.plan();
    if (way === undefined) return; // the plan has not come yet
    this.push(way);
    if (this.over) this.stop();
    else if (this.mode === "auto" && this.pushes.length % this.setup.limits.steps === 0) this.commit();
  }

  push(way) {
    const { cart } = this.state.value;
    this.states.push(step(this.states[this.states.length - 1], way, cart, this.setup.physics));
    this.pushes.push(way);
    this.last = way;
  }

  stop() {
    if (!this.mode) return;
    this.mode = this.held = this.asked = null;
    this.queue = [];
    this.commit();
  }

  /** Put the pushes of this episode into the state. */
  commit() {
    const { episodes } = this.state.value;
    this.state.set({ episodes: [...episodes.slice(0, -1), [...this.pushes]] }, { keep: false });
  }

  /** Ask the driver for its next pushes, from the state to which the last ones lead. */
  async plan() {
    const { physics, limits } = this.setup;
    const { cart, driver, seed } = this.state.value;
    const done = this.pushes.length + this.queue.length;
    if (this.asked || done >= physics.horizon || fallen(this.ahead, physics)) return;
    const steps = Math.min(limits.steps, physics.horizon - done);
    const message = { cart, driver, state: this.ahead, seen: this.seen(this.imagined), steps, seed: seed + done };
    const asked = (this.asked = message);
    const began = performance.now();
    const answer = await attempt(() => ask("carts/drive", message));
    if (this.asked !== asked) return; // the visitor has taken over
    this.asked = null;
    if (!answer) return this.stop();
    const states = [];
    for (const push of answer.actions) {
      const before = this.ahead;
      this.ahead = step(before, push, cart, physics);
      states.push(this.ahead);
      this.imagined.push([...before, push, ...this.ahead]);
    }
    this.queue.push(...answer.actions);
    this.warning.textContent = answer.warning ?? "";
    this.tell("drive", { message, answer, states, milliseconds: performance.now() - began });
  }

  /** The last transitions of all episodes; `imagined` are those of the present plan. */
  seen(imagined = null) {
    const rows = [];
    const { episodes } = this.state.value;
    const add = (states, pushes) => states.slice(1).forEach((after, i) => rows.push([...states[i], pushes[i], ...after]));
    this.traces.slice(0, -1).forEach((states, i) => add(states, episodes[i]));
    const now = imagined ? this.states.length - this.played(imagined) : this.states.length;
    add(this.states.slice(0, now), this.pushes);
    return [...rows, ...(imagined ?? [])].slice(-this.setup.limits.seen);
  }

  /** How many transitions of the plan have been played. */
  played(imagined) {
    return imagined.length - this.queue.length;
  }

  // What is shown.

  update() {
    const { value } = this.state;
    const { physics } = this.setup;
    this.traces = value.episodes.map((pushes, i) => replay(pushes, start(value.seed, value.first + i), value.cart, physics));
    this.states = [...this.traces[this.traces.length - 1]];
    this.pushes = value.episodes[value.episodes.length - 1].slice(0, this.states.length - 1);
    this.last = this.mode ? this.last : null;
    for (const [name, own] of Object.entries(this.sliders)) own.update(value.cart[name]);
    this.choose.value = value.driver;
    this.shown.checked = value.shown;
    this.reversed.checked = Boolean(value.cart.reversed);
    this.hidden.hidden = !value.shown;
    this.buttons.undo.disabled = !this.state.past.length;
    this.buttons.redo.disabled = !this.state.future.length;
    this.buttons.clear.disabled = !this.seen().length;
    this.buttons.next.disabled = !this.pushes.length;
    this.redraw();
    this.believe();
  }

  async believe() {
    const { cart, driver } = this.state.value;
    const message = { cart, driver, seen: this.seen() };
    const began = performance.now();
    const answer = await attempt(() => ask("carts/believe", message));
    if (!answer) return;
    this.belief = answer;
    this.redraw();
    this.tell("believe", { message, answer, milliseconds: performance.now() - began });
  }

  /** Keep the last messages and answers where tests read them. */
  tell(kind, found) {
    window.quickstudy.answer = { ...window.quickstudy.answer, [kind]: found };
  }

  describe() {
    const { physics, drivers } = this.setup;
    const { driver, episodes, first } = this.state.value;
    const { title, note } = drivers[driver];
    this.take.textContent = this.mode === "auto" ? "Stop" : "Take over";
    this.take.setAttribute("aria-pressed", String(this.mode === "auto"));
    this.note.textContent = `${title}: ${note}`;
    const steps = this.pushes.length;
    const end = !this.over ? "" : steps >= physics.horizon ? ": balanced to the end" : ": it fell";
    const before = this.traces.slice(0, -1).map((states) => states.length - 1);
    const earlier = before.length ? ` · before: ${before.join(", ")}` : "";
    this.score.textContent = `Episode ${first + episodes.length}: ${steps} of ${physics.horizon} steps${end}${earlier}`;
  }

  draw() {
    if (this.still.matches && this.mode === "auto" && this.pushes.length % 10) return;
    this.plots.cart.redraw();
    this.describe();
  }

  redraw() {
    this.describe();
    for (const plot of Object.values(this.plots)) plot.redraw();
  }

  paint(plot) {
    const { cart, shown, driver } = this.state.value;
    const colour = this.mode === "auto" ? colourOf(driver) : colourOf("soft");
    drawCart(plot, this.states[this.states.length - 1], { cart, shown, push: this.mode ? this.last : null, colour, physics: this.setup.physics });
  }

  paintBelief(part, plot) {
    if (!this.belief) return;
    const { counts, parts } = this.belief;
    const { truth, belief } = parts[part];
    const drawn = counts.length > 1 ? counts : [0, 0.12]; // one belief is drawn with some width
    const double = (values) => (values && counts.length === 1 ? [values[0], values[0]] : values);
    const xs = drawn.map((count) => Math.log2(1 + count));
    belief.forEach((own, way) => {
      const colour = colourOf(way ? "pretrained" : "maml");
      if (own.low) plot.band(xs, double(own.low), double(own.high), colour);
      for (const edge of own.low ? [own.low, own.high] : []) plot.curve(xs, double(edge), { colour, width: 0.8, alpha: 0.7 });
      plot.curve(xs, double(own.mean), { colour, width: 2.4 });
      plot.curve(plot.x, [truth[way], truth[way]], { colour, width: 1.8, dash: way ? [8, 4] : [3, 3] });
      plot.text([plot.x[0] + WORDS * (plot.x[1] - plot.x[0]), truth[way] + 0.06 * plot.y[1]], way ? "push right" : "push left", colour);
    });
    const last = belief.map((own) => (own.low ? `${own.low.at(-1).toFixed(2)} to ${own.high.at(-1).toFixed(2)}` : own.mean.at(-1).toFixed(2)));
    plot.facts.textContent = `After ${counts.at(-1)}: left ${last[0]} (truth ${truth[0].toFixed(2)}), right ${last[1]} (truth ${truth[1].toFixed(2)})`;
  }

  close() {
    this.mode = this.asked = null;
    cancelAnimationFrame(this.frame);
    for (const plot of Object.values(this.plots)) plot.observer.disconnect();
  }
}

/** The ends of an axis on which a belief and the truth are seen. */
function reach({ truth, belief }) {
  const all = [...truth, ...belief.flatMap((own) => [...own.mean, ...(own.low ?? []), ...(own.high ?? [])])];
  const far = 1.25 * Math.max(0.05, ...all.map(Math.abs));
  return [-far, far];
}

const WAYS = { ArrowLeft: 0, a: 0, A: 0, ArrowRight: 1, l: 1, L: 1 };
