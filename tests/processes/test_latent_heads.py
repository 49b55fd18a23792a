"""Heads in processes with latent variables: each member has a belief of the head's kind; the whole is their mixture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from learner_table import masked
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.evaluation.scores import scores
from quickstudy.predictive import Bernoulli, Categorical, EvenMixture, Gaussian, GaussianMixture
from quickstudy.processes.latent import member_density

HEADS: dict[str, Any] = {
    "gaussian": qs.heads.GaussianHead(0.1),
    "mixture": qs.heads.MixtureHead(3),
    "low rank": qs.heads.LowRankHead(2),
    "dense": qs.heads.DenseHead(3),
    "bars": qs.heads.BarHead.between(-2, 2, 5),
    "categorical": qs.heads.CategoricalHead(3),
    "bernoulli": qs.heads.BernoulliHead(),
    "counts": qs.heads.CountHead(),
    "missing": qs.heads.WithMissing(qs.heads.GaussianHead()),
}
MODELS: dict[str, Callable[..., Any]] = {
    "NeuralProcess": lambda **o: qs.NeuralProcess(width=16, latent=4, encoder_depth=2, samples=5, **o),
    "deterministic": lambda **o: qs.NeuralProcess(width=16, encoder_depth=2, paths="deterministic", **o),
    "AttentiveNP": lambda **o: qs.AttentiveNP(width=16, latent=4, encoder_depth=2, heads=2, samples=5, **o),
    "ConvNP": lambda **o: qs.ConvNP(points_per_unit=4, channels=8, levels=2, latent=2, samples=5, **o),
}
PAIRS = [("NeuralProcess", name) for name in HEADS]
PAIRS += [(model, name) for model in MODELS for name in ("categorical", "missing", "low rank")][3:]
every_pair = pytest.mark.parametrize(("model", "name"), PAIRS)


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def outcomes(name: str, points: int) -> Tensor:
    """Possible outcomes `[3, points, 2]`; labels `[3, points]`."""
    noise = torch.randn(3, points, 2)
    if name == "categorical":
        return torch.randint(3, (3, points))
    if name == "missing":
        return noise.where(torch.rand(3, points, 2) > 0.4, torch.nan)
    return {"bernoulli": (noise > 0).double(), "counts": (3 * noise).abs().floor()}.get(name, noise)


def drawn(name: str) -> Tasks:
    x, y = torch.rand(3, 9, 1) * 4 - 2, outcomes(name, 9)
    return Tasks(Examples(x[:, :5], y[:, :5]), Examples(x[:, 5:], y[:, 5:]))


def made(model: str, name: str, **options: Any) -> Any:
    """A process whose outputs depend on its inputs, as the last layers of new ones are near zero."""
    process = MODELS[model](dy=1 if name == "categorical" else 2, head=HEADS[name], **options)
    with torch.no_grad():
        for module in process.modules():
            if isinstance(module, nn.Linear) and module.weight.abs().max() < 0.02:
                module.weight.mul_(100)
    return process


@every_pair
def test_every_head_in_every_latent_process(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    support, query = tasks.support, tasks.query
    process.meta_loss(tasks).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
    predictor = process.adapt(support, generator=torch.Generator().manual_seed(0))
    belief = predictor(query.x)
    wide = (3,) if name == "categorical" else (2,)
    assert belief.mean.shape == belief.variance.shape == (3, 4, *wide)
    assert belief.log_prob(query.y).shape == (3, 4) and belief.log_prob(query.y).isfinite().all()
    assert belief.log_prob(query.y, joint=True).shape == (3,)
    assert belief.sample(2).shape == (2, *query.y.shape) and belief.sample(2).dtype == query.y.dtype
    assert (belief.mean - process.adapt(support.first(0))(query.x).mean).abs().max() > 1e-4
    parts = process.append(process.encode(support.first(2)), Examples(support.x[:, 2:], support.y[:, 2:]))
    again = process.predict(
        parts, query.x, **{} if process.deterministic else {"generator": torch.Generator().manual_seed(0)}
    )
    torch.testing.assert_close(again.mean, belief.mean)
    if model != "deterministic":
        functions = predictor.functions(5, torch.Generator().manual_seed(0))
        torch.testing.assert_close(functions(query.x).mean(0), belief.mean)  # the same random numbers
        assert functions[2](query.x).shape == (3, 4, *wide)
    assert {"log_likelihood", "joint_log_likelihood"} <= set(scores(belief, query))


@every_pair
def test_padding_changes_nothing(model: str, name: str) -> None:
    process, tasks = made(model, name, **{} if model == "deterministic" else {"objective": "ml"}), drawn(name)
    if name == "categorical":  # padding may hold any label
        mask = torch.arange(5) < torch.tensor([3, 5, 0])[:, None]
        dirty = Examples(tasks.support.x, tasks.support.y.where(mask, -7), mask)
    else:
        dirty = masked(tasks.support, [3, 5, 0])
    x = tasks.query.x
    whole = process.encode(dirty)
    for i, known in enumerate((3, 5, 0)):
        one = process.encode(tasks.select(i).support.first(known))
        if model == "deterministic":
            torch.testing.assert_close(process.predict(whole, x).mean[[i]], process.predict(one, x[[i]]).mean)
            continue
        noise = process.noise(5, x, torch.Generator().manual_seed(0))
        outputs = process.member_outputs(whole, process.members(whole, noise), x)[:, [i]]
        alone = process.member_outputs(one, process.members(one, noise[:, [i]]), x[[i]])
        torch.testing.assert_close(outputs, alone)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "ml"])
def test_the_objective_of_labels_is_that_of_the_likelihood(objective: str) -> None:
    """A Bernoulli head against a categorical one with two classes, which has other parameters."""
    process, tasks = made("NeuralProcess", "categorical", objective=objective), drawn("categorical")
    output = torch.randn(6, 3, 4, 3)

    expected = Categorical(output.flatten(0, 1)).log_prob(tasks.query.y.repeat(6, 1)).sum(1).view(6, 3)
    torch.testing.assert_close(member_density(process, output, tasks.query), expected)
    assert process.meta_loss(tasks).isfinite()


def test_of_normal_members_it_is_the_mixture_of_normals() -> None:
    mean, variance, y = torch.randn(6, 2, 4), torch.rand(6, 2, 4) + 0.1, torch.randn(2, 2, 4)
    one = EvenMixture(Gaussian(mean, variance), 3)
    other = GaussianMixture(mean.view(3, 2, 2, 4), variance.view(3, 2, 2, 4))
    mask = torch.tensor([[True, False], [True, True]])
    for get in (
        lambda b: b.mean,
        lambda b: b.variance,
        lambda b: b.log_prob(y),
        lambda b: b.log_prob(y, mask),
        lambda b: b.log_prob(y, mask, joint=True),
        lambda b: b.cdf(y),
        lambda b: b.rescale(2.0, -3.0).mean,
    ):
        torch.testing.assert_close(get(one), get(other))
    draws, chance = 20_000, torch.Generator().manual_seed(0)
    found = one.sample(draws, chance)
    torch.testing.assert_close(found.mean(0), one.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(found.var(0), one.variance, atol=0.08, rtol=0.08)


def test_a_draw_has_one_member_at_all_points_of_a_task() -> None:
    sure = torch.tensor([-50.0, 50.0]).view(2, 1, 1, 1).expand(2, 3, 4, 1)  # members all 0, or all 1
    belief = EvenMixture(Bernoulli(sure.flatten(0, 1)), 2)
    draws = belief.sample(200, torch.Generator().manual_seed(0))
    assert (draws == draws[:, :, :1]).all() and 0.4 < draws.mean() < 0.6
    ones = torch.ones(3, 4, 1)
    torch.testing.assert_close(belief.log_prob(ones, joint=True).exp(), torch.full((3,), 0.5))
    torch.testing.assert_close(belief.log_prob(ones).exp(), torch.full((3, 4), 0.5))
    assert not hasattr(belief, "logits") and belief.quantile(0.6).min() == 1


def test_class_probabilities_are_the_mean_over_members() -> None:
    members = Categorical(torch.randn(6, 4, 3))
    belief = EvenMixture(members, 2)
    torch.testing.assert_close(belief.probs, members.probs.view(2, 3, 4, 3).mean(0))
    torch.testing.assert_close(belief.logits.exp(), belief.probs)
    torch.testing.assert_close(belief.variance, belief.probs * (1 - belief.probs))


def test_a_latent_process_is_saved_with_its_head(tmp_path: Any) -> None:
    process = made("AttentiveNP", "categorical")
    qs.save(process, tmp_path / "p")
    assert qs.load(tmp_path / "p").head == process.head
    with pytest.raises(TypeError, match="call the class"):
        qs.NeuralProcess(head=qs.heads.BernoulliHead)
