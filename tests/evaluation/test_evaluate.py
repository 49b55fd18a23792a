"""Evaluation against numpy, closed forms, and learners whose answers are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy import predictive
from quickstudy.evaluation.evaluate import Metric, evaluate, over_seeds
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.evaluation.scores import LEVELS, calibration_error, scores


class Noise:
    """Standard normal outputs; every place after the task's own size is padding that holds NaN."""

    def __init__(self, masked: bool = False):
        self.masked = masked

    def sample(
        self, num_tasks: int, *, support: int, query: int, split: str = "train", generator: Any = None
    ) -> qs.Tasks:
        """`num_tasks` tasks of pure noise."""
        sets = []
        for n in (support, query):
            x, y = (torch.randn(num_tasks, n, 1, generator=generator) for _ in "xy")
            mask = None
            if self.masked:
                mask = torch.arange(n) < torch.arange(num_tasks)[:, None] % 3 + 1
                y = torch.where(mask[:, :, None], y, math.nan)
            sets.append(qs.Examples(x, y, mask))
        return qs.Tasks(*sets)


class Normal(torch.nn.Module):
    """Believes in a normal of one standard deviation, whatever it is shown."""

    def __init__(self, sd: float = 1.0):
        super().__init__()
        self.sd = torch.nn.Parameter(torch.tensor(sd))
        self.seen: list[Any] = []

    def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
        """Not used here."""
        raise NotImplementedError

    def adapt(
        self, support: qs.Examples, *, steps: Any = None, create_graph: bool = False, generator: Any = None
    ) -> Any:
        """The same belief for all."""
        self.seen.append((support.num_points, support.x, self.training, torch.is_grad_enabled()))
        return lambda x: predictive.Gaussian(torch.zeros_like(x), self.sd.square().expand_as(x))


class Stepping(Normal):
    """The same, with an inner loop."""

    steps = 3


def test_the_interval_is_that_of_numpy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=600)
    metric = over_tasks(torch.from_numpy(values))
    assert metric.mean == pytest.approx(values.mean())
    assert metric.ci95 == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(600))
    assert (metric.n, metric.over) == (600, "tasks")
    assert metric.values is not None
    assert metric.to_json() == {"mean": metric.mean, "ci95": metric.ci95, "n": 600, "over": "tasks"}


def test_one_task_has_no_interval_and_json_has_no_nan() -> None:
    metric = over_tasks(torch.tensor([2.0]))
    assert math.isnan(metric.ci95)
    assert metric.to_json() == {"mean": 2.0, "ci95": None, "n": 1, "over": "tasks"}


