"""Answers about carts, against the library's own controllers and gymnasium's equations."""

from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.decide.control import Adapting, Control, Known
from quickstudy.decide.models import Fixed, Learned, Simulated
from quickstudy.decide.moment import Moment
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import mppi
from quickstudy.play import carts
from quickstudy.play.message import Message, MessageError
from quickstudy.recipes.cartpole.carts import environment, family

CART = {"masscart": 1.3, "masspole": 0.2, "length": 0.6, "force_mag": 12.0, "reversed": 1}
STATE = [0.02, -0.1, 0.03, 0.2]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return carts.answers()


def ask(answers: dict[str, Any], what: str, **fields: Any) -> dict[str, Any]:
    own = {"cart": CART, "driver": "np", **({"state": STATE} if what == "drive" else {})}
    found: dict[str, Any] = answers[f"carts/{what}"](Message(own | fields))
    return found


def pushed(state: list[float], push: int, cart: dict[str, float] = CART) -> tuple[list[float], bool]:
    """The next state by gymnasium's CartPole, and whether the episode ends."""
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    env.masscart, env.masspole, env.length = cart["masscart"], cart["masspole"], cart["length"]
    env.force_mag = cart["force_mag"] * (-1 if cart["reversed"] else 1)
    env.total_mass, env.polemass_length = env.masscart + env.masspole, env.masspole * env.length
    env.reset(seed=0)
    env.state = tuple(state)
    _, _, over, _, _ = env.step(push)
    return list(map(float, env.state)), over


