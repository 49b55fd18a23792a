"""Particles: Stein's rule against its sum written out and a known posterior; the ensemble against single networks."""

import math

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.gradient.svgd import SVGD
from quickstudy.nets.particles import Particles
from quickstudy.runs.rebuild.spec import from_spec, to_spec


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def batch(num_tasks=3, **sizes):
    sizes = {"support": 5, "query": 6, **sizes}
    return qs.tasks.Sinusoid(noise=0.3).sample(num_tasks, **sizes, generator=torch.Generator().manual_seed(1))


def net():
    return qs.nets.MLP(1, [6], 1, activation="tanh")


def test_steins_direction_is_the_sum_of_the_paper():
    tasks, count = 2, 4
    values = {"a": torch.randn(tasks, count, 3), "b": torch.randn(tasks, count, 2, 2)}
    slopes = {k: torch.randn_like(v) for k, v in values.items()}
    points = qs.Examples(torch.zeros(tasks, 5, 1), torch.zeros(tasks, 5, 1))
    found = SVGD().direct(values, slopes, points)
    for t in range(tasks):
        theta = torch.cat([values[k][t].flatten(1) for k in values], 1).requires_grad_()
        slope = torch.cat([slopes[k][t].flatten(1) for k in values], 1)
        square = (theta[:, None] - theta[None]).square().sum(-1)
        pairs = sorted(square[i, j].item() for i in range(count) for j in range(i))
        h = pairs[(len(pairs) - 1) // 2] / math.log(count)
        expected = torch.zeros_like(slope)
        for i in range(count):
            for j in range(count):
                kernel = (-(theta[j] - theta[i].detach()).square().sum() / h).exp()
                (push,) = torch.autograd.grad(kernel, theta)
                expected[i] += (kernel.detach() * slope[j] - push[j] / 5) / count
        torch.testing.assert_close(torch.cat([found[k][t].flatten(1) for k in values], 1), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_particles_reach_a_known_posterior(temperature):
    """The mean of N(theta, 1) from 8 observations: normal around theirs, with variance temperature / 8."""
    y = torch.randn(1, 8, 1) + 0.7
    particles = torch.randn(1, 40, 1) * 3
    rule, data = SVGD(2.0, temperature=temperature), qs.Examples(torch.zeros(1, 8, 1), y)
    for _ in range(1_000):
        particles, _ = rule.update(
            "w", 0, particles, rule.direct({"w": particles}, {"w": particles - y.mean()}, data)["w"], None
        )
    assert particles.mean().item() == pytest.approx(y.mean().item(), abs=0.05)
    assert particles.var().item() == pytest.approx(temperature / 8, rel=0.15)


def test_one_particle_is_maml():
    network, tasks, noise = net(), batch(), qs.likelihoods.Gaussian(0.5)
    one = qs.BayesianMAML(network, particles=1, lr=0.1, steps=3, likelihood=noise)
    plain = qs.MAML(network, lr=0.1, steps=3, likelihood=noise)
    torch.testing.assert_close(one.meta_loss(tasks), plain.meta_loss(tasks))
    found = torch.autograd.grad(one.meta_loss(tasks), list(one.network.parameters()))
    expected = torch.autograd.grad(plain.meta_loss(tasks), list(network.parameters()))
    by_name = dict(zip([k.replace(".", "/") for k, _ in network.named_parameters()], expected, strict=True))
    for (name, _), g in zip(one.network.weights.items(), found, strict=True):
        torch.testing.assert_close(g[0], by_name[name])


def test_one_particle_with_learned_rates_is_meta_sgd():
    network, tasks, noise = net(), batch(), qs.likelihoods.Gaussian(0.5)
    rates = qs.optimizers.Rates(network, 0.1, per="parameter")
    one = qs.BayesianMAML(network, particles=1, lr=rates, steps=2, likelihood=noise)
    plain = qs.MetaSGD(network, lr=0.1, steps=2, likelihood=noise)
    torch.testing.assert_close(one.meta_loss(tasks), plain.meta_loss(tasks))
    found = torch.autograd.grad(one.meta_loss(tasks), list(rates.parameters()))
    expected = torch.autograd.grad(plain.meta_loss(tasks), list(plain.rule.lr.parameters()))
    for one_rate, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one_rate, other)
    by_pattern = qs.BayesianMAML(network, particles=1, lr={"layers.0.*": 0.1, "*": 0.2}, likelihood=noise)
    same = qs.MAML(network, rule=qs.optimizers.SGD({"layers.0.*": 0.1, "*": 0.2}), likelihood=noise)
    torch.testing.assert_close(by_pattern.meta_loss(tasks), same.meta_loss(tasks))


def test_steps_on_squared_errors_are_those_of_the_likelihood_in_other_units():
    network, tasks, sd = net(), batch(), 0.5
    noise, unit = qs.likelihoods.Gaussian(sd), qs.likelihoods.Gaussian(1.0)
    torch.manual_seed(1)
    plain = qs.BayesianMAML(network, particles=3, lr=0.1 * sd**2, steps=2, likelihood=noise)
    torch.manual_seed(1)
    other = qs.BayesianMAML(
        network, particles=3, lr=0.1, steps=2, likelihood=noise, inner_likelihood=unit, temperature=sd**2
    )
    torch.testing.assert_close(plain.meta_loss(tasks), other.meta_loss(tasks))
    learned = qs.BayesianMAML(network, particles=3, temperature=nn.Parameter(torch.tensor(1.0)))
    learned.meta_loss(tasks).backward()
    assert learned.rule.temperature.grad.abs() > 0
    again = from_spec(to_spec(learned))
    assert isinstance(again.rule.temperature, nn.Parameter) and again.rule.temperature.item() == 1


def test_particles_are_networks_side_by_side():
    first = net()
    together, x = Particles(first, 3), torch.randn(5, 1)
    torch.testing.assert_close(together(x)[:, 0], first(x))
    for p in range(3):
        alone = net()
        alone.load_state_dict({k.replace("/", "."): v[p] for k, v in together.weights.items()})
        torch.testing.assert_close(together(x)[:, p], alone(x))
    assert together(x).std(1).min() > 0


def test_the_belief_is_the_mixture_and_functions_are_its_particles():
    learner, tasks = qs.BayesianMAML(net(), particles=4, lr=0.1, steps=2), batch()
    predictor = learner.adapt(tasks.support)
    outputs = predictor.base.adapted(tasks.query.x)[..., 0].movedim(2, 0)  # [P, T, M]
    belief, y = predictor(tasks.query.x), tasks.query.y[..., 0]
    torch.testing.assert_close(belief.mean[..., 0], outputs.mean(0))
    torch.testing.assert_close(belief.variance[..., 0], outputs.var(0, correction=0) + 1)
    densities = torch.distributions.Normal(outputs, 1.0).log_prob(y).exp().mean(0)
    torch.testing.assert_close(belief.log_prob(tasks.query.y), densities.log())
    torch.testing.assert_close(learner.meta_loss(tasks), -densities.log().mean())
    drawn = predictor.functions(8, torch.Generator().manual_seed(0))(tasks.query.x)[..., 0]
    for t in range(3):  # eight functions of four particles: each twice, in the order of the generator
        kinds = (drawn[:, None, t] == outputs[None, :, t]).all(-1)
        assert kinds.sum(0).tolist() == [2, 2, 2, 2] and kinds[:4].sum(0).tolist() == [1, 1, 1, 1]


def test_labels_have_a_mixture_too():
    x = torch.randn(2, 6, 3)
    tasks = qs.Tasks(qs.Examples(x, torch.randint(4, (2, 6))), qs.Examples(x, torch.randint(4, (2, 6))))
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
    learner = qs.BayesianMAML(network, particles=3, lr=0.1, likelihood=qs.likelihoods.Categorical())
    belief = learner.adapt(tasks.support)(x)
    torch.testing.assert_close(belief.probs.sum(-1), torch.ones(2, 6))
    torch.testing.assert_close(learner.meta_loss(tasks), -belief.log_prob(tasks.query.y).mean())


def test_particles_that_cannot_begin_apart_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match="Own .the network. owns parameters and has no reset_parameters"):
        qs.BayesianMAML(Own())
    with pytest.raises(ValueError, match="with buffers"):
        qs.BayesianMAML(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match="particles=0"):
        qs.BayesianMAML(net(), particles=0)
    with pytest.raises(TypeError, match="no rule="):
        qs.BayesianMAML(net(), rule=qs.optimizers.SGD(0.1))