@pytest.mark.parametrize("n", [3, 5, 12, 16, 17, 31, 101])
def test_over_seeds_uses_students_t(n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(n).normal(size=n)
    metric = over_seeds([{"mse": {"mean": v, "ci95": 9.0}, "own": 1.0} for v in values])["mse"]
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert metric.mean == pytest.approx(values.mean())
    assert metric.ci95 == pytest.approx((high - low) / 2, rel=3e-4)  # the table has three decimals
    assert metric.over == "seeds"


def test_two_seeds_have_no_interval() -> None:
    metric = over_seeds([{"mse": 1.0}, {"mse": 3.0}])["mse"]
    assert metric.mean == 2.0 and math.isnan(metric.ci95)
    assert metric.to_json() == {"mean": 2.0, "ci95": None, "n": 2, "over": "seeds"}


def test_over_seeds_counts_the_tasks_of_each_seed() -> None:
    each = Metric(1.0, 0.1, 600, "tasks")
    assert over_seeds([{"mse": each}, {"mse": each.to_json()}])["mse"].to_json()["tasks"] == 600
    assert over_seeds([{"mse": each}, {"mse": each._replace(n=9)}])["mse"].tasks is None
    assert over_seeds([{"mse": each}, {"mse": 1.0}])["mse"].tasks is None


def test_over_seeds_keeps_what_all_have() -> None:
    combined = over_seeds([{"a": Metric(1.0, 0.1, 9, "tasks"), "b": 2.0}, {"a": 3.0}])
    assert list(combined) == ["a"]
    assert combined["a"].mean == 2.0
    with pytest.raises(ValueError, match="no results"):
        over_seeds([])


def test_a_perfect_belief_is_calibrated_and_its_likelihood_is_the_entropy() -> None:
    found = evaluate(Normal(), Noise(), tasks=400, support=5, query=50)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    for name in ("log_likelihood/k=5", "joint_log_likelihood/k=5"):
        assert found[name].mean == pytest.approx(-entropy, abs=4 * found[name].ci95)
    assert found["mse/k=5"].mean == pytest.approx(1, abs=0.05)
    assert found["coverage90/k=5"].mean == pytest.approx(0.9, abs=0.01)
    assert found["calibration_error/k=5"].mean < 0.01
    assert found["mse/k=5"].n == 400
    assert 1.96 * math.sqrt(2 / 50) / math.sqrt(400) == pytest.approx(
        found["mse/k=5"].ci95, rel=0.15
    )  # var of chi^2/50


def test_overconfidence_is_measured() -> None:
    """With half the true sd, a central p-interval covers 2 Phi(z_p / 2) - 1."""
    normal = torch.distributions.Normal(0, 1)
    nominal = torch.tensor(LEVELS)
    covered = 2 * normal.cdf(normal.icdf((1 + nominal) / 2) / 2) - 1
    found = evaluate(Normal(0.5), Noise(), tasks=300, support=5, query=50)
    metric = found["calibration_error/k=5"]
    assert metric.mean == pytest.approx((nominal - covered).mean().item(), abs=0.02)
    assert abs(metric.mean - (nominal - covered).mean().item()) < 2 * metric.ci95
    assert found["coverage90/k=5"].mean == pytest.approx(0.589, abs=0.02)  # 2 Phi(1.645 / 2) - 1


def test_the_jackknife_agrees_with_fresh_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [(torch.rand(200, 1, generator=generator) * 0.8 < torch.tensor(LEVELS)).double() for _ in range(300)]
    metrics = [calibration_error(sample) for sample in samples]
    spread = torch.tensor([m.mean for m in metrics]).std().item()
    assert metrics[0].ci95 / 1.96 == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(
    "wrap", [lambda belief: belief, predictive.PartlyObserved, lambda belief: predictive.EvenMixture(belief, 1)]
)
@pytest.mark.parametrize("count", [True, False])
def test_the_coverage_of_whole_numbers_is_nominal_for_draws_of_the_belief(wrap: Any, count: bool) -> None:
    """Summed over all outcomes with their probabilities; a share of those inside an interval would be larger."""
    y = torch.arange(200 if count else 2, dtype=torch.float64).view(-1, 1, 1)
    logits = torch.full_like(y, 1.1)
    belief = predictive.NegativeBinomial(logits, torch.full_like(y, 0.7)) if count else predictive.Bernoulli(logits)
    probability = belief.log_prob(y)[:, 0].exp()
    found = scores(wrap(belief), qs.Examples(y, y))
    assert float(probability @ found["coverage90"]) == pytest.approx(0.9, abs=1e-6)
    torch.testing.assert_close(
        probability @ found["calibration_error"], torch.tensor(LEVELS).double(), atol=1e-6, rtol=0
    )


def test_masked_points_do_not_count() -> None:
    family, learner = Noise(masked=True), Normal()
    found = evaluate(learner, family, tasks=30, support=4, query=3, batch=30)
    tasks = family.sample(30, support=4, query=3, generator=torch.Generator().manual_seed(7))
    belief = learner.adapt(tasks.support)(tasks.query.x)
    mine = scores(belief, tasks.query)
    for t in range(30):
        y = tasks.query.y[t, : t % 3 + 1, 0]
        assert mine["mse"][t].item() == pytest.approx(y.square().mean().item())
        ours = torch.distributions.Normal(0, 1).log_prob(y)
        assert mine["log_likelihood"][t].item() == pytest.approx(ours.mean().item(), rel=1e-5)
        assert mine["joint_log_likelihood"][t].item() == pytest.approx(ours.mean().item(), rel=1e-5)
        assert mine["coverage90"][t].item() == pytest.approx((y.abs() < 1.6449).float().mean().item())
    assert all(math.isfinite(metric.mean) for metric in found.values())


def test_smaller_support_sets_are_the_beginning_of_larger_ones_in_eval_mode() -> None:
    learner = Normal()
    first = evaluate(learner, Noise(), tasks=5, support=(2, 0, 6), query=3)
    (small, x2, _, _), (middle, xm, _, _), (large, x6, training, grad) = sorted(learner.seen, key=lambda seen: seen[0])
    assert (small, middle, large) == (0, 2, 6)
    assert torch.equal(xm, x6[:, :2])
    assert x2.shape == (5, 0, 1)
    assert (training, grad, learner.training) == (False, True, True)
    assert {first[f"mse/k={k}"].mean for k in (0, 2, 6)} == {first["mse/k=0"].mean}


def test_steps_are_named_for_learners_that_have_them() -> None:
    found = evaluate(Stepping(), Noise(), tasks=4, support=2, query=2)
    assert [name for name in found if name.startswith("mse")] == [f"mse/k=2/steps={s}" for s in (0, 1, 3, 10)]
    assert set(evaluate(Stepping(), Noise(), tasks=4, support=2, query=2, steps=5)) >= {"mse/k=2/steps=5"}
    with pytest.raises(ValueError, match="leave steps out"):
        evaluate(Normal(), Noise(), steps=1)


class Attending(Normal):
    """Points see each other, padding included."""

    def adapt(
        self, support: qs.Examples, *, steps: Any = None, create_graph: bool = False, generator: Any = None
    ) -> Any:
        """Believes that each output is the mean of all inputs, that of the support set and the query's."""
        level = support.x.mean(1, keepdim=True) if support.num_points else 0
        return lambda x: predictive.Gaussian((x.mean(1, keepdim=True) + level).expand_as(x), torch.ones_like(x))


class Descending(Normal):
    """Adapts by autograd, and names no number of steps."""

    def adapt(
        self, support: qs.Examples, *, steps: Any = None, create_graph: bool = False, generator: Any = None
    ) -> Any:
        """One step on the support set."""
        (slope,) = torch.autograd.grad((support.y - self.sd).square().mean(), [self.sd])
        return lambda x: predictive.Gaussian((self.sd - slope).expand_as(x), torch.ones_like(x))


class Twice:
    """Draws another number of tasks than was asked for."""

    def sample(self, num_tasks: int, **options: Any) -> qs.Tasks:
        """Twice as many."""
        return Noise().sample(2 * num_tasks, **options)


def test_padding_never_reaches_the_learner() -> None:
    family = Noise(masked=True)
    drawn: list[qs.Tasks] = []

    class Recorded:
        def sample(self, *arguments: Any, **options: Any) -> qs.Tasks:
            drawn.append(family.sample(*arguments, **options))
            return drawn[-1]

    values = evaluate(Attending(), Recorded(), tasks=9, support=4, query=3, batch=4)["mse/k=4"].values
    assert values is not None
    for t in range(9):
        support, query = (examples.x[t][examples.mask[t]] for examples in drawn[0][:2])
        y = drawn[0].query.y[t][drawn[0].query.mask[t]]
        assert values[t].item() == pytest.approx((y - support.mean() - query.mean()).square().mean().item(), rel=1e-4)


def test_a_learner_may_need_gradients_to_adapt() -> None:
    with torch.no_grad():
        found = evaluate(Descending(), Noise(), tasks=4, support=2, query=2)
    assert not any(metric.values.requires_grad for metric in found.values() if metric.values is not None)


def test_a_frozen_learner_and_one_without_parameters_are_measured() -> None:
    frozen = qs.CNP(width=4).requires_grad_(False)
    assert evaluate(frozen, Noise(), tasks=4, support=2, query=2)["mse/k=2"].n == 4
    bare = Normal()
    del bare.sd
    bare.sd = torch.tensor(1.0)
    assert evaluate(bare, Noise(), tasks=4, support=2, query=2)["mse/k=2"].n == 4


def test_the_batch_changes_nothing_but_memory() -> None:
    learner = qs.MAML(qs.nets.MLP(1, [4], 1))
    options: dict[str, Any] = {
        "tasks": np.int64(110),
        "seed": np.int64(1),
        "support": np.int64(3),
        "query": 4,
        "steps": (0, 2),
    }
    found = [evaluate(learner, qs.tasks.Sinusoid(), batch=batch, **options) for batch in (7, 100, 1000)]
    for name, metric in found[0].items():
        assert [other[name].mean for other in found[1:]] == pytest.approx([metric.mean] * 2, rel=1e-5)


class SupportAlone(Normal):
    def adapt(self, support):
        raise AssertionError("is not called")


def test_a_learner_that_takes_a_support_set_alone_is_refused() -> None:
    with pytest.raises(TypeError, match=r"SupportAlone.adapt cannot be called with \(support, \*, steps, generator\)"):
        evaluate(SupportAlone(), qs.tasks.Sinusoid(), tasks=4)


def test_a_family_that_draws_another_number_is_refused() -> None:
    with pytest.raises(ValueError, match="drew 8 tasks where 4 were asked for"):
        evaluate(Normal(), Twice(), tasks=4)
    with pytest.raises(TypeError, match=r"family is the class Sinusoid; make one: Sinusoid\(\)"):
        evaluate(Normal(), qs.tasks.Sinusoid)  # type: ignore[arg-type]


def test_evaluation_repeats_and_leaves_the_callers_random_numbers_alone() -> None:
    learner, family = qs.NeuralProcess(width=8), qs.tasks.Sinusoid()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    found = [evaluate(learner, family, tasks=6, support=3, query=4, batch=4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(2), expected)
    assert {k: m.mean for k, m in found[0].items()} == {k: m.mean for k, m in found[1].items()}
    assert found[0]["mse/k=3"].mean != found[2]["mse/k=3"].mean


def test_evaluating_leaves_no_gradient_and_no_graph() -> None:
    learner = qs.MAML(qs.nets.MLP(1, [4], 1))
    found = evaluate(learner, qs.tasks.Sinusoid(), tasks=4, support=3, query=4, grid=True)
    assert all(p.grad is None for p in learner.parameters())
    assert all(not m.values.requires_grad for m in found.values() if m.values is not None)
    assert {name.split("/")[0] for name in found} == {"mse"}  # squared error has no density


@pytest.mark.parametrize("family", [qs.tasks.Sinusoid(noise=0.1), qs.tasks.GaussianProcess()], ids=repr)
@pytest.mark.parametrize("grid", [False, True])
def test_tasks_do_not_depend_on_the_other_support_sizes(family: Any, grid: bool) -> None:
    learner = qs.MAML(qs.nets.MLP(1, [4], 1))
    alone, together = (
        evaluate(learner, family, tasks=120, support=support, query=9, grid=grid, steps=(0, 1))
        for support in (3, (1, 3, 11))
    )
    for name, metric in alone.items():
        assert metric.values is not None and together[name].values is not None
        torch.testing.assert_close(metric.values, together[name].values, atol=1e-4, rtol=1e-4)


def test_an_oracles_likelihood_is_that_of_each_support_size() -> None:
    family = qs.tasks.GaussianProcess()
    found = evaluate(Normal(), family, tasks=40, support=(1, 20), query=10)
    assert found["oracle_log_likelihood/k=20"].mean > found["oracle_log_likelihood/k=1"].mean
    assert "oracle_joint_log_likelihood/k=1" in found


def test_classes_have_accuracy() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [2.0, 0.0]]])
    query = qs.Examples(torch.zeros(2, 2, 1), torch.tensor([[0, 1], [1, 0]]))
    found = scores(predictive.Categorical(logits), query)
    assert found["accuracy"].tolist() == [1.0, 0.5]
    right, wrong = -math.log1p(math.exp(-2)), -math.log1p(math.exp(2))
    assert found["log_likelihood"].tolist() == pytest.approx([right, (right + wrong) / 2])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tasks": 0}, "tasks=0"),
        ({"support": ()}, "support is empty"),
        ({"support": -1}, "support=-1"),
        ({"query": 0}, "query=0"),
        ({"split": "holdout"}, "unknown split 'holdout'"),
        ({"grid": True}, "has no grid"),
        ({"device": "gpu"}, "unknown device"),
        ({"grid": "x"}, "grid='x'; expected True or False"),
        ({"support": None}, "support=None; expected a whole number"),
        ({"support": 2.5}, r"support=2\.5; expected a whole number"),
        ({"support": "5"}, "support='5'; expected a whole number"),
    ],
)
def test_bad_arguments_are_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        evaluate(Normal(), Noise(), **options)
    assert "\n" not in str(caught.value)


