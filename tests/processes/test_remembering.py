"""Functions of conditional processes, each of which remembers the values that it has returned."""

from typing import Any

import pytest
import torch
from learner_table import Lines, made

from quickstudy.data import Examples, Tasks
from quickstudy.predictive.parts.memory import local_generator

NAMES = ["CNP", "CNP, mixture", "IncTNP", "ConvCNP", "NeuralProcess, deterministic"]


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def drawn(name: str, tasks: Tasks, n: int = 6, seed: int = 0) -> tuple[Any, Any]:
    predictor: Any = made(name).adapt(tasks.support)
    return predictor, predictor.functions(n, torch.Generator().manual_seed(seed))


def counted(process: Any, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The numbers of points in the states that `process.append` makes from now on."""
    seen, append = [], type(process).append

    def spied(self: Any, state: Any, examples: Examples) -> Any:
        made = append(self, state, examples)
        seen.append(made.seen)
        return made

    monkeypatch.setattr(type(process), "append", spied)
    return seen


@pytest.mark.parametrize("name", [*NAMES, "TNPA", "FlowNP"])
def test_the_same_input_has_the_same_value(name: str, tasks: Tasks) -> None:
    _, functions = drawn(name, tasks)
    x = tasks.query.x
    values = functions(x)
    assert torch.equal(functions(x), values)
    assert torch.equal(functions[2](x[:, [3, 0]]), values[2][:, [3, 0]])
    twice = functions(torch.cat([x, x + 0.5, x], 1))
    assert torch.equal(twice[:, :, :4], values) and torch.equal(twice[:, :, 8:], values)
    assert values.std(0).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_values_follow_the_beliefs_given_the_values_before(name: str, tasks: Tasks) -> None:
    predictor, functions = drawn(name, tasks, n=4000)
    x = tasks.query.x
    first = functions(x[:, :1])
    belief = predictor(x[:, :1])
    torch.testing.assert_close(first.mean(0), belief.mean, atol=4 * float(belief.variance.max() / 4000) ** 0.5, rtol=0)
    second = functions(x[:, 1:2])
    seen = [predictor.append(Examples(x[:, :1], value))(x[:, 1:2]) for value in first[:300]]
    inside = torch.stack([b.cdf(v) for b, v in zip(seen, second[:300], strict=True)])  # uniform, if they fit
    assert (inside.sort(0).values - torch.linspace(0, 1, 300).view(-1, 1, 1, 1)).abs().max() < 0.13


@pytest.mark.parametrize("name", ["TNPA", "FlowNP"])
def test_joint_processes_draw_the_values_of_a_call_together(
    name: str, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, functions = drawn(name, tasks, n=1)
    seen = counted(predictor.process, monkeypatch)
    x, chance = tasks.query.x, local_generator(torch.Generator().manual_seed(0), torch.device("cpu"))
    once = functions(torch.cat([x, x[:, :2]], 1))
    wanted = predictor(torch.cat([x, x[:, :2]], 1)).sample(1, chance)
    assert torch.equal(once[:, :, :4], wanted[:, :, :4]) and torch.equal(once[:, :, 4:], once[:, :, :2])
    later = functions(torch.cat([x[:, 1:2], x[:, :1] + 0.5], 1))
    assert torch.equal(later[:, :, :1], once[:, :, 1:2])
    assert seen[-1].tolist() == [10, 10, 10]  # 5 support points, and each input once


def test_a_point_that_one_task_knows_and_others_do_not(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, functions = drawn("CNP", tasks)
    seen = counted(predictor.process, monkeypatch)
    x = tasks.query.x[:, :1]
    values = functions(x)
    other = torch.cat([x[:1], x[1:] + 0.25])
    mixed = functions(other)
    assert torch.equal(mixed[:, :1], values[:, :1]) and not torch.equal(mixed[:, 1:], values[:, 1:])
    assert torch.equal(functions(other), mixed) and torch.equal(functions(x), values)
    # the first task has one point more than its support set, the others two
    assert seen[-1].view(6, 3).tolist() == [[6, 7, 7]] * 6


def test_the_generator_alone_decides(tasks: Tasks) -> None:
    x = tasks.query.x
    one, again, other = (drawn("CNP", tasks, seed=seed)[1] for seed in (0, 0, 1))
    values = one(x)
    torch.rand(3)
    assert torch.equal(again(x), values) and not torch.equal(other(x), values)
    assert torch.equal(one(x + 1), again(x + 1))


def test_no_inputs(tasks: Tasks) -> None:
    _, functions = drawn("CNP", tasks)
    assert functions(tasks.query.x[:, :0]).shape == (6, 3, 0, 1)
    with pytest.raises(ValueError, match="x has shape"):
        functions(tasks.query.x[:2])
