"""Rollouts in all environments of all tasks together, each task with its own policy."""

import math
from typing import Any, Protocol

import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor

from quickstudy.inner.adapted import Adapted
from quickstudy.learner import check_generator, check_steps
from quickstudy.rl.acting import acting
from quickstudy.rl.environment import Environment, choices_of
from quickstudy.rl.envs.stepping import advance, begin
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.recording import Recording, check_outputs


class Recall(Protocol):
    """Outputs of policies that depend on what they have seen and done before."""

    def __call__(self, observation: Tensor) -> Tensor:
        """The policies' outputs `[T, E, k]` at `observation [T, E, *do]`."""

    def receive(self, action: Tensor, reward: Tensor, done: Tensor) -> None:
        """Receive the actions `[T, E, *da]` that were taken, their rewards and whether episodes ended, `[T, E]`."""


@torch.no_grad()
def rollout(
    environment: Environment,
    policy: Any,
    *,
    adapted: Adapted | None = None,
    recall: Recall | None = None,
    generator: torch.Generator | None = None,
    restart: bool = False,
    steps: int | None = None,
    keep_unfinished: bool = False,
    greedy: bool = False,
    noise: Tensor | None = None,
) -> Episodes:
    """Episodes on the environment's `T` tasks, with one batched forward pass for each step, without a graph.

    Without `restart`, every row holds one episode. With `restart`, a row starts a new episode whenever one ends, for
    `steps` steps; an episode that is unfinished then is masked, as in the code of Finn et al. 2017.

    Args:
        environment: an environment whose tasks are set.
        policy: a `quickstudy.rl.policy.Policy`; the policy of all tasks if `adapted` is None.
        adapted: the policies of the tasks, adapted from `policy` by an inner loop.
        recall: gives the outputs in place of `policy`, and is told what came of them: a policy with a memory.
        generator: source of all random numbers, for `environment.reset` and for the noise of the actions.
        restart: start new episodes in rows whose episode has ended.
        steps: `H`; only with `restart`. `environment.horizon` by default, and always without `restart`.
        keep_unfinished: only with `restart`: keep the last episode of each row, marked as truncated.
        greedy: take the most probable action instead of drawing one.
        noise: `[H, T, E, n]`, the noise of the actions, instead of drawing it; see `policy.noise`.

    Returns:
        Episodes `[T, E, H]`. If an episode ends early, the rest of its row is masked; `H` is always the same.

    Raises:
        ValueError: for observations or rewards that are not finite and outputs of the policy that are NaN, naming task,
            environment and step; for actions that do not fit the environment's action space.
        EnvironmentFailure: if the environment raises, or returns other shapes or types than its contract says.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.envs.cartpole import CartPole
    >>> from quickstudy.rl.policy import CategoricalPolicy
    >>> environment, generator = CartPole(num_envs=5, horizon=50), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> episodes = rollout(environment, CategoricalPolicy(qs.nets.MLP(4, [8], 2)), generator=generator)
    >>> episodes.observation.shape, episodes.returns().shape
    (torch.Size([3, 5, 50, 4]), torch.Size([3, 5]))
    """
    steps = _check(environment, generator, restart, steps, keep_unfinished)
    act = acting(policy, adapted, environment.num_tasks) if recall is None else recall
    observation = begin(environment, generator=generator)
    _check_types(policy, observation)
    seed = None if generator is None else generator.initial_seed()
    look = observation.device.type == "cpu"  # on other devices reading a value would wait for the device
    over = torch.zeros(observation.shape[:2], dtype=torch.bool, device=observation.device)
    recording: Recording | None = None
    for h in range(steps):
        outputs = act(observation)
        if recording is None:
            noise = None if greedy else _noise(policy, outputs, noise, steps, generator)
            action = _first_action(environment, policy, outputs, noise)
            recording = Recording(steps, observation, outputs, action)
        else:
            action = policy.mode(outputs) if noise is None else policy.act(outputs, noise[h])
        if look:
            check_outputs(observation, outputs, over, h)
        recording.decide(h, observation, outputs, action)
        step = advance(environment, action, observation, step=h, seed=seed)
        recording.receive(h, step)
        observation, done = step.observation, step.terminated | step.truncated
        if recall is not None:
            recall.receive(recording.action[h], recording.reward[h], done)
        if restart:
            if h + 1 < steps and bool(done.any()):
                observation = begin(environment, done, step=h + 1, seed=seed)
            continue
        over = over | done
        if (look or h % 16 == 15) and bool(over.all()):
            break
    assert recording is not None
    return recording.episodes(policy, restart, keep_unfinished)


