// A plot on a canvas: axes, a band, curves and points, and where the pointer is in the units of the axes.

import { colourOf, element } from "./dom.js";

const MARGIN = { left: 34, right: 8, top: 8, bottom: 30 };

export class Plot {
  /** `labels`, if given, are [x, words] in place of numbers along x. */
  constructor({ x, y, axes, scale, height = 230, label, labels = null }) {
    Object.assign(this, { x, y, axes, scale, height, labels });
    this.canvas = element("canvas", { tabIndex: 0, role: "application", "aria-label": label });
    this.canvas.style.height = `${height}px`;
    this.fit = () => {}; // sets x and y by the size of the plot, before it is drawn
    this.paint = () => {};
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.canvas);
  }

  /** Draw again by `paint(plot)`. */
  redraw() {
    const box = this.canvas.getBoundingClientRect();
    const width = Math.round(box.width);
    if (!width) return;
    const dense = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * dense), Math.round(this.height * dense)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    this.width = width;
    this.fit();
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(dense, 0, 0, dense, 0, 0);
    this.pen.clearRect(0, 0, width, this.height);
    this.frame();
    this.pen.save();
    this.pen.beginPath();
    this.pen.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, this.height - MARGIN.top - MARGIN.bottom);
    this.pen.clip();
    this.paint(this);
    this.pen.restore();
  }

  /** Pixels within the axes. */
  get inner() {
    return [this.width - MARGIN.left - MARGIN.right, this.height - MARGIN.top - MARGIN.bottom];
  }

  /** Widen or narrow x around its middle until its units are as long as those of y. */
  equalise() {
    const [wide, high] = this.inner;
    const middle = (this.x[0] + this.x[1]) / 2;
    const half = ((this.y[1] - this.y[0]) / 2) * (wide / high);
    this.x = [middle - half, middle + half];
  }

  across(x) {
    return MARGIN.left + ((x - this.x[0]) / (this.x[1] - this.x[0])) * (this.width - MARGIN.left - MARGIN.right);
  }

  down(y) {
    return MARGIN.top + ((this.y[1] - y) / (this.y[1] - this.y[0])) * (this.height - MARGIN.top - MARGIN.bottom);
  }

  /** The place of a pointer event in the units of the axes, within them. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const depth = (event.clientY - box.top - MARGIN.top) / (this.height - MARGIN.top - MARGIN.bottom);
    const within = (value) => Math.min(1, Math.max(0, value));
    return [
      this.x[0] + within(share) * (this.x[1] - this.x[0]),
      this.y[1] - within(depth) * (this.y[1] - this.y[0]),
    ];
  }

  /** How many pixels two places are apart. */
  apart(a, b) {
    return Math.hypot(this.across(a[0]) - this.across(b[0]), this.down(a[1]) - this.down(b[1]));
  }

  frame() {
    const { pen } = this;
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = colourOf("grid");
    pen.fillStyle = colourOf("soft");
    pen.textAlign = "center";
    const numbers = () => ticks(this.x[0] * this.scale, this.x[1] * this.scale, this.width / 70).map((x) => [x / this.scale, String(x)]);
    for (const [x, words] of this.labels ?? numbers()) {
      const at = this.across(x);
      this.line([[at, MARGIN.top], [at, this.height - MARGIN.bottom]]);
      pen.fillText(words, at, this.height - MARGIN.bottom + 13);
    }
    pen.textAlign = "right";
    for (const y of ticks(...this.y, this.height / 45)) {
      const at = this.down(y);
      this.line([[MARGIN.left, at], [this.width - MARGIN.right, at]]);
      pen.fillText(String(y), MARGIN.left - 4, at + 4);
    }
    pen.textAlign = "center";
    pen.fillText(this.axes[0], (MARGIN.left + this.width) / 2, this.height - 3);
    pen.save();
    pen.translate(9, (this.height - MARGIN.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(this.axes[1], 0, 0);
    pen.restore();
  }

  line(places) {
    const { pen } = this;
    pen.beginPath();
    places.forEach(([a, b], i) => (i ? pen.lineTo(a, b) : pen.moveTo(a, b)));
    pen.stroke();
  }

  /** A curve through the points (xs[i], ys[i]); missing ys interrupt it. */
  curve(xs, ys, { colour, width = 2, dash = [], alpha = 1 }) {
    const { pen } = this;
    pen.save();
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.globalAlpha = alpha;
    pen.lineJoin = "round";
    pen.setLineDash(dash);
    pen.beginPath();
    let begun = false;
    xs.forEach((x, i) => {
      if (ys[i] === null) begun = false;
      else if (begun) pen.lineTo(this.across(x), this.down(ys[i]));
      else (begun = true), pen.moveTo(this.across(x), this.down(ys[i]));
    });
    pen.stroke();
    pen.restore();
  }

  /** The area between two curves. */
  band(xs, low, high, colour) {
    const { pen } = this;
    if (low.includes(null) || high.includes(null)) return;
    pen.save();
    pen.beginPath();
    xs.forEach((x, i) => (i ? pen.lineTo(this.across(x), this.down(high[i])) : pen.moveTo(this.across(x), this.down(high[i]))));
    for (let i = xs.length - 1; i >= 0; i--) pen.lineTo(this.across(xs[i]), this.down(low[i]));
    pen.closePath();
    pen.fillStyle = colour;
    pen.globalAlpha = 0.2;
    pen.fill();
    pen.restore();
  }

  /** A dot with a rim that sets it off from what lies below. */
  dot([x, y], { radius = 4.5, colour = colourOf("point"), rim = colourOf("ground") } = {}) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(this.across(x), this.down(y), radius, 0, 2 * Math.PI);
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = 1.5;
    pen.strokeStyle = rim;
    pen.stroke();
  }

  /** A mark at the lower edge: here the belief is widest. */
  mark(x, colour) {
    const { pen } = this;
    const [at, base] = [this.across(x), this.height - MARGIN.bottom];
    pen.save();
    pen.strokeStyle = colour;
    pen.setLineDash([2, 4]);
    pen.lineWidth = 1.2;
    this.line([[at, MARGIN.top], [at, base]]);
    pen.restore();
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(at, base - 9);
    pen.lineTo(at - 6, base);
    pen.lineTo(at + 6, base);
    pen.fill();
  }

  /** A star of five points. */
  star([x, y], colour) {
    const { pen } = this;
    pen.beginPath();
    for (let i = 0; i < 10; i++) {
      const [angle, size] = [(i * Math.PI) / 5 - Math.PI / 2, i % 2 ? 4.5 : 11];
      pen.lineTo(this.across(x) + size * Math.cos(angle), this.down(y) + size * Math.sin(angle));
    }
    pen.closePath();
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = 1.5;
    pen.strokeStyle = colourOf("ground");
    pen.stroke();
  }

  /** Words that begin at a place. */
  text([x, y], words, colour) {
    const { pen } = this;
    pen.font = "13px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.fillStyle = colour;
    pen.fillText(words, this.across(x), this.down(y));
  }

  /** Where the keyboard's cursor is. */
  cross([x, y]) {
    const { pen } = this;
    const [a, b] = [this.across(x), this.down(y)];
    pen.strokeStyle = colourOf("focus");
    pen.lineWidth = 2;
    this.line([[a - 9, b], [a + 9, b]]);
    this.line([[a, b - 9], [a, b + 9]]);
  }
}

/** Round numbers between two ends, about `count` of them. */
export function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * size).find((k) => k >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(6)));
  return found;
}