class Recorder(torch.nn.Module):
    """Predicts zeros, and keeps the support sets and queries that it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[tuple[list[float], list[float]]] = []

    def meta_loss(self, tasks: Any, **options: Any) -> torch.Tensor:
        """Never called."""
        raise NotImplementedError

    def adapt(self, support: Any, **options: Any) -> Any:
        """Keep the support set."""

        def predict(x: torch.Tensor) -> Any:
            self.met += [(a, b) for a, b in zip(support.x[..., 0].tolist(), x[..., 0].tolist(), strict=True)]
            return predictive.Point(torch.zeros_like(x))

        return predict


@pytest.mark.parametrize("order", ["first", "random"])
def test_given_groups_are_measured_once_each(order: Any) -> None:
    """Draws with replacement from three groups are not 600 groups, and would give an interval that is far too small."""
    sizes = {f"g{i}": 6 + i % 3 for i in range(20)} | {"short": 3}
    rows = [(name, i, 10.0 * place + i) for place, (name, n) in enumerate(sizes.items()) for i in range(n)]
    columns = dict(zip(("who", "t", "v"), zip(*rows, strict=True), strict=True))
    split = {"train": [f"g{i}" for i in range(16)], "test": ["g16", "g17", "g18", "g19", "short"]}
    table = qs.tasks.Table.from_columns(columns, task="who", x="t", y="v", splits=split, order=order)
    learner = Recorder()
    with pytest.warns(RuntimeWarning, match="support=4: 1 of the 5 tasks of the test split .* are left out"):
        found = evaluate(learner, table, support=(1, 4), tasks=600)
    assert {name: metric.n for name, metric in found.items()} == {"mse/k=1": 4, "mse/k=4": 4}
    small, large = (sorted(pair for pair in learner.met if len(pair[0]) == k) for k in (1, 4))
    assert len(small) == len(large) == 4
    assert sorted(sorted(b) for _, b in small) == sorted(sorted(b) for _, b in large)  # judged on the same rows
    assert sum(len(b) for _, b in large) == sum(sizes[name] - 4 for name in split["test"][:4])
