// A cart with a pole: its equations, the pushes of a visitor as a short text, and how it is drawn.

import { colourOf } from "./dom.js";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BITS = 6; // in a digit

/** The state after a push to the left (0) or the right (1): Euler steps of the equations of `quickstudy.rl.CartPole`. */
export function step([x, speed, angle, spin], push, cart, physics) {
  const force = cart.force_mag * (cart.reversed ? -1 : 1) * (push ? 1 : -1);
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const moment = (cart.masspole * cart.length) / (cart.masscart + cart.masspole);
  const pushed = force / (cart.masscart + cart.masspole) + moment * spin * spin * sin;
  const spinning = (physics.gravity * sin - pushed * cos) / ((4 / 3) * cart.length - moment * cos * cos);
  const speeding = pushed - moment * spinning * cos;
  return [x + physics.tau * speed, speed + physics.tau * speeding, angle + physics.tau * spin, spin + physics.tau * spinning];
}

export const fallen = ([x, , angle], physics) => Math.abs(x) > physics.edge || Math.abs(angle) > physics.leaning;

/** The first state of an episode: four numbers within 0.05, by the seed and the number of the episode. */
export function start(seed, episode) {
  let chance = (Math.imul(seed, 2654435761) + Math.imul(episode + 1, 40503)) >>> 0;
  return [0, 1, 2, 3].map(() => {
    chance = (chance + 0x6d2b79f5) >>> 0; // the generator mulberry32
    let word = Math.imul(chance ^ (chance >>> 15), chance | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return (((word ^ (word >>> 14)) >>> 0) / 4294967296 - 0.5) / 10;
  });
}

/** The states of an episode with these pushes: the first, and one after each push, until it ends. */
export function replay(pushes, first, cart, physics) {
  const states = [first];
  for (const push of pushes) {
    if (fallen(states[states.length - 1], physics) || states.length > physics.horizon) break;
    states.push(step(states[states.length - 1], push, cart, physics));
  }
  return states;
}

/** Episodes of pushes as a text: for each its length, "~" and six pushes a digit; episodes are joined by ".". */
export function writePushes(episodes) {
  return episodes.map((pushes) => {
    let text = `${pushes.length}~`;
    for (let i = 0; i < pushes.length; i += BITS) text += DIGITS[pushes.slice(i, i + BITS).reduce((sum, push, bit) => sum + (push << bit), 0)];
    return text;
  }).join(".");
}

/** The episodes of such a text; what is no such text gives none. */
export function readPushes(text, most, horizon) {
  const episodes = (text ?? "").split(".").slice(0, most).map((part) => {
    const [length, digits = ""] = part.split("~");
    const bits = [...digits].flatMap((digit) => [...Array(BITS).keys()].map((bit) => (DIGITS.indexOf(digit) >> bit) & 1));
    return bits.slice(0, Math.min(Number(length) || 0, horizon));
  });
  return episodes.length ? episodes : [[]];
}

/** Draw the cart on a plot whose units are metres. With `shown`, its sizes are those of its masses. */
export function drawCart(plot, [x, , angle], { cart, shown, push, colour, physics }) {
  const { pen } = plot;
  const unit = plot.across(1) - plot.across(0);
  const [wide, high] = shown ? [0.25 + 0.15 * cart.masscart, 0.15 + 0.05 * cart.masscart] : [0.45, 0.22];
  const length = shown ? 2 * cart.length : 1;
  const [at, ground] = [plot.across(x), plot.down(0)];
  pen.save();
  pen.strokeStyle = colourOf("truth");
  pen.lineWidth = 2;
  plot.line([[plot.across(-physics.edge), ground], [plot.across(physics.edge), ground]]);
  for (const edge of [-physics.edge, physics.edge]) plot.line([[plot.across(edge), ground - 12], [plot.across(edge), ground + 6]]);
  pen.setLineDash([3, 5]);
  pen.lineWidth = 1;
  const top = ground - high * unit;
  const tip = (lean) => [at + length * unit * Math.sin(lean), top - length * unit * Math.cos(lean)];
  for (const lean of [-physics.leaning, physics.leaning]) plot.line([[at, top], tip(lean)]);
  pen.setLineDash([]);
  pen.fillStyle = colour;
  pen.fillRect(at - (wide * unit) / 2, top, wide * unit, high * unit);
  pen.strokeStyle = colourOf("ink");
  pen.lineCap = "round";
  pen.lineWidth = shown ? 4 + 10 * Math.sqrt(cart.masspole) : 8;
  plot.line([[at, top], tip(angle)]);
  pen.restore();
  if (push !== null) arrow(plot, at + ((push ? 1 : -1) * wide * unit) / 2, ground - (high * unit) / 2, push ? 1 : -1);
}

/** An arrow that shows which key was pressed; a reversed cart goes the other way. */
function arrow(plot, from, height, way) {
  const { pen } = plot;
  const tip = from + way * 44;
  pen.strokeStyle = pen.fillStyle = colourOf("focus");
  pen.lineWidth = 4;
  plot.line([[from + way * 8, height], [tip - way * 8, height]]);
  pen.beginPath();
  pen.moveTo(tip, height);
  pen.lineTo(tip - way * 12, height - 8);
  pen.lineTo(tip - way * 12, height + 8);
  pen.fill();
}