def _check_types(policy: Any, observation: Tensor) -> None:
    """Raise ValueError unless real observations have the type of the policy's weights."""
    types = {p.dtype for p in getattr(policy, "parameters", list)() if p.is_floating_point()}
    if types and observation.is_floating_point() and observation.dtype not in types:
        raise ValueError(
            f"the environment's observations are {observation.dtype} after reset, and the policy's weights are "
            f"{' and '.join(map(str, types))}; give observations in torch's default type, {torch.get_default_dtype()}"
        )


def _noise(policy: Any, outputs: Tensor, given: Tensor | None, steps: int, generator: Any) -> Tensor:
    """The noise of all steps, drawn in one call, as a call costs about the same for one step as for a hundred."""
    if given is None:
        return policy.noise(outputs, steps=steps, generator=generator)
    if given.shape[:3] != (steps, *outputs.shape[:2]):
        raise ValueError(
            f"noise has shape {list(given.shape)}; expected [H, T, E, n] with [H, T, E] = "
            f"{[steps, *outputs.shape[:2]]}, as policy.noise(outputs, steps={steps}) gives"
        )
    return given


def _first_action(environment: Environment, policy: Any, outputs: Tensor, noise: Tensor | None) -> Tensor:
    """The actions of the first step. Raises ValueError if they do not fit the environment's action space."""
    action, space = policy.mode(outputs) if noise is None else policy.act(outputs, noise[0]), environment.action_space
    if isinstance(space, Discrete):
        if action.is_floating_point() or outputs.shape[-1] != space.n:
            raise ValueError(
                f"the environment has {space.n} discrete actions and the policy's outputs are {list(outputs.shape)}; "
                f"use CategoricalPolicy with a network of {space.n} outputs"
            )
    elif isinstance(space, MultiDiscrete):
        choices = choices_of(space)
        if action.is_floating_point() or action.shape[2:] != space.shape or outputs.shape[-1] != sum(choices):
            raise ValueError(
                f"the environment has discrete actions with {choices} choices and the policy's outputs are "
                f"{list(outputs.shape)}; use MultiDiscretePolicy with a network of {sum(choices)} outputs, {choices=}"
            )
    elif not action.is_floating_point() or action.shape[2:] != space.shape:
        raise ValueError(
            f"the environment takes actions of shape {list(space.shape or ())} and the policy gave "
            f"{action.dtype} {list(action.shape[2:])}; use GaussianPolicy, action_dim={math.prod(space.shape or ())}"
        )
    return action


def _check(environment: Any, generator: Any, restart: bool, steps: int | None, keep_unfinished: bool) -> int:
    check_generator(generator)
    if not environment.num_tasks:
        raise ValueError("the environment has no tasks; call environment.set_tasks(environment.sample_tasks(...))")
    if not restart and (steps is not None or keep_unfinished):
        raise ValueError(
            "steps= and keep_unfinished= are for restart=True; without it every row holds one episode of at most "
            f"environment.horizon = {environment.horizon} steps"
        )
    steps = environment.horizon if steps is None else check_steps(steps)
    if steps < 1:
        raise ValueError(f"steps={steps}; expected at least 1")
    return steps
