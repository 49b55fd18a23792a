// Images: brush pixels of a hidden digit, and see it completed.

import { colourOf, element, slider } from "./dom.js";
import { ask, attempt } from "./net.js";
import { Raster, grey } from "./raster.js";
import { numberOr, present } from "./state.js";

const DRAWS = 3; // images drawn from each belief
const MANY = 5; // pixels that `sample` reveals
const REST = 250; // milliseconds without a change before images are drawn
const MOST_SD = 0.4; // standard deviations from here on have the full colour
const HELP = `Brush the large picture with the mouse or a finger: each pixel you touch shows its grey, and the learners complete
the rest. Brush pixels that are seen to hide them again. The outlined pixel is the one of which the learner is least certain:
measure there next. Small dots mark pixels that were seen.`;
const KEYS = `Keyboard, in the large picture: arrow keys move, Enter reveals or hides a pixel, N jumps to the outlined pixel.
Anywhere: D dice (another digit), S sample (5 pixels at random), U undo, R redo, C clear.`;
const IDEA = `One idea: a completion is a guess about functions. The image is a function from the place of a pixel to its grey,
every digit is one task, and the pixels seen are its support set. Nobody tells the learners which digit it is: what they know
of digits is all in their weights. Look at the deviation, not at the mean alone: it should be large exactly where the mean is
wrong. Then reveal the outlined pixels one after another, and compare how many you need with how many random ones.`;
const READ = {
  mean: "mean of its completions: grey where it hesitates",
  sd: "deviation: more colour, less certain",
  draws: "three completions drawn from its belief",
};

/** Open the activity in `main`; returns a function that closes it. */
export function open(main, setup, parameters) {
  return present("images", read(setup, parameters), write, (state) => new View(main, setup, state));
}

function read(setup, parameters) {
  const pixels = setup.side ** 2;
  const seen = readPlaces(parameters.get("seen"), pixels);
  const given = (parameters.get("painted") ?? "").split("").map(Number);
  const painting = parameters.get("mode") === "paint";
  return {
    set: parameters.get("set") in setup.sets ? parameters.get("set") : Object.keys(setup.sets)[0],
    seed: Math.round(numberOr(parameters.get("seed"), 0, 1e9, 3)),
    seen,
    painted: painting ? seen.map((_, i) => (given[i] === 0 ? 0 : 1)) : null,
    hidden: parameters.get("hidden") === "1",
  };
}

function write(state) {
  const found = new URLSearchParams({ set: state.set, seed: state.seed, seen: writePlaces(state.seen) });
  if (state.painted) {
    found.set("mode", "paint");
    found.set("painted", state.painted.join(""));
  }
  if (state.hidden) found.set("hidden", "1");
  return found.toString();
}

/** Places of an address: two signs of base 36 for each; those that are no places, or occur twice, are left out. */
function readPlaces(text, pixels) {
  const found = ((text ?? "").match(/../g) ?? []).map((signs) => parseInt(signs, 36));
  return [...new Set(found.filter((place) => place >= 0 && place < pixels))];
}

const writePlaces = (places) => places.map((place) => place.toString(36).padStart(2, "0")).join("");

