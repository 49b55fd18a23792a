"""What every learner promises, over the table in learner_table.py."""

import dataclasses
import json

import pytest
import torch
from learner_table import LEARNERS, NOT_A_DERIVATIVE, NOT_IN_TRANSFORMS, Lines, masked
from torch.func import functional_call

from quickstudy.data import Examples, Tasks
from quickstudy.gradient.maml import MAML
from quickstudy.inner.rates import one_rate
from quickstudy.learner import Learner, Predictive, Predictor
from quickstudy.runs.spec import from_spec, to_spec


@pytest.fixture(params=LEARNERS, autouse=True)
def learner(request):
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    return LEARNERS[request.param]()


def batch(num_tasks=3, support=6, query=4, seed=0):
    return Lines().sample(num_tasks, support=support, query=query, generator=torch.Generator().manual_seed(seed))


def seeded_loss(learner, tasks):
    torch.manual_seed(11)
    return learner.meta_loss(tasks)


def adapt(learner, support, **options):
    return learner.adapt(support, generator=torch.Generator().manual_seed(5), **options)


def gradient(learner, tasks):
    params = list(learner.parameters())
    grads = torch.autograd.grad(seeded_loss(learner, tasks), params, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(grads, params, strict=True)])


def test_has_the_methods_and_shapes_of_the_contract(learner):
    tasks = batch()
    assert isinstance(learner, Learner)
    loss = seeded_loss(learner, tasks)
    assert loss.shape == () and loss.requires_grad
    predictor = adapt(learner, tasks.support)
    assert isinstance(predictor, Predictor)
    belief = predictor(tasks.query.x)
    assert belief.mean.shape == (3, 4, 1)
    if has_density(belief):
        assert isinstance(belief, Predictive)
        assert belief.variance.shape == (3, 4, 1) and (belief.variance > 0).all()
        assert belief.sample(7, torch.Generator().manual_seed(0)).shape == (7, 3, 4, 1)
        assert belief.log_prob(tasks.query.y).shape == (3, 4)
        assert belief.log_prob(tasks.query.y, joint=True).shape == (3,)
    else:
        for ask in (lambda: belief.variance, lambda: belief.sample(2), lambda: belief.log_prob(tasks.query.y)):
            with pytest.raises(NotImplementedError, match="likelihood="):
                ask()


def has_density(belief):
    try:
        return belief.variance is not None
    except NotImplementedError:
        return False


def test_support_order_does_not_matter(learner):
    tasks = batch()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = Examples(tasks.support.x[:, order], tasks.support.y[:, order])
    one, other = adapt(learner, tasks.support)(tasks.query.x), adapt(learner, shuffled)(tasks.query.x)
    torch.testing.assert_close(one.mean, other.mean)


def test_padding_does_not_matter(learner):
    tasks = batch(support=6, query=4)
    padded = Tasks(
        masked(longer(tasks.support, 3), [6, 6, 6]),
        masked(longer(tasks.query, 5), [4, 4, 4]),
    )
    torch.testing.assert_close(seeded_loss(learner, padded), seeded_loss(learner, tasks))
    torch.testing.assert_close(gradient(learner, padded), gradient(learner, tasks))
    one, other = adapt(learner, tasks.support)(tasks.query.x), adapt(learner, padded.support)(tasks.query.x)
    torch.testing.assert_close(one.mean, other.mean)


def longer(examples, extra):
    junk = torch.full((examples.num_tasks, extra, 1), float("nan"))
    return Examples(torch.cat([examples.x, junk], 1), torch.cat([examples.y, junk], 1))


def test_unequal_sizes_in_one_batch_are_each_task_alone(learner):
    tasks = batch(support=6, query=4)
    sizes, asked = [0, 3, 6], [4, 1, 2]
    unequal = Tasks(masked(tasks.support, sizes), masked(tasks.query, asked))
    predictor = adapt(learner, unequal.support)
    for i, size in enumerate(sizes):
        alone = adapt(learner, tasks.support.select(i).first(size))
        if hasattr(alone, "noise"):  # latents are drawn per batch: give the lone task the same
            alone = dataclasses.replace(alone, noise=predictor.noise[:, i : i + 1])
        torch.testing.assert_close(predictor(tasks.query.x).mean[i], alone(tasks.query.x.narrow(0, i, 1)).mean[0])
    if deterministic(learner):
        losses = [
            learner.meta_loss(Tasks(tasks.support.select(i).first(n), tasks.query.select(i).first(m)))
            for i, (n, m) in enumerate(zip(sizes, asked, strict=True))
        ]
        torch.testing.assert_close(learner.meta_loss(unequal), torch.stack(losses).mean())
    assert gradient(learner, unequal).isfinite().all()


def deterministic(learner):
    return getattr(learner, "deterministic", True)


def test_a_batch_is_a_loop_over_its_tasks(learner):
    tasks = batch()
    predictor = adapt(learner, tasks.support)
    for i in range(3):
        module = predictor.task(i)
        torch.testing.assert_close(module(tasks.query.x[i])[:, :1], predictor(tasks.query.x).mean[i])
    if deterministic(learner):
        losses = [learner.meta_loss(tasks.select(i)) for i in range(3)]
        torch.testing.assert_close(learner.meta_loss(tasks), torch.stack(losses).mean())


def test_append_is_adapting_to_the_union(learner):
    tasks = batch(support=6)
    first, rest = tasks.support.first(2), Examples(tasks.support.x[:, 2:], tasks.support.y[:, 2:])
    grown, whole = adapt(learner, first).append(rest), adapt(learner, tasks.support)
    torch.testing.assert_close(grown(tasks.query.x).mean, whole(tasks.query.x).mean)
    masked_rest = masked(longer(rest, 2), [4, 4, 4])
    torch.testing.assert_close(adapt(learner, first).append(masked_rest)(tasks.query.x).mean, whole(tasks.query.x).mean)


