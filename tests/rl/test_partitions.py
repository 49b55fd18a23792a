"""What adapts: everything, the head (ANIL), a context (CAVIA), at learned rates (Meta-SGD); beside an explicit loop."""

from typing import Any

import pytest
import torch
from torch.func import functional_call

import quickstudy as qs
from quickstudy.gradient.anil import last_layer
from quickstudy.inner.rates import Rates
from quickstudy.rl.decisions import Decisions
from quickstudy.rl.outer import outer_parameters

RATE = 0.7


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def plain_policy() -> Any:
    return qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2, activation="tanh"), 2, log_std=-0.5)


def context_policy(kind: str = "gaussian") -> Any:
    network: Any = qs.nets.WithContext(qs.nets.MLP(2 + 3, [8], 2, activation="tanh"), 3)
    if kind == "squashed":
        return qs.rl.SquashedGaussianPolicy(network, [-1.0, -1.0], [1.0, 1.0], log_std=-0.5)
    if kind == "normalised":
        network = qs.rl.NormalizedObservations(network, 2)
    return qs.rl.GaussianPolicy(network, 2, log_std=-0.5)


def context(learned: bool = False) -> Any:
    return {"context": torch.nn.Parameter(torch.randn(3)) if learned else torch.zeros(3)}


def partition(name: str) -> tuple[Any, dict[str, Any]]:
    """A policy, and the options that say what of it adapts."""
    torch.manual_seed(3)
    if name.startswith("context"):
        policy = context_policy(name.rpartition(" ")[2])
        return policy, {"inputs": context("learned" in name), "adapt": "context"}
    policy = plain_policy()
    if name == "learned rates":
        return policy, {"lr": Rates(policy, RATE, per="parameter")}
    return policy, {"adapt": last_layer(policy)} if name == "head" else {}


PARTITIONS = (
    "everything",
    "head",
    "context",
    "context learned",
    "context squashed",
    "context normalised",
    "learned rates",
)
ADAPTED = {"head": {"network.layers.1.weight", "network.layers.1.bias"}}


def by_hand(learner: Any, name: str) -> tuple[Any, Any]:
    """Two functions in plain PyTorch: decisions -> adapted tensors; tensors and decisions -> log-probabilities."""
    policy, inputs = learner.policy, dict(learner.inputs.items()) if learner.inputs is not None else {}
    if learner.inputs is not None:  # buffers are no items of a ParameterDict
        inputs |= dict(learner.inputs.named_buffers())
    start = dict(policy.named_parameters()) | inputs
    moving = [n for n in start if n in ({"context"} if name.startswith("context") else ADAPTED.get(name, start))]

    def log_prob(values: dict[str, Any], data: Decisions) -> Any:
        own = {k: v for k, v in values.items() if k not in inputs}
        outputs = functional_call(policy, own, (data.observation.flatten(0, 1),), {k: values[k] for k in inputs})
        return policy.log_prob(outputs, data.action.flatten(0, 1)).unflatten(0, data.mask.shape)

    def adapt(data: Decisions, ratio: bool) -> dict[str, Any]:
        values = {k: v if v.requires_grad else v.clone().requires_grad_() for k, v in start.items()}
        score = log_prob(values, data)
        score = (score - data.log_prob).exp() if ratio else score
        loss = -(torch.where(data.mask, score, 0) * data.advantage).sum() / data.mask.sum()
        found = torch.autograd.grad(loss, [values[n] for n in moving], create_graph=True)
        rate = {n: learner.rule.lr.values[n.replace(".", "/")] if name == "learned rates" else RATE for n in moving}
        return values | {n: values[n] - rate[n] * g for n, g in zip(moving, found, strict=True)}

    return adapt, log_prob


def made(learner: str, name: str, **more: Any) -> Any:
    policy, options = partition(name)
    options = {"lr": RATE} | options | more
    if learner != "MAMLTRPO":
        options["optimizer"] = lambda parameters: torch.optim.SGD(parameters, lr=1.0)
    if learner == "ProMP":
        options |= {"outer_steps": 1, "inner_kl": 0.0}
    return getattr(qs.rl, learner)(policy, **options)


def board() -> tuple[Any, torch.Generator]:
    environment, generator = qs.rl.Navigation2D(num_envs=4, horizon=6), torch.Generator().manual_seed(0)
    environment.set_tasks(environment.sample_tasks(3, generator=generator))
    return environment, generator


