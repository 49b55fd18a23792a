// A small image on a canvas: square cells, some of them outlined, and where the pointer is.

import { colourOf, element } from "./dom.js";

export class Raster {
  constructor(side, properties = {}) {
    this.side = side;
    this.canvas = element("canvas", { className: "raster", ...properties });
    this.paint = () => {};
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.canvas);
  }

  /** Draw again by `paint(raster)`. */
  redraw() {
    const width = Math.round(this.canvas.getBoundingClientRect().width * (window.devicePixelRatio || 1));
    if (!width) return;
    if (this.canvas.width !== width) Object.assign(this.canvas, { width, height: width });
    this.pen = this.canvas.getContext("2d");
    this.pen.clearRect(0, 0, width, width);
    this.paint(this);
  }

  /** The cell of a pointer event, row by row; null outside. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const [column, row] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) => Math.floor(v * this.side));
    const within = (v) => v >= 0 && v < this.side;
    return within(column) && within(row) ? row * this.side + column : null;
  }

  edge(number) {
    return Math.round((number * this.canvas.width) / this.side);
  }

  box(place) {
    const [row, column] = [Math.floor(place / this.side), place % this.side];
    const [left, top] = [this.edge(column), this.edge(row)];
    return [left, top, this.edge(column + 1) - left, this.edge(row + 1) - top];
  }

  /** Fill cells with greys from 0 (black) to 1 (white). */
  greys(values) {
    values.forEach((value, place) => this.cell(place, grey(value)));
  }

  /** Fill cells with more of a colour the larger the value is; `most` and more is all of it. */
  amounts(values, most, colour) {
    const { pen } = this;
    pen.fillStyle = colourOf("ground");
    pen.fillRect(0, 0, this.canvas.width, this.canvas.width);
    values.forEach((value, place) => {
      pen.globalAlpha = Math.min(1, value / most);
      this.cell(place, colour);
    });
    pen.globalAlpha = 1;
  }

  cell(place, colour) {
    this.pen.fillStyle = colour;
    this.pen.fillRect(...this.box(place));
  }

  /** A small dot in a cell: here a pixel was seen. */
  dot(place, colour) {
    const [left, top, width, height] = this.box(place);
    this.pen.fillStyle = colour;
    this.pen.fillRect(left + width * 0.36, top + height * 0.36, width * 0.28, height * 0.28);
  }

  /** An outline around a cell, with a rim that sets it off from light and dark neighbours. */
  outline(place, colour) {
    const { pen } = this;
    const [left, top, width, height] = this.box(place);
    const wide = Math.max(2, this.canvas.width / 110);
    for (const [rim, line] of [[colourOf("ground"), 2 * wide], [colour, wide]]) {
      pen.strokeStyle = rim;
      pen.lineWidth = line;
      pen.strokeRect(left, top, width, height);
    }
  }
}

export function grey(value) {
  const level = Math.round(255 * Math.min(1, Math.max(0, value)));
  return `rgb(${level}, ${level}, ${level})`;
}
