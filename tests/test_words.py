"""What is printed says how a learner adapts: its rate, its steps, and what else was set."""

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.evaluation.tuning import Trial

rules = qs.optimizers


def net(inputs=1):
    return qs.nets.MLP(inputs, [8], 1)


SAID = {
    "as it comes": (lambda: qs.MAML(net()), ["steps=1, engine=auto", "SGD(lr=0.01)"]),
    "first order": (lambda: qs.FOMAML(net(), lr=0.1, steps=3), ["steps=3, first_order=True", "SGD(lr=0.1)"]),
    "no steps": (lambda: qs.MAML(net(), steps=0), ["steps=0"]),
    "a rate a step": (lambda: qs.MAML(net(), lr=[0.1, 0.05], steps=2), ["lr=[0.1, 0.05]"]),
    "a tensor": (lambda: qs.MAML(net(), lr=torch.tensor([0.5, 0.25])), ["lr=[0.5, 0.25]"]),
    "by name": (lambda: qs.MAML(net(), lr={"layers.0.*": 0.1, "*": 1e-4}), ["lr={layers.0.*: 0.1, *: 0.0001}"]),
    "learned": (lambda: qs.MAML(net(), lr=nn.Parameter(torch.tensor(0.125))), ["lr=0.125 (learned)"]),
    "learned by entry": (lambda: qs.MetaSGD(net(), lr=0.05), ["lr=25 learned, 0.05 on average", "per entry"]),
    "learned by step": (lambda: qs.MAMLPlusPlus(net(), steps=3), ["steps=3", "6 learned, 0.01", "per layer and step"]),
    "fixed by layer": (
        lambda: qs.MAML(net(), rule=rules.SGD(rules.Rates(net(), 0.1, per="layer", learn=False, log=True))),
        ["lr=2 fixed, 0.1 on average"],
    ),
    "momentum": (
        lambda: qs.Pretrained(net(), rule=rules.SGD(0.1, momentum=0.9, nesterov=True, clip=1.0)),
        ["steps=10", "SGD(lr=0.1, momentum=0.9, nesterov=True, clip=1.0)"],
    ),
    "Adam": (lambda: qs.MAML(net(), rule=rules.Adam(0.02)), ["Adam(lr=0.02, betas=(0.9, 0.999))"]),
    "RMSProp": (
        lambda: qs.MAML(net(), rule=rules.RMSProp(weight_decay=0.1)),
        ["lr=0.01, alpha=0.99, weight_decay=0.1"],
    ),
    "curvature": (lambda: qs.MetaCurvature(net(), lr=0.3), ["lr=0.3, maps of 139 numbers, learned"]),
    "particles": (lambda: qs.BayesianMAML(net(), particles=4), ["particles=4, steps=1", "lr=0.01, temperature=1"]),
    "warp layers": (lambda: qs.WarpGrad(qs.nets.WarpedMLP(1, [8], 1), lr=0.2), ["steps=5, warp=*warp*", "lr=0.2"]),
    "minibatches": (lambda: qs.Reptile(net(), minibatch=5), ["steps=5, data=all, engine=auto, minibatch=5"]),
    "the head": (lambda: qs.ANIL(net()), ["adapt=layers.1.weight layers.1.bias"]),
    "the body": (lambda: qs.BOIL(qs.nets.MLP(1, [4, 4, 4], 1)), ["adapt=6 parameters"]),
    "a context": (lambda: qs.CAVIA(net(3), context=2), ["adapt=context", "lr=1)"]),
    "a solution": (lambda: qs.iMAML(net(), lr=0.1), ["proximal=2.0, implicit=cg", "lr=0.1"]),
    "memory": (
        lambda: qs.MAML(net(), engine="loop", checkpoint="sqrt", mixed_mode=True, chunk=4),
        ["chunk=4, engine=loop, checkpoint=sqrt, mixed_mode=True"],
    ),
    "noise": (
        lambda: qs.MAML(net(), likelihood=qs.likelihoods.Gaussian(0.3, learn=True)),
        ["Gaussian(sd=0.3, learned)"],
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_a_learner_says_how_it_adapts(case):
    make, says = SAID[case]
    learner = make()
    said = repr(learner)
    for words in says:
        assert words in said
    assert " at 0x" not in said and said.startswith(type(learner).__name__)
    assert len(said.splitlines()) <= 25


def test_rates_that_were_learned_are_told_as_they_are():
    learner = qs.MetaSGD(net(), lr=0.1)
    with torch.no_grad():
        for rate in learner.rule.lr.values.values():
            rate.mul_(3)
    assert "0.3 on average" in repr(learner)
    assert "values" in repr(qs.MAML(net(), lr=nn.Parameter(torch.tensor(0.1, device="meta"))))
    assert "25 learned" in repr(qs.MetaSGD(net()).to("meta"))


class Halved(nn.Module):
    """A rule of one's own, which says nothing of itself."""

    lr, linear = 0.5, True

    def update(self, name, step, value, gradient, memory):
        """Half of the way."""
        return value - 0.5 * gradient, memory


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (rules.SGD(0.1, momentum=0.5), "Trial(SGD(lr=0.1, momentum=0.5), steps=5, loss=0.1235)"),
        (rules.SGD(rules.Rates(net(), 0.1)), "Trial(SGD(lr=1 learned, 0.1 on average), steps=5, loss=0.1235)"),
        (rules.Adam([0.1, 0.01]), "Trial(Adam(lr=[0.1, 0.01], betas=(0.9, 0.999)), steps=5, loss=0.1235)"),
        (Halved(), "Trial(Halved(), steps=5, loss=0.1235)"),
    ],
)
def test_a_trial_says_its_rule_in_one_line(rule, said):
    trial = Trial(rule, 5, 0.12345678)
    assert repr(trial) == str(trial) == said
    assert repr([trial]) == f"[{said}]"
