"""Class shares that differ between groups, whatever the inputs."""

from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.estimators.classes.from_seen_rows import LabelPredictor, adapted, counts_of, loss_of_labels

SMALLEST = 1e-3  # prior precision of the logarithms of the parameters


@final
class ClassShares(nn.Module):
    """Each group has class probabilities of its own, which are Dirichlet(a) over groups; inputs are not used.

    Given n_k seen rows of class k, p(k | seen) = (a_k + n_k) / sum_j (a_j + n_j), the posterior mean. `fit` maximises
    the likelihood of the counts of the training groups, the Dirichlet-multinomial distribution (Minka 2000, Estimating
    a Dirichlet distribution, eq. 42).

    Args:
        classes: number of classes.
        dx: number of inputs.

    >>> labels = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]).repeat(5, 1)
    >>> model = ClassShares(2).fit(Examples(torch.zeros(10, 4, 1), labels))
    >>> model.adapt(Examples(torch.zeros(1, 1, 1), torch.tensor([[1]])))(torch.zeros(1, 1, 1)).probs[0, 0, 1] > 0.9
    tensor(True)
    """

    def __init__(self, classes: int, dx: int = 1):
        super().__init__()
        self.classes, self.dx = check_whole("classes", classes, 2), check_whole("dx", dx)
        self.log_counts = nn.Parameter(torch.zeros(self.classes))  # log a

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"classes": self.classes, "dx": self.dx}

    def fit(self, groups: Examples) -> Self:
        """Estimate a from labelled groups, `x [T, N, dx]` and labels `[T, N]`."""
        counts = counts_of(groups, self.classes)
        log_a = (counts.sum(0) + 1).log() - (counts.sum() + self.classes).log()
        log_a.requires_grad_()
        optimizer = torch.optim.LBFGS([log_a], max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            a = log_a.exp()
            whole = torch.lgamma(a.sum()) - torch.lgamma(a.sum() + counts.sum(1))
            each = (torch.lgamma(a + counts) - torch.lgamma(a)).sum(1)
            loss = -(whole + each).sum() + SMALLEST / 2 * log_a.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        self.log_counts.data.copy_(log_a.detach())
        return self

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The mean negative log probability of the query rows."""
        return loss_of_labels(self, tasks)

    def adapt(
        self, support: Examples, *, steps: int | None = None, create_graph: bool = False, generator: Any = None
    ) -> LabelPredictor:
        """The predictor for the seen rows; `steps=0` and an empty support set give the prior."""
        return adapted(self, support, steps, generator)

    def logits(self, support: Examples, x: Tensor) -> Tensor:
        """log(a_k + n_k), the same at all inputs."""
        found = (self.log_counts.exp() + counts_of(support, self.classes).to(self.log_counts)).log()
        return found.unsqueeze(1).expand(-1, x.shape[1], -1)
