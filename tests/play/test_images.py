"""Images: what the page is told equals what the learners say, and messages have bounds."""

import sys
import time
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.play.images import answers as images
from quickstudy.play.images import gallery
from quickstudy.play.images.built_in import built_in, in_rounds
from quickstudy.play.images.gallery import PIXELS, SETS, SIDE
from quickstudy.play.message import Message, MessageError

SEEN = [5, 200, 17, 120, 121, 136, 90]
NAMES = {"conv": "grid-conv-cnp/digits", "np": "np/digits"}


@pytest.fixture(scope="module")
def players() -> dict[str, Any]:
    return built_in()


def asked(players: Any, what: str = "complete", **fields: Any) -> Any:
    return {"complete": images.complete, "draw": images.draw}[what](
        players, Message({"set": "typed", "seed": 4, "seen": SEEN, **fields})
    )


def place(i: int) -> list[float]:
    """x of a pixel, from its row and column."""
    return [2 * (i // SIDE) / (SIDE - 1) - 1, 2 * (i % SIDE) / (SIDE - 1) - 1]


def support_of(grey: list[float]) -> Examples:
    """The seen pixels, for grey levels from 0 to 1 of which there are 16."""
    y = torch.tensor([(15 * value + 0.5) / 16 - 0.5 for value in grey])
    return Examples(torch.tensor([[place(i) for i in SEEN]]), y.reshape(1, -1, 1))


X = torch.tensor([[place(i) for i in range(PIXELS)]])


@pytest.mark.parametrize("player", NAMES)
@pytest.mark.parametrize("painted", [None, [0, 1, 1, 0, 1, 0, 0]])
def test_an_answer_is_what_the_learner_says(players: Any, player: str, painted: list[float] | None) -> None:
    found = asked(players, painted=painted)
    image = found["image"]
    assert (image is None) == (painted is not None)
    grey = painted or [image[i] for i in SEEN]
    generator = torch.Generator().manual_seed(4)
    belief = qs.load(NAMES[player]).adapt(support_of(grey), generator=generator)(X)
    own = found["players"][player]
    assert torch.allclose(torch.tensor(own["mean"]), belief.mean[0, :, 0] + 0.5, atol=1e-6)
    assert torch.allclose(torch.tensor(own["sd"]), belief.variance[0, :, 0].sqrt(), atol=1e-6)
    hidden = [i for i in range(PIXELS) if i not in SEEN]
    assert own["next"] == max(hidden, key=lambda i: own["sd"][i])
    if painted:
        assert "rmse" not in own and "inside" not in own
        return
    y = torch.tensor([(15 * value + 0.5) / 16 - 0.5 for value in image]).reshape(1, -1, 1)
    interval = belief.interval(0.9)
    inside = ((y >= interval.lower) & (y <= interval.upper))[0, hidden].double().mean()
    assert own["inside"] == pytest.approx(float(inside), abs=1e-9)
    assert own["log_likelihood"] == pytest.approx(float(belief.log_prob(y)[0, hidden].mean()), abs=1e-5)
    assert own["rmse"] == pytest.approx(float((belief.mean - y)[0, hidden].square().mean().sqrt()), abs=1e-6)


def test_the_hidden_image_depends_on_the_seed_alone(players: Any) -> None:
    first, again, other = asked(players)["image"], asked(players, seen=[])["image"], asked(players, seed=5)["image"]
    assert first == again != other and len(first) == PIXELS
    assert all(15 * value == pytest.approx(round(15 * value), abs=1e-6) for value in first)


def test_all_pixels_may_be_seen_or_none(players: Any) -> None:
    for own in asked(players, seen=list(range(PIXELS)))["players"].values():
        assert own["next"] is None and "rmse" not in own
    for own in asked(players, seen=[])["players"].values():
        assert own["next"] is not None and own["rmse"] > 0
    drawn = asked(players, "draw", seen=list(range(PIXELS)), count=1)["players"]
    assert all(len(images) == 1 for images in drawn.values())


def test_drawn_images_have_the_pixels_that_were_seen(players: Any) -> None:
    image = asked(players)["image"]
    found = asked(players, "draw", count=2)["players"]
    assert set(found) == set(players)
    for drawn in found.values():
        assert len(drawn) == 2 and drawn[0] != drawn[1]
        for one in drawn:
            assert [one[i] for i in SEEN] == pytest.approx([(15 * image[i] + 0.5) / 16 for i in SEEN], abs=1e-6)


def test_rounds_of_one_pixel_each_are_the_chain_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the package's own chain rule: the means given two drawn pixels have the same mean and spread."""
    learner = qs.GridConvCNP((3, 3), channels=4, blocks=1, head=qs.heads.GaussianHead(0.5))
    with torch.no_grad():
        for weight in learner.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    line = torch.linspace(-1, 1, 3)
    x = torch.cartesian_prod(line, line)
    support = Examples(x[:1].unsqueeze(0), torch.ones(1, 1, 1))
    monkeypatch.setattr("quickstudy.play.images.built_in.ROUNDS", (1, 1))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        drawn = in_rounds(learner, support, 3000, x[None, [1, 5]], generator)
    chain = learner.adapt(support).autoregressive(order="given", samples=1)(x[None, [1, 5]])
    values = chain.sample(3000, torch.Generator().manual_seed(2))[:, 0]
    means = learner.adapt(Examples(x[[0, 1, 5]].expand(3000, -1, -1), torch.cat([torch.ones(3000, 1, 1), values], 1)))(
        x[None, [1, 5]].expand(3000, -1, -1)
    ).mean[..., 0]
    assert torch.allclose(drawn.mean(0), means.mean(0), atol=0.06)
    assert torch.allclose(drawn.std(0), means.std(0), rtol=0.15)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"set": "faces"}, "set is 'faces'; expected one of typed, handwritten"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"seed": None}, "the message lacks 'seed'"),
        ({"seen": "all"}, "seen is 'all'; expected a list of at most 256 whole numbers"),
        ({"seen": [0] * 257}, "expected a list of at most 256"),
        ({"seen": [1, 256]}, "seen has the entry 256; expected a whole number from 0 to 255"),
        ({"seen": [1, True]}, "seen has the entry True"),
        ({"seen": [1, 2.5]}, "seen has the entry 2.5"),
        ({"seen": [1, 1]}, "seen has a place twice"),
        ({"painted": [1]}, "painted is .1.; expected a list of 7 numbers"),
        ({"painted": [2] + [0] * 6}, "expected a number from 0 to 1"),
        ({"count": 7}, "count is 7; expected a whole number from 1 to 6"),
    ],
)
def test_wrong_messages(players: Any, fields: dict[str, Any], match: str) -> None:
    with pytest.raises(MessageError, match=match):
        asked(players, "draw", **fields)