def test_zero_steps_and_no_support_are_the_prior(learner):
    tasks = batch()
    empty = adapt(learner, tasks.support.first(0))(tasks.query.x).mean
    torch.testing.assert_close(adapt(learner, tasks.support, steps=0)(tasks.query.x).mean, empty)
    assert empty.isfinite().all()
    assert seeded_loss(learner, Tasks(tasks.support.first(0), tasks.query)).isfinite()
    if isinstance(learner, MAML):
        torch.testing.assert_close(empty[0], learner.network(tasks.query.x[0])[..., :1])


def test_the_same_seed_gives_the_same_result(learner):
    tasks = batch()
    assert torch.equal(seeded_loss(learner, tasks), seeded_loss(learner, tasks))
    assert torch.equal(
        adapt(learner, tasks.support)(tasks.query.x).mean, adapt(learner, tasks.support)(tasks.query.x).mean
    )


def test_adapting_and_predicting_change_nothing(learner):
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    tasks = batch()
    adapt(learner, tasks.support)(tasks.query.x)
    for k, v in learner.state_dict().items():
        assert torch.equal(v, before[k])
    assert all(p.grad is None for p in learner.parameters())


def test_state_dict_and_description_round_trip(learner):
    tasks = batch()
    copy = from_spec(json.loads(json.dumps(to_spec(learner))))
    assert type(copy) is type(learner)
    if hasattr(learner, "progress"):  # of training, which is no part of the learner
        copy.anneal(learner.progress)
    copy.load_state_dict(learner.state_dict())
    assert torch.equal(seeded_loss(copy, tasks), seeded_loss(learner, tasks))


def test_gradient_is_the_finite_difference(learner, request):
    if request.node.callspec.params["learner"] in NOT_A_DERIVATIVE:
        pytest.skip("by definition its gradient is not the derivative of its value")
    tasks = batch()
    params = list(learner.parameters())
    direction = [torch.randn_like(p) / sum(q.numel() for q in params) ** 0.5 for p in params]
    start = [p.detach().clone() for p in params]

    def along(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, direction, strict=True):
                p.copy_(s + step * d)
        return seeded_loss(learner, tasks).item()

    h = 1e-5
    slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    along(0.0)
    found = gradient(learner, tasks) @ torch.cat([d.flatten() for d in direction])
    assert abs(found.item() - slope) <= 1e-6 * abs(slope)


def test_works_under_functional_transforms(learner, request):
    if not deterministic(learner):
        pytest.skip("draws random numbers, which torch.func transforms refuse by default")
    tasks = batch()
    params = {k: p.detach() for k, p in learner.named_parameters()}
    if request.node.callspec.params["learner"] in NOT_IN_TRANSFORMS:
        with pytest.raises(NotImplementedError, match=r"inside a transform of torch\.func"):
            torch.func.grad(lambda p: functional_call(learner, p, (tasks,)))(params)
        return
    grads = torch.func.grad(lambda p: functional_call(learner, p, (tasks,)))(params)
    expected = gradient(learner, tasks)
    torch.testing.assert_close(torch.cat([g.flatten() for g in grads.values()]), expected)


@pytest.mark.parametrize("points", [1, 10_000])
def test_one_task_and_many_points(learner, points):
    tasks = batch(num_tasks=1, support=points, query=points)
    assert seeded_loss(learner, tasks).isfinite()
    assert adapt(learner, tasks.support)(tasks.query.x).mean.shape == (1, points, 1)


def test_functions_are_consistent_or_refused(learner):
    tasks = batch()
    predictor = adapt(learner, tasks.support)
    try:
        functions = predictor.functions(5, torch.Generator().manual_seed(0))
    except NotImplementedError as refusal:
        assert "function" in str(refusal)
        return
    values = functions(tasks.query.x)
    assert values.shape == (5, 3, 4, 1) and len(functions) == len(list(functions)) == 5
    torch.testing.assert_close(functions[2](tasks.query.x), values[2])
    torch.testing.assert_close(functions(tasks.query.x[:, :2]), values[:, :, :2])
    assert values.std(0).min() > 0
    again = predictor.functions(5, torch.Generator().manual_seed(0))(tasks.query.x)
    assert torch.equal(values, again)


def test_training_beats_the_prior(learner):
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    num_tasks = 4 if getattr(learner, "engine", None) == "loop" else 16  # one by one takes its time
    for _ in range(120):
        optimizer.zero_grad()
        learner(Lines().sample(num_tasks, support=8, query=8, generator=generator)).backward()
        optimizer.step()
    tasks = batch(num_tasks=100, support=8, query=20, seed=2)

    def error(**options):
        return (adapt(learner, tasks.support, **options)(tasks.query.x).mean - tasks.query.y).square().mean()

    assert error() < 0.7 * error(steps=0)


def test_a_linear_rule_gives_the_same_on_low_rank_weights(learner):
    rule = getattr(getattr(learner, "inner", None), "rule", None)
    if not isinstance(learner, MAML) or not rule.linear or not one_rate(rule.lr) or learner.options.get("implicit"):
        pytest.skip("its weights are never low-rank")
    options = {k: v for k, v in learner.config().items() if k not in ("engine", "lr", "rule")}
    tasks = batch()
    losses = [type(learner)(**options, rule=rule, engine=engine).meta_loss(tasks) for engine in ("batched", "lowrank")]
    torch.testing.assert_close(*losses)
