"""Returns and advantages of episodes `[T, E, H]`, with masks and several episodes per row.

The sum of later rewards ends where the episode terminates, where it is truncated, and at the end of the row, which
counts as a truncation. With `next_value`, the value of the last state is added after a truncation (bootstrapping).
Without it, later rewards count as 0, as in the code of Finn et al. 2017, whose baseline depends on time.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.checks import check_number
from quickstudy.rl.episodes import Episodes


def discounted_returns(
    episodes: Episodes, *, discount: float = 0.99, next_value: Float[Tensor, "T E H"] | None = None
) -> Float[Tensor, "T E H"]:
    """The discounted return from each step on, `R_t = r_t + discount * R_{t+1}`, within its episode.

    Args:
        episodes: episodes of `T` tasks.
        discount: discount of rewards; 0.99 as in Finn et al. 2017.
        next_value: values of `next_observation`, `[T, E, H]`, used where an episode was truncated.

    Returns:
        `[T, E, H]`, 0 where there was no transition.

    Raises:
        ValueError: for a discount outside [0, 1].

    >>> from quickstudy.rl.episodes import Episodes
    >>> reward, no, yes = torch.ones(1, 1, 3), torch.zeros(1, 1, 3, dtype=torch.bool), torch.ones(1, 1, 3).bool()
    >>> episodes = Episodes(reward, reward, reward, reward, reward, no, no, yes, torch.arange(3).expand(1, 1, 3))
    >>> discounted_returns(episodes, discount=0.5).flatten().tolist()
    [1.75, 1.5, 1.0]
    """
    _check_unit("discount", discount)
    return _backwards(_rewards(episodes, discount, next_value), episodes, discount)


def gae(
    episodes: Episodes,
    value: Float[Tensor, "T E H"],
    *,
    next_value: Float[Tensor, "T E H"] | None = None,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> Float[Tensor, "T E H"]:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438, eq. 16):

        A_t = sum_l (discount * lambda)^l delta_{t+l},     delta_t = r_t + discount * V(s_{t+1}) - V(s_t)

    with `V(s_{t+1}) = 0` after a terminated step. With lambda = 1 the estimate is the return minus the value.

    Args:
        episodes: episodes of `T` tasks.
        value: values of `observation`.
        next_value: values of `next_observation`, used where an episode was truncated; None takes 0 there.
        discount: discount of rewards; 0.99 as in Finn et al. 2017.
        gae_lambda: lambda; 1 as in Finn et al. 2017.

    Returns:
        `[T, E, H]`, 0 where there was no transition.

    Raises:
        ValueError: for a discount or lambda outside [0, 1], or values of another shape.
    """
    _check_unit("discount", discount)
    _check_unit("gae_lambda", gae_lambda)
    for name, given in (("value", value), ("next_value", next_value)):
        if given is not None and given.shape != episodes.reward.shape:
            raise ValueError(f"{name} has shape {list(given.shape)}; expected {list(episodes.reward.shape)}")
    value = torch.where(episodes.mask, value, 0)
    following = torch.cat([value[:, :, 1:], torch.zeros_like(value[:, :, :1])], 2) * _goes_on(episodes)
    delta = _rewards(episodes, discount, next_value) + discount * following - value
    return _backwards(delta, episodes, discount * gae_lambda)


def standardised(
    advantage: Float[Tensor, "T E H"], mask: Bool[Tensor, "T E H"], *, epsilon: float = 1e-8
) -> Float[Tensor, "T E H"]:
    """Advantages with mean 0 and standard deviation 1 over the real transitions of each task.

    Args:
        advantage: `[T, E, H]`.
        mask: True for a real transition.
        epsilon: added to the standard deviation, so that equal advantages become 0.

    Returns:
        `[T, E, H]`, 0 where there was no transition.

    >>> standardised(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[[True, True, False]]]))
    tensor([[[-1.,  1.,  0.]]])
    """
    count = mask.sum((1, 2), keepdim=True).clamp(min=1)
    mean = torch.where(mask, advantage, 0).sum((1, 2), keepdim=True) / count
    centred = torch.where(mask, advantage - mean, 0)
    return centred / ((centred.square().sum((1, 2), keepdim=True) / count).sqrt() + epsilon)


def _goes_on(episodes: Episodes) -> Tensor:
    """`[T, E, H]` bool, True where the next step of the row belongs to the same episode."""
    after = torch.zeros_like(episodes.mask)
    after[:, :, :-1] = episodes.mask[:, :, 1:]
    return after & episodes.mask & ~episodes.done


def _rewards(episodes: Episodes, discount: float, next_value: Tensor | None) -> Tensor:
    """The rewards; the last one of a truncated episode includes the discounted value of its last state."""
    reward = torch.where(episodes.mask, episodes.reward, 0)
    if next_value is None:
        return reward
    cut = episodes.mask & ~episodes.terminated & ~_goes_on(episodes)
    return torch.where(cut, reward + discount * next_value, reward)


def _backwards(signal: Tensor, episodes: Episodes, decay: float) -> Tensor:
    """`X_t = signal_t + decay * X_{t+1}` within each episode."""
    weights = (_goes_on(episodes).to(signal.dtype) * decay).unbind(2)
    found = list(signal.unbind(2))
    for h in range(len(found) - 2, -1, -1):
        found[h] = torch.addcmul(found[h], weights[h], found[h + 1])
    return torch.where(episodes.mask, torch.stack(found, 2), 0)


def _check_unit(name: str, value: float) -> None:
    if check_number(name, value) > 1:
        raise ValueError(f"{name}={value!r}; expected a number between 0 and 1")
