// The state of an activity: what the visitor has done. It is kept in the page's address and can be undone.

/** A state with a history. `write(state)` gives its parameters for the address, `changed()` is called after changes. */
class State {
  constructor(name, value, write, changed) {
    Object.assign(this, { name, value, write, changed, past: [], future: [] });
  }

  /** Replace some fields. With `keep`, the state before can be restored by undo. */
  set(fields, { keep = true } = {}) {
    if (keep) {
      this.past.push(this.value);
      if (this.past.length > 500) this.past.shift();
      this.future = [];
    }
    this.value = { ...this.value, ...fields };
    this.publish();
  }

  /** Remember the state as it is now, before a change in many small parts, such as dragging. */
  mark() {
    this.past.push(this.value);
    this.future = [];
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.value);
    this.value = this.past.pop();
    this.publish();
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.value);
    this.value = this.future.pop();
    this.publish();
  }

  publish() {
    const address = `#${this.name}?${this.write(this.value)}`;
    try {
      history.replaceState(null, "", address); // browsers limit how often this may be called
    } catch {
      clearTimeout(this.later);
      this.later = setTimeout(() => history.replaceState(null, "", address), 1000);
    }
    this.changed();
  }
}

/**
 * Open an activity: its state begins as `value`, and `make(state)` is its view, with build, update, redraw, close and
 * actions. Returns a function that closes it.
 */
export function present(name, value, write, make) {
  const state = new State(name, value, write, () => view.update());
  const view = make(state);
  view.build();
  state.publish();
  Object.assign(window.quickstudy, { state, redraw: () => view.redraw(), actions: view.actions });
  return () => view.close();
}

/** The activity and the parameters in the page's address. */
export function readAddress() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  return [name, new URLSearchParams(query)];
}

/** A number of an address within bounds, or `otherwise`. */
export function numberOr(text, low, high, otherwise) {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) && value >= low && value <= high ? value : otherwise;
}

/** Points "x,y;x,y" of an address. */
export function readPoints(text, most) {
  const pairs = (text ?? "").split(";").filter(Boolean).map((pair) => pair.split(",").map(Number));
  return pairs.filter((pair) => pair.length === 2 && pair.every(Number.isFinite)).slice(0, most);
}

export const writePoints = (points) => points.map(([x, y]) => `${brief(x)},${brief(y)}`).join(";");

/** A number without superfluous digits. */
export const brief = (value) => String(Number(value.toPrecision(5)));
