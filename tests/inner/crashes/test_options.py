"""Every option of the inner loop has a name that editors complete, a type, a default and an explanation."""

import inspect
import re
import typing

import pytest

import quickstudy as qs
from quickstudy.inner.loop import inner_loop

OPTIONS = [
    "loss",
    "inner_loss",
    "objective",
    "lr",
    "rule",
    "steps",
    "adapt",
    "inputs",
    "minibatch",
    "engine",
    "first_order",
    "checkpoint",
    "mixed_mode",
    "truncate",
    "implicit",
    "proximal",
    "randomness",
    "verify",
]
DEFAULTS = {
    "steps": 1,
    "engine": "auto",
    "first_order": False,
    "mixed_mode": False,
    "proximal": 0.0,
    "randomness": "different",
    "verify": True,
}
LEARNERS = [
    qs.MAML,
    qs.FOMAML,
    qs.MetaSGD,
    qs.MetaCurvature,
    qs.ANIL,
    qs.BOIL,
    qs.CAVIA,
    qs.iMAML,
    qs.MAMLPlusPlus,
    qs.Reptile,
    qs.WarpGrad,
    qs.BayesianMAML,
    qs.Pretrained,
]
every_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda made: made.__name__)


def options_of(function):
    parameters = inspect.signature(function).parameters
    return {k: p for k, p in parameters.items() if k != "network"}


def test_every_option_is_spelled_out():
    found = options_of(qs.inner_loop)
    assert sorted(found) == sorted(OPTIONS)
    assert {p.kind for p in found.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert next(iter(inspect.signature(qs.inner_loop).parameters)) == "network"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_default_a_type_and_a_word(name):
    option = options_of(inner_loop)[name]
    assert option.default == DEFAULTS.get(name), option
    assert option.annotation not in (inspect.Parameter.empty, typing.Any)
    documented = re.search(r"Args:\n(.*?)(\n\n|\Z)", inspect.getdoc(inner_loop), re.DOTALL).group(1)
    [line] = [x for x in documented.split("\n") if re.match(rf"    (\w+, )*{name}(, \w+)*: \S", x)]
    assert len(line) > 20


def test_nothing_is_documented_that_is_no_option():
    documented = re.search(r"Args:\n(.*?)(\n\n|\Z)", inspect.getdoc(inner_loop), re.DOTALL).group(1)
    names = [n for x in documented.split("\n") if (m := re.match(r"    ([\w, ]+): ", x)) for n in m[1].split(", ")]
    assert sorted(names) == sorted(["network", *OPTIONS])


@pytest.mark.parametrize("wrong", ["stpes", "learning_rate", "first_orders", "inner_lr", "Engine", "kwargs", "options"])
def test_a_name_that_is_none_is_refused(wrong):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
        qs.inner_loop(qs.nets.MLP(1, [4], 1), **{wrong: 1})


def test_nothing_but_the_network_goes_by_place():
    with pytest.raises(TypeError, match="positional"):
        qs.inner_loop(qs.nets.MLP(1, [4], 1), None, 0.1)


@every_learner
def test_learners_name_their_options(learner):
    """What a learner hands on is a dictionary of known keys (`Unpack`), which editors complete; never `Any`."""
    for name, parameter in inspect.signature(learner).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            unpacked = typing.get_origin(parameter.annotation) is typing.Unpack
            assert unpacked, f"{learner.__name__}(**{name}: {parameter.annotation})"


def known_to(learner):
    """The names that a signature completes, those of an unpacked dictionary included."""
    found = set()
    for name, parameter in inspect.signature(learner).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            for known in typing.get_args(parameter.annotation):
                found |= set(typing.get_type_hints(known))
        else:
            found.add(name)
    return found


@every_learner
def test_learners_know_the_options_of_the_inner_loop(learner):
    """All but those that are the algorithm itself: `inner_loss` and `verify` everywhere."""
    known = known_to(learner)
    wanted = {"engine", "minibatch", "verify", "inner_loss"}
    if learner is qs.BayesianMAML:
        wanted -= {"inner_loss"}  # it has inner_likelihood
    assert wanted <= known, wanted - known


@every_learner
def test_learners_refuse_a_name_that_is_none(learner):
    options = {"context": 2} if learner is qs.CAVIA else {}
    network = qs.nets.MLP(3 if learner is qs.CAVIA else 1, [4], 1)
    if learner is qs.WarpGrad:
        network = qs.nets.WarpedMLP(1, [4], 1)
    with pytest.raises(TypeError, match="stpes"):
        learner(network, stpes=3, **options)


def test_maml_documents_what_it_takes():
    known = known_to(qs.MAML)
    assert {*OPTIONS, "likelihood", "compile", "chunk"} - {"objective"} <= known


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_verify_is_true_or_false(value):
    with pytest.raises((TypeError, ValueError), match=r"verify="):
        qs.inner_loop(qs.nets.MLP(1, [4], 1), verify=value)
    assert qs.inner_loop(qs.nets.MLP(1, [4], 1), verify=False) is not None


@pytest.mark.parametrize("value", [0, "squared", [1]])
def test_inner_loss_is_a_function(value):
    with pytest.raises(TypeError, match=r"inner_loss="):
        qs.inner_loop(qs.nets.MLP(1, [4], 1), inner_loss=value)


def test_inner_loss_and_objective_exclude_each_other():
    """An objective is what inner steps descend already."""
    with pytest.raises((TypeError, ValueError), match="inner_loss=.*objective=|objective=.*inner_loss="):
        qs.inner_loop(qs.nets.MLP(1, [4], 1), inner_loss=lambda o, y: o.sum(-1), objective=lambda m, b, o: m(b.x).sum())