@pytest.mark.parametrize("name", PARTITIONS)
@pytest.mark.parametrize("learner", ["MAMLTRPO", "MAMLVPG", "ProMP"])
def test_adapted_policies_and_the_meta_gradient_are_those_of_a_loop(learner: str, name: str) -> None:
    it, (environment, generator) = made(learner, name), board()
    practice = it.practise(environment, generator=generator)
    adapt, log_prob = by_hand(it, name)
    actor = it.actor().adapt(practice.episodes[0])
    total: Any = 0.0
    for t in range(3):
        before, after = (Decisions(*(part[t] for part in stage)) for stage in practice.decisions)
        values = adapt(before, learner == "ProMP")
        for key, value in actor.adapted.params.items():
            torch.testing.assert_close(value[t], values[key])
        ratio = (log_prob(values, after) - after.log_prob).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio))  # the rollout acted with these policies
        total = total - (torch.where(after.mask, ratio, 0) * after.advantage).sum() / after.mask.sum() / 3
    parameters = outer_parameters(it)
    expected = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    old = [p.detach().clone() for p in parameters]
    outcome = it.step(practice)
    norm = torch.cat([g.flatten() for g in expected]).norm().item()
    found = outcome.gradient_norm if learner == "MAMLTRPO" else outcome["gradient_norm"]
    assert found == pytest.approx(norm, rel=1e-6)
    if learner == "MAMLTRPO":
        assert outcome.accepted and outcome.kl <= 0.01
        return
    for p, q, g in zip(parameters, old, expected, strict=True):
        torch.testing.assert_close(q - p, g, rtol=1e-6, atol=1e-9)


def test_what_is_learned() -> None:
    names = [n for n, _ in made("MAMLTRPO", "context").named_parameters()]
    assert not any("context" in n for n in names)  # fixed at zero, as in the paper
    assert "inputs.context" in dict(made("MAMLTRPO", "context learned").named_parameters())
    assert set(made("MAMLTRPO", "head").inner.adapted_names()) == ADAPTED["head"]


@pytest.mark.parametrize("name", ["context learned", "head"])
def test_actors_before_and_after_a_step_have_modules_of_their_own(name: str) -> None:
    it, (environment, generator) = made("MAMLTRPO", name), board()
    actor, observation = it.actor(lr=0.3), torch.randn(3, 5, 2)
    for _ in range(2):
        outputs = actor(observation)
        for t in range(3):
            torch.testing.assert_close(actor.task(t)(observation[t]), outputs[t])
        actor = actor.adapt(actor.rollout(environment, generator=generator))
    if name == "context learned":
        with_context = it.policy(observation[0], context=it.inputs["context"])
        torch.testing.assert_close(it.actor()(observation)[0], with_context)
        assert not torch.allclose(with_context, it.policy(observation[0]))


@pytest.mark.parametrize("name", ["context", "context learned", "head"])
@pytest.mark.parametrize("learner", ["MAMLTRPO", "ProMP"])
def test_they_are_saved_and_loaded(tmp_path: Any, learner: str, name: str) -> None:
    policy, options = partition(name)
    it, (environment, generator) = getattr(qs.rl, learner)(policy, lr=RATE, **options), board()
    actor = it.actor().adapt(it.actor().rollout(environment, generator=generator))
    qs.save(actor, tmp_path / "actor")
    again = qs.load(tmp_path / "actor")
    observation = torch.randn(3, 5, 2)
    assert torch.equal(actor(observation), again(observation))
    assert again.inner.adapted_names() == actor.inner.adapted_names()


def test_no_inner_steps_leave_the_context_alone() -> None:
    policy, options = partition("context learned")
    it, (environment, generator) = qs.rl.MAMLVPG(policy, steps=0, **options), board()
    practice = it.practise(environment, generator=generator)
    before = it.inputs["context"].detach().clone()
    it.step(practice)
    assert not torch.equal(before, it.inputs["context"])  # it is a parameter like others


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match=r"names 'context', and the policy's network takes .*WithContext"):
        qs.rl.MAMLVPG(plain_policy(), inputs=context(), adapt="context")
    with pytest.raises(ValueError, match="nothing"):
        qs.rl.MAMLTRPO(plain_policy(), adapt="nothing")
    with pytest.raises(TypeError, match="tensor"):
        qs.rl.ProMP(context_policy(), inputs={"context": [0.0]})
