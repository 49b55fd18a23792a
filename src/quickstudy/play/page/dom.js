// Small helpers to build the page.

/** An element with properties and children; properties that begin with `on` are event handlers. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, own] of Object.entries(value)) made.style.setProperty(key, own);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A labelled slider. `input(value)` is called while it moves, `begin()` before the first change. */
export function slider({ name, title, low, high, log = false, step = null, value, begin, input, format }) {
  const shown = format ?? ((v) => String(Number(v.toPrecision(3))));
  const parts = 200;
  const to = (v) => (step ? v : log ? (parts * Math.log(v / low)) / Math.log(high / low) : (parts * (v - low)) / (high - low));
  const from = (s) => (step ? s : log ? low * (high / low) ** (s / parts) : low + ((high - low) * s) / parts);
  const output = element("output", {}, shown(value));
  const range = element("input", {
    type: "range", min: step ? low : 0, max: step ? high : parts, step: step ?? 1, "data-name": name, "aria-label": title,
  });
  range.value = to(value);
  let moving = false;
  range.addEventListener("input", () => {
    if (!moving) begin();
    moving = true;
    const now = from(Number(range.value));
    output.textContent = shown(now);
    range.setAttribute("aria-valuetext", shown(now));
    input(now);
  });
  range.addEventListener("change", () => (moving = false));
  const made = element("label", { className: "slider" }, element("span", {}, title), output, range);
  made.update = (v) => {
    if (!moving) range.value = to(v);
    output.textContent = shown(v);
  };
  return made;
}

/** The colour of a learner, from the style sheet, for the current theme. */
export function colourOf(name) {
  const style = getComputedStyle(document.documentElement);
  return style.getPropertyValue(`--${name}`).trim() || style.getPropertyValue("--other").trim();
}