def test_handwriting_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    gallery._handwriting.cache_clear()
    data = load_digits()
    for seed in (3, 3 + len(data.images)):
        small = SETS["handwritten"].image(seed).double().view(8, 2, 8, 2).mean((1, 3)) / 15
        assert float((small - torch.as_tensor(data.images[3]) / 16).abs().max()) < 0.35
        assert torch.corrcoef(torch.stack([small.flatten(), torch.as_tensor(data.images[3]).flatten()]))[0, 1] > 0.95
    gallery._handwriting.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MessageError, match=r'pip install "quickstudy\[images\]"'):
        SETS["handwritten"].image(3)
    gallery._handwriting.cache_clear()


def test_no_hidden_digit_is_one_of_training() -> None:
    from quickstudy.tasks.typed_digits import typed_digits

    known = typed_digits(2_000).images.flatten(1).long()
    for seed in range(20):
        assert not bool((known == SETS["typed"].image(seed)).all(1).any())


def test_an_answer_takes_little_time(players: Any) -> None:
    """Time of the processor, least of several, so that other tests do not count: some 20 ms on one core of 2020."""
    took = []
    for seed in range(5):
        begun = time.thread_time()
        asked(players, seed=seed)
        took.append(time.thread_time() - begun)
    assert min(took) < 0.09
