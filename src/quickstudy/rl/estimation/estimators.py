"""How the gradient of an inner step is estimated, and what its derivative then is.

The inner loop takes a step along the gradient of a surrogate, `theta' = theta - lr grad L(theta; tau)`, on trajectories
tau that the policy itself has drawn. All surrogates here have the same gradient, the policy gradient
`-mean_i sum_t A_t g_t` with `g_t = grad log pi(a_t|s_t)`. They differ in their Hessian, which is what the meta-gradient
goes through. It can be the gradient of two different things:

    expected update   J(theta + lr grad J(theta)): needs the Hessian of J             lvc, dice, loaded_dice
    sampled update    E_tau[ J(theta - lr grad L(theta; tau)) ]: needs the sample's Hessian as it is, and
                      the derivative of drawing tau                                   emaml (and maml, in part)

With `R_t` the rewards from t on and `V_t = sum_{s<t} g_s`, the Hessian of J is

    E[ sum_t R_t (grad g_t + g_t g_t' + g_t V_t' + V_t g_t') ]        (Rothfuss et al. 2019, arXiv 1810.06784, app. A)

and the surrogates, of one trajectory, with `[x] = exp(x - x held constant)`, which is 1, are

    maml          -sum_t A_t log pi_t. Hessian: sum_t A_t grad g_t alone. All products of gradients are missing, and
                  what is left depends on the baseline. (Finn et al. 2017, arXiv 1703.03400)
    lvc           -sum_t A_t [log pi_t]. Has g_t g_t', lacks g_t V_t' + V_t g_t': that earlier actions change how
                  often later ones are met. Low variance. (Rothfuss et al. 2019)
    dice          -sum_t A_t ([w_t] - [v_t]), w_t = sum_{s<=t} log pi_s, v_t = w_t - log pi_t. Has all terms, unbiased,
                  high variance. With A = R it is DiCE (Foerster et al. 2018, arXiv 1802.05098); with A = R - b it is
                  DiCE with a baseline that serves every order (Mao et al. 2019, ICML).
    loaded_dice   the same with w_t = log pi_t + past * w_{t-1}: the terms g_t V_t' fade with the distance between the
                  two actions. past = 0 is lvc, past = 1 is dice. (Farquhar et al. 2019, arXiv 1909.10549)
    emaml         maml's, whose Hessian is the sample's own; the outer loss adds `SamplingTerm`, which maml lacks. Exact
                  for the sampled update. (Stadie et al. 2018, arXiv 1803.01118)

A baseline that is fixed changes no expectation here but that of maml's Hessian. Baselines fitted to the same
trajectories, and standardised advantages, add to each of them a bias of order 1/episodes. A line search over theta that
takes the inner step again on the same trajectories moves along maml's derivative, whatever the estimator: the terms
with g g' speak of trajectories that would be drawn anew.
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
    """The objective of an inner step, `(model, decisions of one task, outer) -> scalar`, to go down.

    Args:
        policy: whose distribution it is.
        estimator: see the head of this file.
        past: of "loaded_dice": by how much an earlier action counts less with every step between, from 0 to 1.
        over: "transitions", as published, or "episodes".

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
    """What the outer loss of "emaml" has besides the surrogate: the trajectories before adaptation depend on theta too.

        grad E_tau[J(theta'(tau))] = E_tau[ (d theta'/d theta)' grad J(theta') + J(theta') sum_i sum_t g_t(tau_i) ]

    An objective `(model, (decisions of one task, outcome), outer) -> -outcome * sum_i sum_t log pi(a_t|s_t)`, with a
    value that means nothing and `outcome` from `outcomes`. The sum runs over *all* transitions of all the task's
    episodes, for the probability of a batch is a product. A mean in its place, as in the code of Rothfuss et al. 2019,
    makes it too small by (episodes x steps). Its variance grows with the number of episodes.

    With several inner steps the episodes of each have their term: `adapted.evaluate(SamplingTerm(policy), ...)` of the
    policies that drew them, with their graph.

    Args:
        policy: whose distribution it is.

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
    """What adaptation came to, `[T]`, for `SamplingTerm`: J(theta') in the units of the outer surrogate.

    A task's total (discounted) reward over its transitions or episodes, minus the mean of the *other* tasks': this
    baseline does not depend on the task's own trajectories, and so costs no bias.

    Args:
        episodes: after adaptation.
        over: as in the outer surrogate.
        discount: of the return.
        scale: `[T]`, what the outer surrogate's advantages were divided by; None for nothing.
    """
    check_over(over)
    begins = episodes.mask & (episodes.time == 0)
    total = torch.where(begins, discounted_returns(episodes, discount=discount), 0).sum((1, 2))
    value = total / (episodes.mask if over == "transitions" else begins).sum((1, 2)).clamp(min=1)
    others = (value.sum() - value) / max(len(value) - 1, 1)
    value = value - others
    return value if scale is None else value / scale


def _one(x: Tensor) -> Tensor:
    """1, with the derivatives of exp(x)/exp(x held constant): the magic box of DiCE."""
    return (x - x.detach()).exp()


def _with_past(log_prob: Tensor, time: Tensor, decay: float) -> Tensor:
    """`w_t = log pi_t + decay * w_{t-1}` within episodes, `[E, H]`: sums over 1, 2, 4, ... steps, log2(H) in all."""
    total, reach = log_prob, 1
    while reach < log_prob.shape[1]:
        earlier = pad(total[:, :-reach], (reach, 0))
        total = total + torch.where(time >= reach, earlier * decay**reach, 0)
        reach *= 2
    return total