@pytest.mark.parametrize("places", [[0.0] * 6, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
def test_particles_that_coincide_are_not_pushed_anywhere_wild(places):
    value = torch.tensor(places)[None, :, None].requires_grad_()
    push = SVGD().direct({"w": value}, {"w": torch.zeros(1, 6, 1)}, None)["w"]
    (back,) = torch.autograd.grad(push.square().sum(), value)
    assert push.isfinite().all() and back.isfinite().all() and push.abs().max() < 10


def test_what_is_frozen_stays_in_every_particle():
    network, tasks = net(), batch()
    network.layers[0].weight.requires_grad_(False)
    learner = qs.BayesianMAML(network, particles=3, lr=0.1, steps=2)
    stack = learner.network.weights["layers/0/weight"]
    assert not stack.requires_grad and all(torch.equal(w, network.layers[0].weight) for w in stack)
    assert learner.network.weights["layers/1/weight"].std(0).min() > 0
    adapted = learner.adapt(tasks.support).base.adapted.params["weights.layers/0/weight"]
    assert torch.equal(adapted, stack.expand_as(adapted))


def test_sure_mistakes_about_labels_are_large_and_finite():
    x = torch.zeros(1, 1, 1)
    network = nn.Linear(1, 2)
    learner = qs.BayesianMAML(network, particles=2, lr=0.1, likelihood=qs.likelihoods.Categorical())
    with torch.no_grad():
        learner.network.weights["bias"].copy_(torch.tensor([[2000.0, 0.0], [2000.0, 0.0]]))
    belief = learner.adapt(qs.Examples(x, torch.zeros(1, 1, dtype=torch.long)), steps=0)(x)
    assert belief.log_prob(torch.ones(1, 1, dtype=torch.long)).item() == pytest.approx(-2000)
