"""Answers to messages about a cart of unknown physics: a learner that drives it, and what it believes of a push."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.decide.control import Adapting, Control, Knowledge, Known
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.models import Fixed, Simulated
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import mppi
from quickstudy.decide.transitions import Transitions
from quickstudy.play.functions.scene import Slider
from quickstudy.play.message import Message
from quickstudy.play.server import Answer
from quickstudy.rl.envs.cartpole import EDGE, LEANING, TAU

STEPS = 25  # that a message may ask for, half a second
SEEN = 50  # transitions that a learner is told of, at most; in training it saw no more
COUNTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, SEEN)  # transitions after which a belief is shown
LEVEL = 0.9  # of the intervals
FAR = 100.0  # the largest number in a state
PARTS = {"speed": 1, "spin": 3}  # of a change of state: of the cart's speed, and of the pole's angular velocity
GRAVITY = 9.8  # m/s²
LARGEST_SEED = 1_000_000_000
DIGITS = 12

SLIDERS = (
    Slider("masscart", 0.1, 3.0, "cart mass, kg"),
    Slider("masspole", 0.01, 1.0, "pole mass, kg"),
    Slider("length", 0.25, 1.0, "half the pole's length, m"),
    Slider("force_mag", 5.0, 20.0, "force of a push, N"),
)
USUAL = {"masscart": 1.0, "masspole": 0.1, "length": 0.5, "force_mag": 10.0}  # the cart that is shown first
Tasks = dict[str, Tensor]


class Driver(NamedTuple):
    """Somebody who drives the cart.

    Args:
        title: its name in words.
        note: what it knows, one sentence.
        name: the name under which its learner comes with the package; empty for none.
        knows: what it plans with, "seen" (the transitions seen), "nothing", "average" (a network that is the same for
            all carts) or "truth".
    """

    title: str
    note: str
    name: str
    knows: str


READS = "It reads every transition seen, and plans with what it believes."
REFITS = "Its Bayesian last layer is refitted to every transition seen."
BLIND = "The same Neural Process, told of no transition: it believes what it believed at first."
AVERAGE = "One network, trained on all carts alike, for every cart: the plain rival."
KNOWS = "Plans with the true equations: nobody can do better."
DRIVERS = {
    "np": Driver("Neural Process", READS, "np/carts", "seen"),
    "alpaca": Driver("ALPaCA", REFITS, "alpaca/carts", "seen"),
    "prior": Driver("Never adapts", BLIND, "np/carts", "nothing"),
    "pretrained": Driver("Average cart", AVERAGE, "pretrained/carts", "average"),
    "exact": Driver("Knows the cart", KNOWS, "", "truth"),
}


class Garage(NamedTuple):
    """What answers need.

    Args:
        env: carts of all kinds.
        encoding: of their transitions as examples.
        learners: by name.
    """

    env: Any
    encoding: Encoding
    learners: Mapping[str, Any]


def setup() -> dict[str, Any]:
    """What the page needs to know of the activity, for JSON."""
    drivers = {name: {"title": d.title, "note": d.note, "knows": d.knows} for name, d in DRIVERS.items()}
    physics = {"tau": TAU, "edge": EDGE, "leaning": LEANING, "gravity": GRAVITY, "horizon": 500}
    limits = {"steps": STEPS, "seen": SEEN}
    sliders = [slider._asdict() | {"usual": USUAL[slider.name]} for slider in SLIDERS]
    return {"drivers": drivers, "physics": physics, "limits": limits, "sliders": sliders}


def answers() -> dict[str, Answer]:
    """The functions that answer messages about carts."""
    ranges: Any = {slider.name: (slider.low, slider.high) for slider in SLIDERS}
    env = qs.rl.CartPole(**ranges, flip=0.5, num_envs=1)  # the carts of training
    names = sorted({driver.name for driver in DRIVERS.values() if driver.name})
    garage = Garage(env, Transitions(env, both_signs=True).encoding, {name: qs.load(name) for name in names})
    return {"carts/drive": partial(drive, garage), "carts/believe": partial(believe, garage)}


def drive(garage: Garage, message: Message) -> dict[str, Any]:
    """Some steps of a driver: its actions and the states that follow, until the episode ends.

    The message has `cart` (what is hidden of it), `state`, `driver`, and optionally `seen` (the transitions so far),
    `steps` (their number) and `seed` (of the driver's random numbers).
    """
    task = _cart(message.part("cart"))
    state = torch.tensor([message.numbers("state", 4, -FAR, FAR)], dtype=torch.float64)
    driver = DRIVERS[message.choice("driver", DRIVERS)]
    steps = message.whole("steps", 1, STEPS, STEPS)
    generator = torch.Generator().manual_seed(message.whole("seed", 0, LARGEST_SEED, 0))
    seen = _seen(garage.encoding, message)
    actions, states, over = list[int](), list[list[float]](), False
    with _warnings() as warned:
        knowledge = _knowledge(garage, driver, task, seen, generator)
        control = Control(knowledge, mppi(), Balance.cartpole(), generator=generator)
        while len(actions) < steps and not over:
            action = control.act(state.float())
            following, reward, ended = garage.env.dynamics(task, state, action)
            here = Moment(state.float(), action, reward.float(), following.float(), ended, torch.ones_like(ended))
            control.see(here)
            state, over = following, bool(ended)
            actions.append(int(action))
            states.append(_numbers(state[0]))
    return {"actions": actions, "states": states, "over": over, "warning": _first(warned)}


def believe(garage: Garage, message: Message) -> dict[str, Any]:
    """What a driver believes that a push does to an upright cart at rest, after more and more transitions.

    The message is that of `drive`, without `state` and `steps`. The answer has the `counts` of transitions, and for
    the changes of the cart's `speed` (m/s) and the pole's `spin` (rad/s) in one step, for a push left and one right:
    the mean and the ends of the interval after each count, and the truth.
    """
    task = _cart(message.part("cart"))
    driver = DRIVERS[message.choice("driver", DRIVERS)]
    seen = _seen(garage.encoding, message)
    counts = sorted({count for count in COUNTS if count < seen.num_points} | {seen.num_points})
    rest, push = torch.zeros(1, 2, 4, dtype=torch.float64), torch.tensor([[0, 1]])
    truth = (garage.env.dynamics(task, rest, push)[0] - rest)[0]
    with _warnings() as warned:
        mean, low, high = _belief(garage, driver, seen, counts, garage.encoding.inputs(rest.float(), push), truth)
    parts = {}
    for name, place in PARTS.items():
        ends = {"mean": mean, "low": low, "high": high}
        sides = [
            {end: None if value is None else _numbers(value[:, side, place]) for end, value in ends.items()}
            for side in range(2)
        ]
        parts[name] = {"truth": _numbers(truth[:, place]), "belief": sides}
    return {"counts": counts, "parts": parts, "warning": _first(warned)}


def _belief(
    garage: Garage, driver: Driver, seen: Examples, counts: list[int], x: Tensor, truth: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The mean and the ends of the interval `[counts, 2, 4]` of the change of state; None for ends that there are not.

    Args:
        garage: learners, and the scales of changes.
        driver: whose belief.
        seen: transitions of one task.
        counts: numbers of them.
        x: the inputs `[1, 2, 5]`, a push left and one right.
        truth: the true changes `[2, 4]`.
    """
    number = len(counts)
    if driver.knows == "truth":
        exact = truth.expand(number, -1, -1)
        return exact, exact, exact
    scale = garage.encoding.change_scale
    learner = garage.learners[driver.name]
    with torch.no_grad():
        if driver.knows == "average":
            return (learner.network(x[0]) * scale).expand(number, -1, -1), None, None
        beliefs = [
            learner.adapt(seen.first(count), generator=torch.Generator().manual_seed(0))(x)
            for count in (counts if driver.knows == "seen" else [0])
        ]
        ends = [(belief.mean, *belief.interval(LEVEL)) for belief in beliefs]
    mean, low, high = ((torch.cat(end) * scale).expand(number, -1, -1) for end in zip(*ends, strict=True))
    return mean, low, high


def _knowledge(garage: Garage, driver: Driver, task: Tasks, seen: Examples, generator: torch.Generator) -> Knowledge:
    """What a driver plans with."""
    if driver.knows == "truth":
        return Known(Simulated(garage.env, {name: value.float() for name, value in task.items()}))
    learner = garage.learners[driver.name]
    if driver.knows == "average":
        return Known(Fixed(learner.network, garage.encoding))
    left = SEEN - seen.num_points if driver.knows == "seen" else 0
    knowledge = Adapting(learner, garage.encoding, 1, most=max(left, 1), generator=generator)
    if driver.knows == "seen" and seen.num_points:
        knowledge.predictor = knowledge.predictor.append(seen)
    return knowledge if left else Known(knowledge.model())


def _cart(told: Message) -> Tasks:
    """The physics of the message's cart, in double precision, which the page's own equations have, too."""
    values = {slider.name: told.number(slider.name, slider.low, slider.high) for slider in SLIDERS}
    values["force_mag"] *= 1 - 2 * told.whole("reversed", 0, 1, 0)
    return {name: torch.tensor([v], dtype=torch.float64) for name, v in (values | {"gravity": GRAVITY}).items()}


def _seen(encoding: Encoding, message: Message) -> Examples:
    """The message's transitions: rows of a state, the action (0 left, 1 right) and the state after it."""
    rows = torch.tensor(message.rows("seen", SEEN, 9, -FAR, FAR), dtype=torch.float64).reshape(1, -1, 9)
    state, action, following = rows.float().split([4, 1, 4], -1)
    return encoding.examples(state, (action[..., 0] > 0.5).long(), following)


def _warnings() -> Any:
    return warnings.catch_warnings(record=True, action="always")


def _first(warned: list[Any]) -> str | None:
    return " ".join(str(warned[0].message).split()) if warned else None


def _numbers(values: Tensor) -> list[float]:
    return [round(v, DIGITS) for v in values.double().tolist()]
