"""Outcomes of which some outputs are missing: in every conditional process, against data without them."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from learner_table import SMALL
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.predictive import Gaussian, PartlyObserved

HEADS: dict[str, Any] = {
    "gaussian": qs.heads.GaussianHead(),
    "mixture": qs.heads.MixtureHead(3),
    "low rank": qs.heads.LowRankHead(2),
    "dense": qs.heads.DenseHead(3),
    "bars": qs.heads.BarHead.between(-2, 2, 5),
    "bernoulli": qs.heads.BernoulliHead(),
    "counts": qs.heads.CountHead(),
}
MODELS: dict[str, Any] = {
    "CNP": lambda **o: qs.CNP(width=16, encoder_depth=2, **o),
    "AttentiveCNP": lambda **o: qs.AttentiveCNP(width=16, encoder_depth=2, heads=2, **o),
    "RelativeCNP": lambda **o: qs.RelativeCNP(width=16, pairs=True, **o),
    "ConvCNP": lambda **o: qs.ConvCNP(points_per_unit=4, channels=8, levels=2, **o),
    "TNP": lambda **o: qs.TNP(**SMALL, **o),
    "TNPA": lambda **o: qs.TNPA(**SMALL, **o),
    "IncTNP": lambda **o: qs.IncTNP(**SMALL, **o),
    "LBANP": lambda **o: qs.LBANP(**SMALL, latents=3, **o),
    "TETNP": lambda **o: qs.TETNP(**SMALL, **o),
}
PAIRS = [(model, "gaussian") for model in MODELS] + [("CNP", name) for name in HEADS if name != "gaussian"]
every_pair = pytest.mark.parametrize(("model", "name"), PAIRS)


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def drawn(name: str) -> Tasks:
    """Tasks of two outputs, of which each is missing at some points, and both at the last but one."""
    x, noise = torch.rand(3, 10, 1) * 4 - 2, torch.randn(3, 10, 2)
    y = {"bernoulli": (noise > 0).double(), "counts": (3 * noise).abs().floor()}.get(name, noise)
    y[:, ::3, 0] = torch.nan
    y[:, 1::4, 1] = torch.nan
    y[1, :5, 1] = torch.nan  # never seen in the support set
    y[:, [3, 8]] = torch.nan
    return Tasks(Examples(x[:, :5], y[:, :5]), Examples(x[:, 5:], y[:, 5:]))


def made(model: str, name: str) -> Any:
    process = MODELS[model](dy=2, head=qs.heads.WithMissing(HEADS[name]))
    with torch.no_grad():
        for module in process.modules():
            if isinstance(module, nn.Linear) and module.weight.abs().max() < 0.02:
                module.weight.mul_(100)
    return process


def without(examples: Examples, place: int) -> Examples:
    """The points but one."""
    kept = [i for i in range(examples.num_points) if i != place]
    return Examples(examples.x[:, kept], examples.y[:, kept])


@every_pair
def test_missing_outputs_in_every_model(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    support, query = tasks.support, tasks.query
    loss = process.meta_loss(tasks)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
    # a point without outputs is no point
    alone = Tasks(without(support, 3), without(query, 3))
    torch.testing.assert_close(process.meta_loss(alone), loss)
    predictor = process.adapt(support)
    torch.testing.assert_close(process.adapt(alone.support)(query.x).mean, predictor(query.x).mean)
    # the values that are there, and which are missing, both matter
    other, less = support.y.clone(), support.y.clone()
    other[0, 2, 1], less[0, 2, 1] = (1.0 if support.y[0, 2, 1] == 0 else 0.0), torch.nan
    for changed in (other, less):
        assert (
            process.adapt(support._replace(y=changed))(query.x).mean[0] - predictor(query.x).mean[0]
        ).abs().max() > 1e-6
    belief = predictor(query.x)
    assert belief.mean.shape == (3, 5, 2) and belief.sample(2).isfinite().all()
    state = process.append(process.encode(support.first(2)), Examples(support.x[:, 2:], support.y[:, 2:]))
    if model != "TNPA":
        density = belief.log_prob(query.y, joint=process.head.joint)
        assert density.isfinite().all() and (process.head.joint or not density[:, 3].any())
    torch.testing.assert_close(process.predict(state, query.x).mean, belief.mean)


@every_pair
def test_padding_changes_nothing(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    sizes = torch.tensor([[4, 2], [5, 5], [1, 4]])
    real = [torch.arange(5) < sizes[:, [i]] for i in (0, 1)]
    dirty = [
        Examples(e.x.where(m.unsqueeze(-1), torch.nan), e.y.where(m.unsqueeze(-1), fill), m)
        for e, m, fill in zip(tasks[:2], real, (torch.nan, 0.5), strict=True)
    ]
    padded = process.meta_loss(Tasks(*dirty))
    parts = [tasks.select(i) for i in range(3)]
    alone = [
        process.meta_loss(Tasks(one.support.first(int(n)), one.query.first(int(m))))
        for one, (n, m) in zip(parts, sizes, strict=True)
    ]
    torch.testing.assert_close(padded, torch.stack(alone).mean())


@every_pair
def test_complete_data_have_the_density_of_the_head(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    y = tasks.query.y.nan_to_num(1.0)
    belief = process.adapt(tasks.support)(tasks.query.x)
    inner = process.head.head(process.outputs(process.encode(tasks.support), tasks.query.x), 2)
    torch.testing.assert_close(belief.log_prob(y), inner.log_prob(y))
    if model != "TNPA":
        torch.testing.assert_close(belief.log_prob(y, joint=True), inner.log_prob(y, joint=True))


@pytest.mark.parametrize("name", ["gaussian", "mixture", "counts"])
@pytest.mark.parametrize("model", ["CNP", "IncTNP"])
def test_joint_predictions_and_functions(model: str, name: str) -> None:
    process, tasks = made(model, name), drawn(name)
    (x, y, _), predictor = tasks.query, process.adapt(tasks.support)
    joint = predictor.autoregressive(order="given", samples=3)(x)
    total, known = torch.zeros(3), tasks.support
    for m in range(5):
        total = total + process.adapt(known)(x[:, [m]]).log_prob(y[:, [m]])[:, 0]
        known = known.append(Examples(x[:, [m]], y[:, [m]]))
    torch.testing.assert_close(joint.log_prob(y, joint=True), total)
    assert joint.sample(2).isfinite().all() and joint.mean.isfinite().all()
    functions = predictor.functions(2, torch.Generator().manual_seed(0))
    values = functions(x)
    assert values.shape == (2, 3, 5, 2) and values.isfinite().all() and torch.equal(functions(x), values)


@pytest.mark.parametrize("name", ["low rank", "dense"])
def test_the_joint_density_is_that_of_the_observed_part(name: str) -> None:
    """For dense beliefs each output by itself is the normal distribution of its observed points."""
    process, tasks = made("CNP", name), drawn(name)
    y, belief = tasks.query.y, process.adapt(tasks.support)(tasks.query.x)
    inner = belief.belief
    if name == "dense":
        noise = torch.diag_embed(inner.noise.transpose(1, 2))
        blocks = inner.covariance + noise  # [T, dy, M, M]
        covariance = torch.stack([torch.block_diag(*both) for both in blocks])
        mean, values = inner.mean.mT.flatten(1), y.mT.flatten(1)
    else:
        rows = inner.factor.flatten(1, 2)
        covariance = rows @ rows.mT + torch.diag_embed(inner.noise.flatten(1))
        mean, values = inner.mean.flatten(1), y.flatten(1)
    for t in range(3):
        seen = ~values[t].isnan()
        oracle = torch.distributions.MultivariateNormal(mean[t, seen], covariance[t][seen][:, seen])
        torch.testing.assert_close(belief.log_prob(y, joint=True)[t], oracle.log_prob(values[t, seen]))


def test_without_it_missing_outputs_are_errors_or_stay_visible() -> None:
    process, tasks = qs.CNP(dy=2, width=8), drawn("gaussian")
    for call in (lambda: process.meta_loss(tasks), lambda: process.adapt(tasks.support)):
        with pytest.raises(ValueError, match=r"support\.y has a NaN or infinite value at"):
            call()
    belief = Gaussian(torch.zeros(3, 5, 2), torch.ones(3, 5, 2))
    missing = tasks.query.y.isnan().any(-1)
    assert torch.equal(belief.log_prob(tasks.query.y).isnan(), missing)
    assert not PartlyObserved(belief).log_prob(tasks.query.y).isnan().any()


def test_what_remains_an_error() -> None:
    process, (support, query, _) = made("CNP", "counts"), drawn("counts")
    negative = query.y.clone()
    negative[0, 0, 0] = -1.0
    with pytest.raises(
        ValueError, match=r"query\.y has 1 value that WithMissing.* whole numbers of at least 0, or NaN"
    ):
        process.meta_loss(Tasks(support, query._replace(y=negative)))
    for bad in (support._replace(y=support.y + torch.inf), support._replace(x=support.x * torch.nan)):
        with pytest.raises(ValueError, match="has a NaN or infinite value"):
            process.encode(bad)
    nothing = query._replace(y=query.y.index_fill(0, torch.tensor(2), torch.nan))
    with pytest.raises(ValueError, match="all outputs of task 2 are missing"):
        process.meta_loss(Tasks(support, nothing))
    none = support._replace(y=support.y * torch.nan)
    prior = process.adapt(support.first(0))(query.x).mean
    torch.testing.assert_close(process.adapt(none)(query.x).mean, prior)
    with pytest.raises(
        ValueError, match="CategoricalHead.* does not marginalise missing outputs; use another head, or"
    ):
        qs.heads.WithMissing(qs.heads.CategoricalHead(3))
    with pytest.raises(TypeError, match="expected an instance"):
        qs.heads.WithMissing(qs.heads.GaussianHead)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sides:
    """Two outputs, x + a and x - a, of which one is missing at each point."""

    dx: int = 1
    dy: int = 2

    def sample(self, num_tasks: int, *, support: int, query: int, split: str = "train", generator: Any = None) -> Tasks:
        del split
        x = torch.rand(num_tasks, support + query, 1, generator=generator) * 2 - 1
        height = torch.randn(num_tasks, 1, 1, generator=generator)
        y = torch.cat([x + height, x - height], -1)
        which = torch.rand(y.shape[:2], generator=generator) > 0.5
        y[..., 0][which], y[..., 1][~which] = torch.nan, torch.nan
        return Tasks(Examples(x[:, :support], y[:, :support]), Examples(x[:, support:], y[:, support:]))


def test_a_family_of_given_data_with_missing_outputs() -> None:
    x, y = torch.rand(12, 7, 1), torch.randn(12, 7, 2)
    y[:, 1:, 0] = torch.nan
    y[:, 2] = torch.nan
    with pytest.raises(ValueError, match="points.y has a NaN"):
        qs.tasks.from_dataset((x, y))
    family = qs.tasks.from_dataset((x, y), missing=True)
    assert family.points.sizes().tolist() == [6] * 12
    process = qs.CNP(dy=2, width=8, head=qs.heads.WithMissing(qs.heads.GaussianHead()))
    assert process.meta_loss(family.sample(4, support=3, query=1)).isfinite()
    with pytest.raises(ValueError, match="has a NaN or infinite value"):
        qs.CNP(dy=2, width=8).meta_loss(family.sample(4, support=3, query=2))


@pytest.mark.filterwarnings("ignore:.*kept in memory")
def test_it_is_trained_measured_and_saved(tmp_path: Any) -> None:
    """An output that was never observed in the support set is predicted from the other one."""
    torch.set_default_dtype(torch.float32)
    process = qs.CNP(dy=2, width=32, encoder_depth=2, head=qs.heads.WithMissing(qs.heads.GaussianHead()))
    qs.fit(process, Sides(), steps=150, support=(1, 6), lr=5e-3, progress=False)
    found = qs.evaluate(process, Sides(), tasks=50, support=6, query=20)
    assert found["mse/k=6"].mean < 0.1 and found["log_likelihood/k=6"].mean > 0
    assert 0.5 < found["coverage90/k=6"].mean <= 1
    x = torch.linspace(-1, 1, 5).view(1, 5, 1)
    y = torch.cat([x + 1, torch.full_like(x, torch.nan)], -1)
    other: Tensor = process.adapt(Examples(x, y))(x).mean[..., 1]
    assert (other - (x[..., 0] - 1)).abs().max() < 0.5
    qs.save(process, tmp_path / "learner")
    assert qs.load(tmp_path / "learner").head == process.head
