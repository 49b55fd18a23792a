"""MAML++: each of its switches alone, against MAML and against the definition written out."""

import json

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.nets.clock import at_step


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def net():
    return qs.nets.MLP(1, [8, 8], 1, activation="tanh")


def batch(num_tasks=4, **sizes):
    sizes = {"support": 5, "query": 6, **sizes}
    return qs.tasks.Sinusoid().sample(num_tasks, **sizes, generator=torch.Generator().manual_seed(1))


def gradients(learner, tasks):
    params = [p for p in learner.network.parameters() if p.requires_grad]
    return torch.autograd.grad(learner.meta_loss(tasks), params)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_with_every_switch_off_it_is_maml():
    network, tasks = net(), batch()
    plain = qs.MAML(network, lr=0.05, steps=3)
    ours = qs.MAMLPlusPlus(network, lr=0.05, steps=3, learn_rates=False, multi_step=0)
    ours.anneal(0.0)
    assert torch.equal(ours.meta_loss(tasks), plain.meta_loss(tasks))
    assert same(gradients(ours, tasks), gradients(plain, tasks))


def test_with_all_weight_on_the_last_step_it_is_maml():
    network, tasks = net(), batch()
    plain, ours = qs.MAML(network, lr=0.05, steps=3), qs.MAMLPlusPlus(network, lr=0.05, steps=3)
    ours.anneal(0.5)  # the losses of early steps have faded
    assert ours.step_weights() == [0, 0, 1]
    assert ours.meta_loss(tasks).item() == pytest.approx(plain.meta_loss(tasks).item(), rel=1e-12)
    for a, b in zip(gradients(ours, tasks), gradients(plain, tasks), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("progress", [0.0, 0.04, 0.0999])
def test_the_loss_counts_after_every_step(progress):
    network, tasks = net(), batch()
    ours = qs.MAMLPlusPlus(network, lr=0.05, steps=4, learn_rates=False)
    ours.anneal(progress)
    weights = ours.step_weights()
    assert sum(weights) == pytest.approx(1) and weights[0] == max(1 - progress / 0.1, 0.03) / 4
    after = [qs.MAML(network, lr=0.05, steps=k) for k in (1, 2, 3, 4)]
    expected = sum(w * learner.meta_loss(tasks) for w, learner in zip(weights, after, strict=True))
    torch.testing.assert_close(ours.meta_loss(tasks), expected)
    slopes = torch.autograd.grad(expected, list(network.parameters()))
    for a, b in zip(gradients(ours, tasks), slopes, strict=True):
        torch.testing.assert_close(a, b)


def test_in_eval_mode_the_last_loss_counts_alone():
    network, tasks = net(), batch()
    ours = qs.MAMLPlusPlus(network, lr=0.05, steps=3).eval()
    ours.anneal(0.0)
    torch.testing.assert_close(ours.meta_loss(tasks), qs.MAML(network, lr=0.05, steps=3).meta_loss(tasks))


def test_the_second_derivative_comes_in_later():
    network, tasks = net(), batch()
    ours = qs.MAMLPlusPlus(network, lr=0.05, steps=2, learn_rates=False, multi_step=0, first_order_until=0.3)
    exact = gradients(qs.MAML(network, lr=0.05, steps=2), tasks)
    cheap = gradients(qs.FOMAML(network, lr=0.05, steps=2), tasks)
    ours.anneal(0.29)
    assert same(gradients(ours, tasks), cheap)
    ours.anneal(0.3)
    assert same(gradients(ours, tasks), exact) and not same(exact, cheap)


def test_rates_are_learned_by_layer_and_step():
    ours = qs.MAMLPlusPlus(net(), lr=0.05, steps=3)
    rates = [p for p in ours.rule.parameters()]
    assert [tuple(p.shape) for p in rates] == [(3,)] * 3  # layers, steps each
    ours.meta_loss(batch()).backward()
    assert all((p.grad != 0).all() for p in rates)
    assert not list(qs.MAMLPlusPlus(net(), lr=0.05, learn_rates=False).rule.parameters())


def test_fit_says_how_far_training_is(tmp_path):
    seen = []

    class Watched(qs.MAMLPlusPlus):
        """Records what it is told."""

        def anneal(self, progress):
            seen.append(progress)
            super().anneal(progress)

    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    sizes = {"tasks": 2, "support": 3, "query": 3, "evaluate_every": 2, "compile": False}
    qs.fit(Watched(net(), steps=2), qs.tasks.Sinusoid(), steps=4, out=tmp_path / "run", **sizes)
    assert seen == [0, 0.25, 0.5, 0.75]


def test_a_run_goes_on_where_it_was(tmp_path):
    torch.set_default_dtype(torch.float32)
    sizes = {"tasks": 2, "support": 3, "query": 3, "checkpoint_every": 1}

    def made():
        torch.manual_seed(0)
        return qs.MAMLPlusPlus(net(), steps=2, multi_step=0.6, first_order_until=0.4)

    whole, part, again = made(), made(), made()
    qs.fit(whole, qs.tasks.Sinusoid(), steps=6, out=tmp_path / "whole", **sizes)
    step, calls = part.forward, []

    def failing(tasks):
        calls.append(part.training)
        if sum(calls) > 2:
            raise KeyboardInterrupt
        return step(tasks)

    part.forward = failing
    with pytest.raises(KeyboardInterrupt):
        qs.fit(part, qs.tasks.Sinusoid(), steps=6, out=tmp_path / "part", **sizes)
    qs.fit(again, qs.tasks.Sinusoid(), steps=6, out=tmp_path / "part", exist="resume", **sizes)
    assert same(whole.parameters(), again.parameters())


def test_it_is_never_compiled(tmp_path):
    torch.set_default_dtype(torch.float32)
    with pytest.raises(ValueError, match="compile"):
        qs.fit(qs.MAMLPlusPlus(net()), qs.tasks.Sinusoid(), steps=1, out=tmp_path / "run", compile=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"multi_step": 2}, "multi_step=2; expected a share of training"),
        ({"first_order_until": -0.1}, "first_order_until=-0.1"),
        ({"steps": -1}, "steps=-1"),
    ],
)
def test_bad_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        qs.MAMLPlusPlus(net(), **options)
    with pytest.raises(ValueError, match="progress=1.5"):
        qs.MAMLPlusPlus(net()).anneal(1.5)


