"""Every learner answers bad input with one line that says what was given, what was expected and what to do."""

import numpy as np
import pytest
import torch
from learner_table import LEARNERS, Lines, masked, net
from torch import nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks, collate, pad
from quickstudy.learner import check_generator

GOOD = Lines().sample(2, support=3, query=3, generator=torch.Generator().manual_seed(0))
S, Q = GOOD.support, GOOD.query
LABELS = torch.tensor([[2, 1, 4], [0, 1, 2]])


def spoil(tensor, value):
    tensor = tensor.clone()
    tensor[1, 2] = value
    return tensor


BAD = {
    "NaN in x": (Tasks(Examples(spoil(S.x, float("nan")), S.y), Q), ValueError, "support.x .* task 1, point 2"),
    "infinite y": (Tasks(Examples(S.x, spoil(S.y, float("inf"))), Q), ValueError, "support.y"),
    "NaN in the query": (Tasks(S, Examples(Q.x, spoil(Q.y, float("nan")))), ValueError, "query.y"),
    "NaN at a real masked point": (
        Tasks(Examples(spoil(S.x, float("nan")), S.y, torch.ones(2, 3, dtype=torch.bool)), Q),
        ValueError,
        "real points",
    ),
    "no feature axis": (Tasks(Examples(S.x[..., 0], S.y), Q), ValueError, r"unsqueeze\(-1\)"),
    "one task's points": (Tasks(Examples(S.x[0], S.y[0]), Q), ValueError, r"x.unsqueeze\(0\), and y.unsqueeze\(0\) if"),
    "one task's numbers": (Tasks(Examples(S.x[0, :, 0], S.y[0, :, 0]), Q), ValueError, r"x.reshape\(1, -1, 1\)"),
    "one task's outputs": (Tasks(Examples(S.x[:1], S.y[0]), Q), ValueError, r"y.unsqueeze\(0\) for the points of one"),
    "no output axis": (Tasks(Examples(S.x, S.y[..., 0]), Q), ValueError, r"y.unsqueeze\(-1\)"),
    "labels as floats": (Tasks(Examples(S.x, LABELS.float()), Q), ValueError, r"y.long\(\) for class labels"),
    "one task's labels": (Tasks(Examples(S.x[:1], LABELS[0]), Q), ValueError, r"with y.unsqueeze\(0\)"),
    "one task's images": (Tasks(Examples(S.x[..., None], LABELS[0, :2]), Q), ValueError, r"x.unsqueeze\(0\) and y.uns"),
    "points last in x": (Tasks(Examples(S.x.mT, S.y), Q), ValueError, r"x.transpose\(1, 2\)"),
    "points last in y": (Tasks(Examples(S.x, S.y.mT), Q), ValueError, r"y.transpose\(1, 2\)"),
    "labels in one half": (
        Tasks(Examples(S.x, LABELS), Q),
        ValueError,
        r"int64 of shape \[2, 3\] and query.y torch.float32",
    ),
    "unlike lengths": (Tasks(Examples(S.x, S.y[:, :2]), Q), ValueError, "must agree"),
    "unlike tasks": (Tasks(S.select(0), Q), ValueError, "1 tasks and query 2"),
    "zero tasks": (Tasks(S.select(slice(0, 0)), Q.select(slice(0, 0))), ValueError, "zero tasks"),
    "no query": (Tasks(S, Q.first(0)), ValueError, "at least one per task"),
    "a task without query points": (Tasks(S, masked(Q, [3, 0])), ValueError, "task 1 has no real query point"),
    "mixed dtypes": (
        Tasks(Examples(S.x.double(), S.y), Q),
        TypeError,
        r"cast one of them, as support.x.to\(torch.float32",
    ),
    "the learner's dtype differs": (GOOD.to(dtype=torch.float64), TypeError, "learner"),
    "support and query of other types": (Tasks(S, Q.to(dtype=torch.float64)), TypeError, "support.x is torch.float32"),
    "float mask": (Tasks(Examples(S.x, S.y, torch.ones(2, 3)), Q), ValueError, r"use mask.bool\(\)"),
    "a list as mask": (
        Tasks(Examples(S.x, S.y, [[True] * 3] * 2), Q),
        TypeError,
        "mask must be a torch.Tensor or None",
    ),
    "mask of another shape": (Tasks(Examples(S.x, S.y, torch.ones(2, 2, dtype=torch.bool)), Q), ValueError, "mask"),
    "boolean labels": (Tasks(Examples(S.x, S.y > 0), Q), TypeError, "class labels"),
    "labels with an axis too many": (Tasks(Examples(S.x, S.y.long()), Q), ValueError, "squeeze"),
    "query of other features": (Tasks(S, Examples(Q.x.repeat(1, 1, 2), Q.y)), ValueError, "must agree"),
    "arrays": (Tasks(Examples(S.x.numpy(), S.y.numpy()), Q), TypeError, "torch.as_tensor"),
    "a tuple": ((S.x, S.y), TypeError, "quickstudy.Tasks"),
    "Examples": (S, TypeError, r"quickstudy.Tasks\(support, query\)"),
    "tensors in Tasks": (Tasks(S.x, S.y), TypeError, r"support = quickstudy.Examples\(x, y\)"),
    "a family": (Lines(), TypeError, r"draw some from it with .sample\("),
    "another device": (Tasks(S, Q.to("meta")), ValueError, r"tasks.to\(device\)"),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_meta_loss_refuses(name):
    learner = LEARNERS[name]()
    for case, (tasks, error, says) in BAD.items():
        if case == "NaN in the query" and name == "CNP, missing outputs":
            continue  # NaN says that an output was not observed
        with pytest.raises(error, match=says) as refusal:
            learner.meta_loss(tasks)
        assert "\n" not in str(refusal.value), case


ADAPT = {
    "NaN": (lambda adapt: adapt(Examples(spoil(S.x, float("nan")), S.y)), ValueError, "NaN"),
    "a tuple": (lambda adapt: adapt((S.x, S.y)), TypeError, r"support = quickstudy.Examples\(x, y\)"),
    "Tasks": (lambda adapt: adapt(GOOD), TypeError, "pass its .support"),
    "half a step": (lambda adapt: adapt(S, steps=1.5), ValueError, "steps=1.5; expected a whole number"),
    "negative steps": (lambda adapt: adapt(S, steps=-1), ValueError, "steps=-1; expected"),
    "a seed": (lambda adapt: adapt(S, generator=3), TypeError, r"not int; use torch.Generator\(\).manual_seed"),
    "numpy's generator": (lambda adapt: adapt(S, generator=np.random.default_rng()), TypeError, "not numpy.random"),
}

PREDICT = {
    "Examples": (lambda p: p(Q), TypeError, "not Examples; pass its inputs, its .x"),
    "Tasks": (lambda p: p(GOOD), TypeError, "its .query.x"),
    "an array": (lambda p: p(Q.x.numpy()), TypeError, "torch.as_tensor"),
    "one task": (lambda p: p(Q.x[:1]), ValueError, r"expects \[2, M, 1\]: write x.expand\(2, -1, -1\)"),
    "points": (lambda p: p(Q.x[0]), ValueError, r"x.unsqueeze\(0\).expand\(2, -1, -1\), for the same points in every"),
    "numbers": (lambda p: p(Q.x[0, :, 0]), ValueError, r"x.reshape\(1, -1, 1\).expand\(2, -1, -1\)"),
    "no features": (lambda p: p(Q.x[..., 0]), ValueError, r"write x.unsqueeze\(-1\)"),
    "other features": (lambda p: p(Q.x.repeat(1, 1, 2)), ValueError, r"expects \[2, M, 1\]"),
    "float64": (lambda p: p(Q.x.double()), TypeError, r"write x.to\(torch.float32\)"),
    "whole numbers": (lambda p: p(Q.x.long()), TypeError, r"write x.to\(torch.float32\)"),
    "more: a tuple": (lambda p: p.append((Q.x, Q.y)), TypeError, r"examples = quickstudy.Examples\(x, y\)"),
    "more: one task": (lambda p: p.append(Q.select(0)), ValueError, r"examples.x has shape \[1, 3, 1\]"),
    "more: labels": (lambda p: p.append(Examples(Q.x, LABELS)), ValueError, "examples.y is torch.int64"),
    "task 2 of 2": (lambda p: p.task(2), IndexError, r"task\(2\): this predictor has tasks 0 to 1"),
    "a task by name": (lambda p: p.task("b"), IndexError, r"task\('b'\): this predictor has tasks 0 to 1"),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_adapt_and_predictors_refuse(name):
    learner = LEARNERS[name]()
    predictor = learner.adapt(S)
    for table, given in ((ADAPT, learner.adapt), (PREDICT, predictor)):
        for call, error, says in table.values():
            with pytest.raises(error, match=says) as refusal:
                call(given)
            assert "\n" not in str(refusal.value)
    assert len(learner.adapt(S, steps=np.int64(1))(Q.x).mean) == len(predictor(Q.x).mean) == 2
    assert isinstance(predictor.task(np.int64(1)), nn.Module)


CLASSES = Examples(S.x, LABELS)
OPTIONS = {
    "a misspelt option": (lambda: qs.MAML(net(), step=3), TypeError, r"MAML\(\) .* 'step'; did you mean 'steps'"),
    "a usual name": (lambda: qs.Reptile(net(), inner_lr=0.1), TypeError, r"Reptile\(\) .*; did you mean 'lr'"),
    "an option of others": (
        lambda: qs.Pretrained(net(), first_order=True),
        TypeError,
        r"Pretrained\(\) .*'first_order'",
    ),
    "a class of networks": (lambda: qs.MAML(qs.nets.MLP), TypeError, r"network is the class MLP; make one: MLP\(...\)"),
    "a function": (lambda: qs.ANIL(lambda x: x), TypeError, "network must be a torch.nn.Module .* not function"),
    "no network": (lambda: qs.MetaSGD("mlp"), TypeError, "network must be a torch.nn.Module"),
    "a rate in quotes": (
        lambda: qs.MAML(net(), lr="0.1"),
        ValueError,
        "lr='0.1'; expected a number .* one rate per step",
    ),
    "an optimiser": (
        lambda: qs.MAML(net(), rule=torch.optim.SGD(net().parameters(), 0.1)),
        TypeError,
        r"rule=<SGD>; expected one of quickstudy.optimizers",
    ),
    "a class of rules": (lambda: qs.MAML(net(), rule=qs.optimizers.SGD), TypeError, r"make one: SGD\(lr=0.01\)"),
    "rates for all steps": (
        lambda: qs.MetaSGD(net(), lr=[0.1, 0.2]),
        ValueError,
        r"lr=\[0.1, 0.2\]; expected a finite",
    ),
    "rates of another network": (
        lambda: qs.MAML(net(), rule=qs.optimizers.SGD(qs.optimizers.Rates(net(3), per="parameter"))),
        ValueError,
        r"built for shape \[3, 16\], and the parameter has \[1, 16\]",
    ),
    "a class of losses": (
        lambda: qs.MAML(net(), loss=nn.MSELoss),
        TypeError,
        r"loss is the class MSELoss; make one: MSELoss\(\)",
    ),
    "a class of likelihoods": (
        lambda: qs.MAML(net(), likelihood=qs.likelihoods.Gaussian),
        TypeError,
        r"likelihood is the class Gaussian; make one",
    ),
    "an unhashable choice": (lambda: qs.MAML(net(), engine=["loop"]), ValueError, r"engine=\['loop'\]; choose one of"),
    "an unhashable activation": (lambda: qs.nets.MLP(1, [4], 1, activation={}), ValueError, "choose one of 'relu'"),
    "a module to adapt": (lambda: qs.MAML(net(), adapt="layers"), ValueError, r"all of a module's: 'layers.\*'"),
    "no name": (lambda: qs.MAML(net(), adapt=True), TypeError, "patterns such as 'head.*', not True"),
    "an input that is not read": (
        lambda: qs.MAML(net(), inputs={"context": torch.zeros(2)}),
        TypeError,
        r"forward takes x; add the argument, as forward\(self, x, context\)",
    ),
    "no penalty": (lambda: qs.iMAML(net(), lam=0.0), ValueError, "lam=0.0; expected a positive number"),
    "no warp layers": (lambda: qs.WarpGrad(net()), ValueError, "as nets.WarpedMLP has"),
    "too few classes": (
        lambda: qs.MAML(net(3)).adapt(CLASSES),
        ValueError,
        "class label 4, and the network has 3 outputs",
    ),
    "labels from -1": (
        lambda: qs.MAML(net(5), engine="loop").adapt(CLASSES._replace(y=LABELS - 1)),
        ValueError,
        "class label -1; labels count from 0",
    ),
    "labels for a Gaussian": (
        lambda: qs.MAML(net(5), likelihood=qs.likelihoods.Gaussian(0.1)).adapt(CLASSES),
        ValueError,
        r"take likelihoods.Categorical\(\)",
    ),
    "floats for classes": (
        lambda: qs.MAML(net(5), likelihood=qs.likelihoods.Categorical()).adapt(S),
        TypeError,
        r"class labels are integers \[N\]: give y.long\(\)",
    ),
    "labels with an axis, as floats": (
        lambda: qs.MAML(net(5)).adapt(CLASSES._replace(y=LABELS[..., None].float())),
        ValueError,
        r"must map \[N, \*dx\] to \[N, 1\]: change its last layer, or, if y holds class labels, give integers",
    ),
    "too many features": (lambda: qs.MAML(net(inputs=2)).adapt(S), ValueError, r"build it as MLP\(1, ...\)"),
    "whole numbers": (
        lambda: qs.Pretrained(net())(GOOD._replace(query=Q._replace(x=Q.x.long()))),
        ValueError,
        r"x.float\(\)",
    ),
    "images without channels": (
        lambda: qs.MAML(qs.nets.Conv4(1, 5, side=8)).adapt(Examples(torch.zeros(2, 3, 8, 8), LABELS)),
        ValueError,
        r"x.unsqueeze\(2\) for x \[T, N, height, width\]",
    ),
    "inputs for other features": (
        lambda: qs.ALPaCA(dx=2).adapt(S),
        ValueError,
        r"built with dx=2 and expects \[T, N, 2\]",
    ),
    "a network for a CNP": (lambda: qs.CNP(net()), ValueError, "dx=<MLP>; expected a whole number"),
    "another device": (
        lambda: check_generator(torch.Generator(), torch.device("cuda")),
        ValueError,
        r"Generator\('cuda'\)",
    ),
    "a task that is not there": (lambda: S.select(5), IndexError, r"select\(5\): there are tasks 0 to 1"),
    "a tuple to append": (lambda: S.append((Q.x, Q.y)), TypeError, "cannot append a tuple"),
    "arrays to pad": (lambda: pad([(np.ones((3, 1)), np.ones((3, 1)))]), TypeError, "expected two tensors"),
    "pairs to collate": (lambda: collate([(S, Q)]), TypeError, "expected a sequence of Tasks"),
    "a seed for a family": (
        lambda: qs.tasks.Sinusoid().sample(2, support=3, query=3, generator=0),
        TypeError,
        "generator must be a torch.Generator or None, not int",
    ),
    "a seed for samples": (lambda: qs.CNP().adapt(S)(Q.x).sample(2, generator=1), TypeError, "torch.Generator"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_and_records_refuse(case):
    call, error, says = OPTIONS[case]
    with pytest.raises(error, match=says) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_numbers_of_numpy_are_numbers():
    learner = qs.MAML(
        qs.nets.MLP(np.int64(1), [np.int64(8)], 1), lr=np.float32(0.1), steps=np.int64(2), chunk=np.int64(1)
    )
    assert type(learner.steps) is type(learner.chunk) is int
    assert type(learner.rule.lr) is float
    assert S.select(np.int64(1)).x.shape == S.select(torch.tensor(1)).x.shape == (1, 3, 1)
    assert len(qs.NeuralProcess(width=8, latent=4).adapt(S).functions(np.int64(3))) == 3


def test_inputs_that_are_no_numbers_need_no_warning():
    """A prediction at NaN is NaN; that nothing was written into the data is seen all the same."""
    assert qs.MAML(net()).adapt(S)(Q.x * float("nan")).mean.isnan().all()
