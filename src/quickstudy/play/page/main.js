// The page: its tabs, and the activity that is open.

import { open as carts } from "./carts.js";
import { element } from "./dom.js";
import { open as functions } from "./functions.js";
import { open as images } from "./images.js";
import { open as navigation } from "./navigation.js";
import { attempt, notify } from "./net.js";
import { readAddress } from "./state.js";

const ACTIVITIES = {
  functions: ["Functions", functions],
  images: ["Images", images],
  navigation: ["Navigation", navigation],
  carts: ["Carts", carts],
};

let closing = () => {};

async function begin() {
  const setup = await attempt(async () => {
    const response = await fetch("setup");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.json();
  });
  if (!setup) return;
  window.quickstudy.setup = setup;
  const tabs = document.getElementById("tabs");
  for (const [name, [title]] of Object.entries(ACTIVITIES)) {
    if (!setup[name]) continue;
    tabs.append(element("button", { type: "button", id: `tab-${name}`, onclick: () => show(name, new URLSearchParams()) }, title));
  }
  window.addEventListener("hashchange", () => show(...readAddress()));
  window.addEventListener("keydown", shortcuts);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.quickstudy.redraw?.());
  show(...readAddress());
}

function show(name, parameters) {
  const { setup } = window.quickstudy;
  if (!(name in ACTIVITIES) || !setup[name]) [name, parameters] = ["functions", new URLSearchParams()];
  closing();
  for (const tab of document.querySelectorAll("#tabs button")) tab.setAttribute("aria-selected", String(tab.id === `tab-${name}`));
  const main = document.getElementById("main");
  main.replaceChildren();
  main.removeAttribute("aria-busy");
  closing = ACTIVITIES[name][1](main, setup[name], parameters) ?? (() => {});
}

function shortcuts(event) {
  if (event.target.matches?.("input[type=number], input[type=text], select") || event.altKey) return;
  const { actions } = window.quickstudy;
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  let name = null;
  if (control && key === "z") name = event.shiftKey ? "redo" : "undo";
  else if (control && key === "y") name = "redo";
  else if (!control) name = { u: "undo", r: "redo", d: "dice", s: "sample", c: "clear" }[key] ?? null;
  if (name && actions?.[name]) {
    event.preventDefault();
    actions[name]();
  }
}

window.quickstudy = { setup: null, actions: null, answer: null, notify };
begin();