class Normed(nn.Module):
    """Two layers with a normalisation by step between them."""

    def __init__(self, steps=2):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(1, 6), qs.StepNorm(6, steps=steps), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))))


def test_a_norm_by_step_takes_the_row_of_its_step():
    norm = qs.StepNorm(3, steps=2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 3))
    x = torch.randn(5, 3)
    plain = nn.functional.batch_norm(x, None, None, training=True)
    for step, scale in ((0, 1), (1, 2), (2, 3), (7, 3)):
        with at_step(step):
            torch.testing.assert_close(norm(x), scale * plain)
    torch.testing.assert_close(norm(x), 3 * plain)  # outside of inner loops
    assert norm.running_mean[0].abs().sum() > 0
    norm.eval()
    with at_step(0):
        running = (x - norm.running_mean[0]) / (norm.running_var[0] + 1e-5).sqrt()
        torch.testing.assert_close(norm(x), running)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("options", [{}, {"engine": "loop"}, {"mixed_mode": True}, {"checkpoint": "every"}])
def test_a_norm_by_step_in_an_inner_loop(options, mode):
    """Against steps written out, with the row of each step picked by hand."""
    network, tasks = Normed(), batch(num_tasks=3)
    with torch.no_grad():
        for p in network.norm.parameters():
            p.add_(0.3 * torch.randn_like(p))
    getattr(network, mode)()
    learner = qs.MAML(network, lr=0.1, steps=2, **options)
    getattr(learner, mode)()
    found = torch.autograd.grad(learner.meta_loss(tasks), list(network.parameters()))

    def output(params, x, step):
        hidden = x @ params["first.weight"].T + params["first.bias"]
        norm = network.norm
        mean, var = (None, None) if mode == "train" else (torch.zeros(6), torch.ones(6))
        weight, bias = params["norm.weight"][step], params["norm.bias"][step]
        hidden = nn.functional.batch_norm(hidden, mean, var, weight, bias, mode == "train", 0.1, norm.eps)
        return torch.tanh(hidden) @ params["last.weight"].T + params["last.bias"]

    total = 0
    own = dict(network.named_parameters())
    for i in range(3):
        params = dict(own)
        for step in range(2):
            loss = (output(params, tasks.support.x[i], step) - tasks.support.y[i]).square().sum(-1).mean()
            slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {k: p - 0.1 * g for (k, p), g in zip(params.items(), slopes, strict=True)}
        total = total + (output(params, tasks.query.x[i], 2) - tasks.query.y[i]).square().sum(-1).mean() / 3
    for a, b in zip(found, torch.autograd.grad(total, list(own.values())), strict=True):
        torch.testing.assert_close(a, b)


def test_an_adapted_module_keeps_the_step_it_was_adapted_to():
    learner, tasks = qs.MAML(Normed(steps=3), lr=0.1, steps=3).eval(), batch(num_tasks=2)
    with torch.no_grad():
        learner.network.norm.bias.add_(torch.randn_like(learner.network.norm.bias))
    for steps in (0, 1, 3):
        predictor = learner.adapt(tasks.support, steps=steps)
        torch.testing.assert_close(predictor.task(1)(tasks.query.x[1]), predictor(tasks.query.x).mean[1])


def test_its_description_holds_its_switches():
    from quickstudy.runs.rebuild.spec import from_spec, to_spec

    ours = qs.MAMLPlusPlus(net(), lr=0.05, steps=3, multi_step=0.2, first_order_until=0.1, learn_rates=False)
    copy = from_spec(json.loads(json.dumps(to_spec(ours))))
    assert to_spec(copy) == to_spec(ours) and copy.first_order_until == 0.1


@pytest.mark.parametrize("engine", ["auto", "batched", "loop"])
def test_running_statistics_are_the_mean_over_tasks_of_what_each_step_saw(engine):
    network, tasks = Normed(steps=1), batch(num_tasks=3)
    qs.MAML(network, lr=0.0, steps=1, engine=engine).meta_loss(tasks)
    for row, points in ((0, tasks.support), (1, tasks.query)):
        seen = points.x @ network.first.weight.detach().T + network.first.bias.detach()  # [T, N, 6]
        torch.testing.assert_close(network.norm.running_mean[row], 0.1 * seen.mean(1).mean(0))
        torch.testing.assert_close(network.norm.running_var[row], 0.9 + 0.1 * seen.var(1).mean(0))


def test_an_empty_support_set_takes_no_step():
    learner, tasks = qs.MAML(Normed(steps=2), lr=0.1, steps=2).eval(), batch(num_tasks=2)
    with torch.no_grad():
        learner.network.norm.bias.add_(torch.randn_like(learner.network.norm.bias))
    empty, none = learner.adapt(tasks.support.first(0)), learner.adapt(tasks.support, steps=0)
    assert torch.equal(empty(tasks.query.x).mean, none(tasks.query.x).mean)