/** All places in an order that belongs to the seed. */
function shuffled(pixels, seed) {
  let chance = seed + 1;
  const random = () => {
    chance = (chance + 0x6d2b79f5) | 0; // mulberry32
    let t = Math.imul(chance ^ (chance >>> 15), 1 | chance);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const order = [...Array(pixels).keys()];
  for (let i = pixels - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

class View {
  constructor(main, setup, state) {
    Object.assign(this, { main, setup, state, answer: null, drawn: null, panels: {}, stroke: null, ink: 1, cursor: null });
    this.pixels = setup.side ** 2;
    this.actions = {
      undo: () => state.undo(),
      redo: () => state.redo(),
      dice: () => this.dice(),
      sample: () => this.reveal(MANY),
      clear: () => state.value.seen.length && state.set({ seen: [], painted: state.value.painted && [] }),
    };
  }

  get painting() {
    return this.state.value.painted !== null;
  }

  build() {
    const choice = (id, label, options, change) => {
      const made = element("select", { id, "aria-label": label, onchange: () => change(made.value) });
      for (const [name, title] of options) made.append(element("option", { value: name }, title));
      return made;
    };
    const button = (name, text, title) => element("button", { type: "button", id: name, title, onclick: this.actions[name] }, text);
    this.set = choice("set", "Hidden images", Object.entries(this.setup.sets).map(([name, own]) => [name, own.title]), (set) =>
      this.state.set({ set, seen: [], painted: null }));
    this.mode = choice("mode", "What the brush does", [["reveal", "Brush reveals the hidden digit"], ["paint", "Paint your own"]], (mode) =>
      this.state.set({ seen: [], painted: mode === "paint" ? [] : null }));
    this.inks = choice("ink", "Colour of the brush", [["1", "White"], ["0", "Black"]], (ink) => (this.ink = Number(ink)));
    this.buttons = { undo: button("undo", "Undo", "U or Ctrl+Z"), redo: button("redo", "Redo", "R or Ctrl+Shift+Z"), clear: button("clear", "Clear", "C") };
    this.dicing = button("dice", "Dice", "Another hidden digit: D");
    this.sampling = button("sample", `Sample ${MANY}`, `Reveal ${MANY} pixels at random: S`);
    this.count = slider({
      name: "seen", title: "pixels revealed", low: 0, high: this.pixels, step: 1, value: this.state.value.seen.length,
      begin: () => this.state.mark(), input: (count) => this.reveal(count - this.state.value.seen.length, { keep: false }),
    });
    this.about = element("p", { className: "about" });
    const panels = element("div", { className: "panels pictures" }, this.brushPanel());
    for (const [name, player] of Object.entries(this.setup.players)) panels.append(this.panel(name, player));
    this.main.replaceChildren(
      this.about,
      element("div", { className: "bar" }, this.set, this.mode, this.inks, this.dicing, this.sampling, ...Object.values(this.buttons)),
      element("div", { className: "sliders" }, this.count),
      panels,
      element("details", { className: "help", open: true }, element("summary", {}, "How to read and use this page"),
        element("p", {}, HELP), element("p", {}, KEYS), element("p", {}, IDEA)),
    );
  }

  brushPanel() {
    this.brush = new Raster(this.setup.side, { id: "brush", tabIndex: 0, role: "application", "aria-label": `The pixels seen. ${KEYS}` });
    this.brush.paint = () => this.paintBrush();
    this.truth = new Raster(this.setup.side, { id: "truth", role: "img", "aria-label": "The hidden digit" });
    this.truth.paint = () => this.answer?.image && this.truth.greys(this.answer.image);
    const { canvas } = this.brush;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.stroke = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => ((this.cursor = null), this.redraw()));
    const box = element("input", { type: "checkbox", id: "show-hidden", onchange: () => this.state.set({ hidden: box.checked }, { keep: false }) });
    this.showing = box;
    this.shown = element("p", { className: "facts", id: "facts-seen" });
    this.reading = element("p", { className: "note" });
    return element("section", { className: "panel", "aria-label": "Pixels seen" },
      element("h2", { style: { "--colour": "var(--point)" } }, element("i"), "What was seen"),
      this.reading, canvas, this.shown, (this.hiding = element("label", { className: "check" }, box, "show the hidden digit")), this.truth.canvas);
  }

  panel(name, player) {
    const colour = `var(--${name}, var(--other))`;
    const raster = (what, label) => {
      const made = new Raster(this.setup.side, { id: `${what}-${name}`, role: "img", "aria-label": `${player.title}: ${label}` });
      made.paint = () => this.paint(name, what, made);
      return made;
    };
    const rasters = { mean: raster("mean", READ.mean), sd: raster("sd", READ.sd) };
    for (let i = 0; i < DRAWS; i++) rasters[`draw${i}`] = raster(`draw${i}`, "a completion drawn from its belief");
    const [facts, warning] = [element("p", { className: "facts", id: `facts-${name}` }), element("p", { className: "warning" })];
    this.panels[name] = { rasters, facts, warning };
    const figure = (raster, text) => element("figure", {}, raster.canvas, element("figcaption", {}, text));
    const drawn = Object.entries(rasters).filter(([what]) => what.startsWith("draw")).map(([, own]) => own.canvas);
    return element("section", { className: "panel", "aria-label": player.title },
      element("h2", { style: { "--colour": colour } }, element("i"), player.title),
      element("p", { className: "note" }, player.note),
      element("div", { className: "pair" }, figure(rasters.mean, READ.mean), figure(rasters.sd, READ.sd)),
      element("figure", { className: "drawn" }, element("div", { className: "three" }, ...drawn), element("figcaption", {}, READ.draws)),
      facts, warning);
  }

  press(event) {
    if (event.button) return;
    event.preventDefault();
    this.brush.canvas.focus({ preventScroll: true });
    this.brush.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    const place = this.brush.place(event);
    if (place === null) return;
    this.stroke = { hides: this.hides(place), last: null };
    this.state.mark();
    this.touch(place);
  }

  move(event) {
    if (!this.stroke) return;
    for (const own of event.getCoalescedEvents?.() ?? [event]) {
      const place = this.brush.place(own);
      if (place !== null && place !== this.stroke.last) this.touch(place);
    }
  }

  /** The stroke covers this pixel. */
  touch(place) {
    this.stroke.last = place;
    this.pressed = performance.now();
    this.apply([place], this.stroke.hides, { keep: false });
  }

  /** Whether a stroke that begins here hides pixels: if it was seen, and has the colour of the brush. */
  hides(place) {
    const { seen, painted } = this.state.value;
    const at = seen.indexOf(place);
    return at >= 0 && (!painted || painted[at] === this.ink);
  }

  /** Reveal or paint these places; or hide them. */
  apply(places, hides, options) {
    const { seen, painted } = this.state.value;
    const own = new Map(seen.map((place, i) => [place, painted ? painted[i] : null]));
    for (const place of places) hides ? own.delete(place) : own.set(place, painted ? this.ink : null);
    const next = [...own.keys()];
    if (next.length === seen.length && next.every((place, i) => !painted || own.get(place) === painted[i])) return;
    this.state.set({ seen: next, painted: painted && [...own.values()] }, options);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { side } = this.setup;
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const middle = (side / 2) * side + side / 2;
    const cursor = this.cursor ?? middle;
    if (by) {
      const within = (v) => Math.min(side - 1, Math.max(0, v));
      this.cursor = within(Math.floor(cursor / side) + by[0]) * side + within((cursor % side) + by[1]);
    } else if (event.key === "Enter" || event.key === " ") {
      this.cursor = cursor;
      this.pressed = performance.now();
      this.apply([cursor], this.hides(cursor));
    } else if (event.key.toLowerCase() === "n") this.cursor = this.next() ?? cursor;
    else return;
    this.redraw();
    event.preventDefault();
  }

  /** The pixel of which the first learner is least certain. */
  next() {
    return Object.values(this.answer?.players ?? {})[0]?.next ?? null;
  }

  dice() {
    if (this.painting) return;
    this.state.set({ seed: 1 + Math.floor(Math.random() * 1e6), seen: [] });
  }

  /** Reveal so many more pixels at random; fewer than none hides the latest. */
  reveal(more, options) {
    const { seen, seed } = this.state.value;
    if (this.painting || !more) return;
    const left = shuffled(this.pixels, seed).filter((place) => !seen.includes(place));
    this.state.set({ seen: more < 0 ? seen.slice(0, more) : [...seen, ...left.slice(0, more)] }, options);
  }

  /** The state has changed: ask for completions. */
  update() {
    const { value } = this.state;
    Object.assign(this.set, { value: value.set, disabled: this.painting });
    this.mode.value = this.painting ? "paint" : "reveal";
    this.inks.hidden = !this.painting;
    for (const own of [this.dicing, this.sampling, this.count, this.hiding]) own.hidden = this.painting;
    this.count.update(value.seen.length);
    this.showing.checked = value.hidden;
    this.truth.canvas.hidden = this.painting || !value.hidden;
    this.buttons.undo.disabled = !this.state.past.length;
    this.buttons.redo.disabled = !this.state.future.length;
    this.buttons.clear.disabled = !value.seen.length;
    this.about.textContent = this.painting ? "Paint white or black pixels of a digit of your own; the learners complete it." : this.setup.sets[value.set].about;
    this.reading.textContent = this.painting
      ? "Your pixels, and in blue what you have not painted. Brush a pixel of the brush's colour to take it away."
      : "The greys that you have revealed, and in blue what is hidden. The outlined pixel is where the first learner is least certain.";
    this.shown.textContent = `${value.seen.length} of ${this.pixels} pixels`;
    if (this.answer && this.asked !== this.image()) this.answer = this.drawn = null;
    this.redraw();
    this.complete();
  }

  /** What names the hidden image, without the pixels seen. */
  image() {
    const { set, seed } = this.state.value;
    return this.painting ? "painted" : `${set} ${seed}`;
  }

  message() {
    const { set, seed, seen, painted } = this.state.value;
    return { set, seed, seen, ...(painted ? { painted } : {}) };
  }

  /** Ask for completions. While one answer is underway the next question waits, so that a long stroke is seen to work. */
  async complete() {
    clearTimeout(this.resting);
    this.waits = this.asking;
    if (this.asking) return;
    this.asking = true;
    const began = this.pressed ?? performance.now();
    this.pressed = null;
    const [message, image] = [this.message(), this.image()];
    const answer = await attempt(() => ask("images/complete", message));
    this.asking = false;
    if (this.closed) return;
    if (answer && image === this.image()) {
      Object.assign(this, { answer, asked: image, drawn: null });
      this.describe();
      this.redraw();
      window.quickstudy.answer = { message, answer, milliseconds: performance.now() - began };
    }
    if (this.waits) this.complete();
    else this.resting = setTimeout(() => this.draw(message), REST);
  }

  async draw(message) {
    const drawn = await attempt(() => ask("images/draw", { ...message, count: DRAWS }));
    if (!drawn || this.closed || JSON.stringify(message) !== JSON.stringify(this.message())) return;
    this.drawn = drawn;
    this.redraw();
  }

  describe() {
    for (const [name, { facts, warning }] of Object.entries(this.panels)) {
      const own = this.answer.players[name];
      const score = own.log_likelihood === null ? "-∞" : own.log_likelihood?.toFixed(2);
      facts.textContent = "inside" in own
        ? `hidden pixels: error ${own.rmse.toFixed(3)} (RMSE) · log-likelihood ${score} · ${Math.round(100 * own.inside)}% in the 90% interval`
        : "";
      warning.textContent = own.warning ?? "";
    }
  }

  redraw() {
    const rasters = Object.values(this.panels).flatMap(({ rasters }) => Object.values(rasters));
    for (const raster of [this.brush, this.truth, ...rasters]) raster.redraw();
  }

  paintBrush() {
    const { brush } = this;
    const { seen, painted } = this.state.value;
    brush.pen.fillStyle = colourOf("unseen");
    brush.pen.fillRect(0, 0, brush.canvas.width, brush.canvas.width);
    seen.forEach((place, i) => {
      const value = painted ? painted[i] : this.answer?.image?.[place];
      if (value !== undefined) brush.cell(place, grey(value));
    });
    const next = this.next();
    if (next !== null && !seen.includes(next)) brush.outline(next, colourOf("point"));
    if (this.cursor !== null && document.activeElement === brush.canvas) brush.outline(this.cursor, colourOf("focus"));
  }

  paint(name, what, raster) {
    const own = this.answer?.players[name];
    if (!own) return;
    const colour = colourOf(name);
    if (what === "mean") raster.greys(own.mean);
    else if (what === "sd") {
      raster.amounts(own.sd, MOST_SD, colour);
      for (const place of this.state.value.seen) raster.dot(place, colourOf("soft"));
      if (own.next !== null) raster.outline(own.next, colourOf("point"));
    } else {
      const values = this.drawn?.players[name]?.[Number(what.slice(4))];
      if (values) raster.greys(values);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.resting);
    const rasters = Object.values(this.panels).flatMap(({ rasters }) => Object.values(rasters));
    for (const { observer } of [this.brush, this.truth, ...rasters]) observer.disconnect();
  }
}
