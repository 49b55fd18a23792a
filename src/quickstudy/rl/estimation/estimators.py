"""Estimators of the gradient of an inner step, which differ in the derivative of that gradient.

The inner loop takes a step along the gradient of a surrogate, `theta' = theta - lr grad L(theta; tau)`, on trajectories
tau drawn by the policy itself. All surrogates here have the same gradient, the policy gradient `-mean_i sum_t A_t g_t`
with `g_t = grad log pi(a_t|s_t)`. They differ in their Hessian, which enters the meta-gradient. The meta-gradient may
be that of one of two objectives:

    expected update   J(theta + lr grad J(theta)): needs the Hessian of J             lvc, dice, loaded_dice
    sampled update    E_tau[ J(theta - lr grad L(theta; tau)) ]: needs the Hessian of the sampled L, and the
                      derivative of the distribution of tau                           emaml (and maml, in part)

With `R_t` the sum of rewards from t on and `V_t = sum_{s<t} g_s`, the Hessian of J is

    E[ sum_t R_t (grad g_t + g_t g_t' + g_t V_t' + V_t g_t') ]        (Rothfuss et al. 2019, arXiv 1810.06784, app. A)

The surrogates of one trajectory, with `[x] = exp(x - x held constant)`, whose value is 1, are

    maml          -sum_t A_t log pi_t. Its Hessian has only the terms A_t grad g_t: all products of gradients are
                  missing, and the rest depends on the baseline. (Finn et al. 2017, arXiv 1703.03400)
    lvc           -sum_t A_t [log pi_t]. Its Hessian has g_t g_t', but not g_t V_t' + V_t g_t', the effect of earlier
                  actions on the probability of later states. Low variance. (Rothfuss et al. 2019)
    dice          -sum_t A_t ([w_t] - [v_t]), w_t = sum_{s<=t} log pi_s, v_t = w_t - log pi_t. Has all terms; unbiased,
                  high variance. With A = R it is DiCE (Foerster et al. 2018, arXiv 1802.05098); with A = R - b it is
                  DiCE with a baseline for derivatives of every order (Mao et al. 2019, ICML).
    loaded_dice   dice with w_t = log pi_t + past * w_{t-1}: the terms g_t V_t' decay with the distance between the
                  two actions. past = 0 is lvc, past = 1 is dice. (Farquhar et al. 2019, arXiv 1909.10549)
    emaml         the surrogate of maml, while the outer loss adds `SamplingTerm`, the derivative of the distribution
                  of tau. Exact for the sampled update. (Stadie et al. 2018, arXiv 1803.01118)

A fixed baseline changes none of these expectations except that of maml's Hessian. A baseline fitted to the same
trajectories, and standardised advantages, add a bias of order 1/episodes to each. A line search over theta that repeats
the inner step on the same trajectories follows maml's derivative for every estimator, because the terms with g g' are
effects on trajectories that would be drawn again.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from quickstudy.rl.decisions import Decisions, Over, average, check_over, log_probs
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.advantages import discounted_returns

Estimator = Literal["maml", "lvc", "dice", "loaded_dice", "emaml"]


@final
@dataclass(frozen=True, eq=False)
class InnerSurrogate:
    """The loss of an inner step, an objective `(model, decisions of one task, outer) -> scalar`.

    Args:
        policy: the policy whose log-probabilities are taken.
        estimator: see the docstring of this module.
        past: for "loaded_dice" only: the factor, from 0 to 1, by which earlier actions count less with each step.
        over: what the sum over transitions is divided by: "transitions", as published, or "episodes".

    Raises:
        ValueError: for an unknown estimator, or `past` outside [0, 1] or for an estimator that has none.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.policy import GaussianPolicy
    >>> policy = GaussianPolicy(qs.nets.MLP(2, [8], 2), 2)
    >>> loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator="lvc"), lr=0.1)
    >>> s, a, one = torch.randn(3, 4, 5, 2), torch.randn(3, 4, 5, 2), torch.ones(3, 4, 5)
    >>> data = Decisions(s, a, one, one, one.bool(), torch.arange(5).expand(3, 4, 5))
    >>> loop(batch=lambda step, adapted: data, num_tasks=3).params["log_std"].shape
    torch.Size([3, 2])
    """

    policy: Any
    _: KW_ONLY
    estimator: Estimator = "maml"
    past: float | None = None
    over: Over = "transitions"

    def __post_init__(self) -> None:
        check_over(self.over)
        if self.estimator not in get_args(Estimator):
            raise ValueError(f"estimator={self.estimator!r}; choose one of {', '.join(get_args(Estimator))}")
        if (self.past is not None) != (self.estimator == "loaded_dice"):
            raise ValueError(
                f"estimator={self.estimator!r} with past={self.past!r}; past= belongs to loaded_dice, and must be "
                "given there: 0 is lvc, 1 is dice"
            )
        if self.past is not None and not 0 <= self.past <= 1:
            raise ValueError(f"past={self.past!r}; expected a number between 0 and 1")

    def __call__(self, model: Callable[[Tensor], Tensor], data: Decisions, outer: Any = None) -> Tensor:
        log_prob = log_probs(self.policy, model, data)
        if self.estimator in ("maml", "emaml"):
            score = log_prob
        elif self.estimator == "lvc":
            score = _one(log_prob)
        else:
            w = _with_past(log_prob, data.time, 1.0 if self.past is None else self.past)
            score = _one(w) - _one(w - log_prob)
        return -average(score * data.advantage, data, self.over)


@final
@dataclass(frozen=True, eq=False)
class SamplingTerm:
    """The term that "emaml" adds to the outer loss, since the trajectories before adaptation depend on theta, too:

        grad E_tau[J(theta'(tau))] = E_tau[ (d theta'/d theta)' grad J(theta') + J(theta') sum_i sum_t g_t(tau_i) ]

    It is an objective `(model, (decisions of one task, outcome), outer) -> -outcome * sum_i sum_t log pi(a_t|s_t)`, of
    which only the gradient is meaningful; `outcome` comes from `outcomes`. The sum is over *all* transitions of all
    episodes of the task, as the probability of a batch is a product. The mean that the code of Rothfuss et al. 2019 has
    in its place makes the term too small by the factor (episodes x steps). Its variance grows with the number of
    episodes.

    With several inner steps there is one term for the episodes of each step: `adapted.evaluate(SamplingTerm(policy),
    ...)` of the policies that drew them, with their graph.

    Args:
        policy: the policy whose log-probabilities are taken.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.policy import CategoricalPolicy
    >>> policy, one = CategoricalPolicy(qs.nets.MLP(2, [], 2)), torch.ones(4, 5)
    >>> data = Decisions(torch.zeros(4, 5, 2), one.long(), one, one, one.bool(), torch.arange(5).expand(4, 5))
    >>> SamplingTerm(policy)(lambda x: torch.zeros(20, 2), (data, torch.tensor(0.1)))  # 0.1 * 20 * log 2
    tensor(1.3863)
    """

    policy: Any

    def __call__(self, model: Callable[[Tensor], Tensor], data: tuple[Decisions, Tensor], outer: Any = None) -> Tensor:
        before, outcome = data
        return -outcome.detach() * log_probs(self.policy, model, before).sum()


def outcomes(
    episodes: Episodes, *, over: Over = "transitions", discount: float = 1.0, scale: Tensor | None = None
) -> Tensor:
    """J(theta') of each task, `[T]`, in the units of the outer surrogate, for `SamplingTerm`.

    This is the task's total discounted reward, divided by its transitions or episodes, minus the mean over the *other*
    tasks, a baseline that is independent of the task's own trajectories and so adds no bias.

    Args:
        episodes: episodes after adaptation.
        over: as in the outer surrogate.
        discount: discount of rewards.
        scale: `[T]`, the divisor of the advantages in the outer surrogate; None for no division.
    """
    check_over(over)
    begins = episodes.mask & (episodes.time == 0)
    total = torch.where(begins, discounted_returns(episodes, discount=discount), 0).sum((1, 2))
    value = total / (episodes.mask if over == "transitions" else begins).sum((1, 2)).clamp(min=1)
    others = (value.sum() - value) / max(len(value) - 1, 1)
    value = value - others
    return value if scale is None else value / scale


def _one(x: Tensor) -> Tensor:
    """The value 1 with the derivatives of exp(x - x held constant): the "magic box" of DiCE."""
    return (x - x.detach()).exp()


def _with_past(log_prob: Tensor, time: Tensor, decay: float) -> Tensor:
    """`w_t = log pi_t + decay * w_{t-1}` within episodes, `[E, H]`, by log2(H) sums over 1, 2, 4, ... steps."""
    total, reach = log_prob, 1
    while reach < log_prob.shape[1]:
        earlier = pad(total[:, :-reach], (reach, 0))
        total = total + torch.where(time >= reach, earlier * decay**reach, 0)
        reach *= 2
    return total
