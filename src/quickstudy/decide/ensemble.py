"""Probabilistic ensembles, trained from scratch on each task: PETS (Chua et al. 2018, arXiv 1805.12114)."""

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from quickstudy.checks import check_whole
from quickstudy.data import Examples
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.models import World, unrolled
from quickstudy.decide.moment import Moment
from quickstudy.decide.networks import Networks, apply


@final
class Ensemble:
    """B networks for every task, each trained on its own bootstrap sample of that task's transitions.

    Each network gives the mean and the log-variance of the change of state, and is trained by maximum likelihood with
    Adam after each episode, from its present weights. All steps of a plan use the mean of the same network; models
    that were meta-learned are used in the same way. Before the first episode the networks are untrained.

    Args:
        encoding: the scales of states and changes, which are the only prior knowledge.
        num_tasks: T.
        members: B; 5 as in PETS.
        hidden: widths of the hidden layers.
        steps: the number of steps of Adam after each episode.
        batch: transitions in a step of Adam.
        lr: learning rate of Adam.
        decay: weight decay.
        generator: random numbers for weights, bootstrap samples and batches.

    >>> encoding = Encoding(torch.ones(4), torch.ones(4), 2)
    >>> ensemble = Ensemble(encoding, 3, hidden=(8,), steps=2)
    >>> one, yes = torch.ones(3), torch.ones(3, dtype=torch.bool)
    >>> for _ in range(4):
    ...     ensemble.see(Moment(torch.zeros(3, 4), one, one, torch.ones(3, 4), ~yes, yes))
    >>> ensemble.rest()
    >>> ensemble.model().imagine()(torch.zeros(3, 4), torch.zeros(2, 3, 5)).shape
    torch.Size([2, 3, 5, 4])
    """

    def __init__(
        self,
        encoding: Encoding,
        num_tasks: int,
        *,
        members: int = 5,
        hidden: tuple[int, ...] = (64, 64),
        steps: int = 500,
        batch: int = 64,
        lr: float = 2e-3,
        decay: float = 1e-4,
        generator: torch.Generator | None = None,
    ):
        for name, size in (("num_tasks", num_tasks), ("members", members), ("steps", steps), ("batch", batch)):
            check_whole(name, size)
        self.encoding, self.members, self.steps, self.batch = encoding, members, steps, batch
        self.num_tasks, self.generator = num_tasks, generator
        sizes = [encoding.dx, *hidden, 2 * encoding.dy]
        self.networks = Networks((members, num_tasks), sizes, generator=generator)
        self._optimizer = torch.optim.AdamW(self.networks.parameters(), lr=lr, weight_decay=decay)
        self._seen: list[Examples] = []

    def see(self, moment: Moment) -> None:
        """Store the transitions."""
        self._seen.append(self.encoding.moment(moment))

    def rest(self) -> None:
        """Train on all transitions so far."""
        if not self._seen:
            return
        x, y, mask = (torch.cat(part, 1) for part in zip(*((e.x, e.y, e.real()) for e in self._seen), strict=True))
        order = mask.int().argsort(dim=1, descending=True, stable=True)  # real transitions first
        x, y = (values.take_along_dim(order.unsqueeze(-1), 1) for values in (x, y))
        count = mask.sum(1)
        tasks = torch.arange(self.num_tasks).view(1, -1, 1)
        # the bootstrap sample of each member, which is the same in all steps; its batches are drawn from it
        draws = torch.rand(self.members, self.num_tasks, x.shape[1], generator=self.generator)
        resampled = (draws * count.view(1, -1, 1)).long()
        for _ in range(self.steps):
            places = torch.rand(self.members, self.num_tasks, self.batch, generator=self.generator)
            chosen = resampled.take_along_dim((places * count.view(1, -1, 1)).long(), 2)
            mean, raw = self.networks(x[tasks, chosen]).chunk(2, -1)
            spread = _bounded(raw)
            loss = ((y[tasks, chosen] - mean).square() * (-spread).exp() + spread).mean((2, 3)).sum()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()

    def model(self) -> "Ensemble":
        """This ensemble, which is a model."""
        return self

    def imagine(self, generator: torch.Generator | None = None) -> World:
        """One random member for each task."""
        member = torch.randint(self.members, (self.num_tasks,), generator=generator)
        tasks, dy = torch.arange(self.num_tasks), self.encoding.dy
        layers = [(w[member, tasks].detach(), b[member, tasks].detach()) for w, b in self.networks.layers]
        layers[-1] = (layers[-1][0][..., :dy], layers[-1][1][..., :dy])
        return unrolled(lambda x: apply(layers, x), self.encoding)


def _bounded(raw: Tensor) -> Tensor:
    """Log-variances, softly bounded to [-12, 1] as in PETS."""
    upper = 1 - F.softplus(1 - raw)
    return -12 + F.softplus(upper + 12)