def transitions(count: int) -> list[list[float]]:
    """Transitions of the cart under pushes to alternating sides, as rows of a message."""
    rows, state = [], [0.01, 0.0, -0.02, 0.03]
    for i in range(count):
        after, over = pushed(state, i // 2 % 2)
        rows.append([*state, i // 2 % 2, *after])
        state = [0.01, 0.0, -0.02, 0.03] if over else after
    return rows


def moments(rows: list[list[float]]) -> list[Moment]:
    """The same transitions as agents see them."""
    on, off = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    return [
        Moment(torch.tensor([r[:4]]), torch.tensor([int(r[4])]), torch.ones(1), torch.tensor([r[5:]]), off, on)
        for r in rows
    ]


def agent(driver: str, rows: list[list[float]], seed: int) -> Control:
    """The driver, put together from the library's parts; it sees the transitions one after another."""
    generator, encoding, env = torch.Generator().manual_seed(seed), family("gains").encoding, environment("gains")
    knowledge: Any
    if driver == "exact":
        task = {name: torch.tensor([v]) for name, v in CART.items() if name != "reversed"}
        task |= {"force_mag": torch.tensor([-CART["force_mag"]]), "gravity": torch.tensor([9.8])}
        knowledge = Known(Simulated(env, task))
    elif driver == "pretrained":
        knowledge = Known(Fixed(qs.load("pretrained/carts").network, encoding))
    else:
        knowledge = Adapting(
            qs.load("alpaca/carts" if driver == "alpaca" else "np/carts"), encoding, 1, generator=generator
        )
        if driver == "prior":
            knowledge = Known(Learned(knowledge.predictor, encoding))
    for moment in moments(rows):
        knowledge.see(moment)
    return Control(knowledge, mppi(), Balance.cartpole(), generator=generator)


@pytest.mark.parametrize("driver", sorted(carts.DRIVERS))
def test_a_driver_acts_as_the_library_does_and_states_are_gymnasiums(answers: dict[str, Any], driver: str) -> None:
    rows = transitions(6)
    ask(answers, "drive", driver=driver, seed=1, steps=1)  # an earlier message leaves nothing behind
    answer = ask(answers, "drive", driver=driver, seen=rows, seed=7, steps=5)
    control, state = agent(driver, rows, 7), STATE
    assert len(answer["actions"]) == 5
    for action, shown in zip(answer["actions"], answer["states"], strict=True):
        assert int(control.act(torch.tensor([state]))) == action
        after, over = pushed(state, action)
        assert shown == pytest.approx(after, abs=1e-9)
        control.see(moments([[*state, action, *after]])[0])
        state = after
    assert not answer["over"] and not over


def test_the_carts_are_those_of_the_recipe(answers: dict[str, Any]) -> None:
    garage, recipe = answers["carts/drive"].args[0], environment("gains")
    own, theirs = garage.env.config(), recipe.config()
    assert {**own, "horizon": None} == {**theirs, "horizon": None}
    encoding = family("gains").encoding
    assert torch.equal(garage.encoding.change_scale, encoding.change_scale)
    assert torch.equal(garage.encoding.state_scale, encoding.state_scale)


def test_after_as_many_transitions_as_in_training_no_more_are_read(answers: dict[str, Any]) -> None:
    answer = ask(answers, "drive", seen=transitions(carts.SEEN), steps=3)
    assert answer["warning"] is None  # the process would warn of more
    assert ask(answers, "drive", seen=transitions(carts.SEEN - 1), steps=3)["warning"] is None


def test_an_episode_ends_where_gymnasiums_does(answers: dict[str, Any]) -> None:
    state = [2.35, 1.5, 0.0, 0.0]
    answer = ask(answers, "drive", state=state, driver="exact")
    assert answer["over"] and len(answer["actions"]) == len(answer["states"]) < carts.STEPS
    for i, action in enumerate(answer["actions"]):
        state, over = pushed(state, action)
        assert over == (i == len(answer["actions"]) - 1)


@pytest.mark.parametrize("driver", ["np", "alpaca"])
def test_a_belief_is_that_of_the_learner_after_each_number_of_transitions(answers: dict[str, Any], driver: str) -> None:
    rows = transitions(12)
    answer = ask(answers, "believe", driver=driver, seen=rows)
    assert answer["counts"] == [0, 1, 2, 3, 4, 5, 6, 8, 10, 12]
    encoding, learner = family("gains").encoding, qs.load(f"{driver}/carts")
    for place, count in enumerate(answer["counts"]):
        belief = learner.adapt(told(rows[:count]), generator=torch.Generator().manual_seed(0))(rest())
        ends = {"mean": belief.mean, "low": belief.interval(0.9).lower, "high": belief.interval(0.9).upper}
        for part, component in carts.PARTS.items():
            for push in (0, 1):
                for end, value in ends.items():
                    expected = float(value[0, push, component] * encoding.change_scale[component])
                    found = answer["parts"][part]["belief"][push][end][place]
                    assert found == pytest.approx(expected, abs=1e-6), (count, part, push, end)


def rest() -> Tensor:
    """Inputs of an upright cart at rest, pushed left and right."""
    return family("gains").encoding.inputs(torch.zeros(1, 2, 4), torch.tensor([[0, 1]]))


def told(rows: list[list[float]]) -> Examples:
    table = torch.tensor(rows).reshape(1, -1, 9)
    return family("gains").encoding.examples(table[..., :4], table[..., 4].long(), table[..., 5:])


def test_the_truth_is_gymnasiums_and_only_who_looks_comes_near_it(answers: dict[str, Any]) -> None:
    found = {driver: ask(answers, "believe", driver=driver, seen=transitions(10)) for driver in carts.DRIVERS}
    for part, component in carts.PARTS.items():
        for push in (0, 1):
            truth = pushed([0.0] * 4, push)[0][component]
            own = {driver: answer["parts"][part] for driver, answer in found.items()}
            assert own["np"]["truth"][push] == pytest.approx(truth, abs=1e-9)
            beliefs = {driver: each["belief"][push] for driver, each in own.items()}
            miss = {driver: abs(belief["mean"][-1] - truth) for driver, belief in beliefs.items()}
            for looks in ("np", "alpaca"):
                wide = [high - low for low, high in zip(beliefs[looks]["low"], beliefs[looks]["high"], strict=True)]
                assert wide[-1] < 0.5 * wide[0]
                assert miss[looks] < 0.3 * abs(truth) < min(miss["prior"], miss["pretrained"])
            assert len(set(beliefs["prior"]["low"])) == 1
            assert beliefs["pretrained"]["low"] is None
            assert beliefs["exact"]["mean"] == beliefs["exact"]["low"] == [pytest.approx(truth, abs=1e-9)] * 9


def test_who_looks_balances_carts_that_push_either_way_and_who_does_not_drops_one(answers: dict[str, Any]) -> None:
    fallen: dict[str, list[bool]] = {"np": [], "prior": [], "pretrained": []}
    for driver, falls in fallen.items():
        for reversed_ in (0, 1):
            cart = CART | {"reversed": reversed_}
            falls.append(ask(answers, "drive", cart=cart, driver=driver, state=[0.0, 0.02, 0.03, 0.0])["over"])
    assert not any(fallen["np"])
    assert any(fallen["prior"]) and any(fallen["pretrained"])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"cart": CART | {"masscart": 3.1}}, "masscart is 3.1; expected a number from 0.1 to 3"),
        ({"cart": CART | {"force_mag": 0.0}}, "from 5 to 20"),
        ({"cart": CART | {"reversed": 2}}, "from 0 to 1"),
        ({"cart": [1.0]}, "expected a JSON object"),
        ({"state": None}, "lacks 'state'"),
        ({"state": [0.0, 0.0, 0.0]}, "a list of 4 numbers"),
        ({"state": [0.0, 0.0, float("inf"), 0.0]}, "from -100 to 100"),
        ({"steps": 26}, "a whole number from 1 to 25"),
        ({"steps": 0}, "a whole number from 1 to 25"),
        ({"driver": "nobody"}, "expected one of np"),
        ({"seed": -1}, "a whole number from 0"),
        ({"seen": transitions(1) * 51}, "a list of at most 50 rows of 9 numbers"),
        ({"seen": [[0.0] * 8]}, "a list of 9 numbers"),
        ({"seen": [[0.0] * 8 + [1e9]]}, "from -100 to 100"),
        ({"seen": ["x" * 9]}, "a list of 9 numbers"),
    ],
)
def test_a_message_beyond_its_bounds_is_refused(answers: dict[str, Any], fields: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        ask(answers, "drive", **fields)
