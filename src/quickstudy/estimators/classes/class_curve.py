"""Class probabilities from the inputs alone, the same for all groups."""

from typing import Any, Self, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.estimators.classes.from_seen_rows import LabelPredictor, adapted, loss_of_labels
from quickstudy.metric.bases.natural_spline import NaturalSpline
from quickstudy.metric.bases.polynomial import Polynomial

PENALTY = 1.0  # on squared coefficients, whose features have a mean square of 1


@final
class ClassCurve(nn.Module):
    """Multinomial logistic regression on features of the inputs: p(k | x) = softmax(f(x) B)_k, whatever rows are seen.

    The features are a natural spline of a single input, or the inputs themselves. `fit` maximises the likelihood of all
    rows less half the squared coefficients, those of the constant left out.

    Args:
        classes: number of classes.
        dx: number of inputs.
        knots: of the spline; 1 is a line.

    >>> x = torch.linspace(-2, 2, 40).view(4, 10, 1)
    >>> model = ClassCurve(2).fit(Examples(x, (x[..., 0] > 0).long()))
    >>> model.adapt(Examples(x[:1, :0], torch.zeros(1, 0, dtype=torch.long)))(x[:1]).probs[0, :, 0].min() > 0.5
    tensor(True)
    """

    def __init__(self, classes: int, dx: int = 1, *, knots: int = 4):
        super().__init__()
        self.classes, self.dx = check_whole("classes", classes, 2), check_whole("dx", dx)
        self.knots = check_whole("knots", knots)
        self.basis: Any = NaturalSpline(knots) if dx == 1 and knots > 2 else Polynomial(1, dx=dx)
        self.coefficients = nn.Parameter(torch.zeros(self.basis.features, classes))
        self.register_buffer("size", torch.ones(self.basis.features))

    size: Tensor

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"classes": self.classes, "dx": self.dx, "knots": self.knots}

    def fit(self, groups: Examples) -> Self:
        """Estimate the coefficients from labelled groups, `x [T, N, dx]` and labels `[T, N]`."""
        real = groups.real()
        x, y = groups.x[real].double(), groups.y[real]
        self.basis.place(x)
        found = self.basis(x)
        self.size.copy_(found.square().mean(0).sqrt().clamp_min(1e-12))
        features = found / self.size.double()
        wanted = torch.zeros(features.shape[1], self.classes, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([wanted], max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(features @ wanted, y, reduction="sum")
            loss = loss + PENALTY / 2 * wanted[1:].square().sum() + 1e-3 * wanted[0].square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        self.coefficients.data.copy_(wanted.detach())
        return self

    def meta_loss(self, tasks: Tasks) -> Tensor:
        """The mean negative log probability of the query rows."""
        return loss_of_labels(self, tasks)

    def adapt(
        self, support: Examples, *, steps: int | None = None, create_graph: bool = False, generator: Any = None
    ) -> LabelPredictor:
        """The same predictor, whatever rows are seen."""
        return adapted(self, support, steps, generator)

    def logits(self, support: Examples, x: Tensor) -> Tensor:
        """f(x) B at `x [T, M, dx]`."""
        features = (self.basis(x.double()) / self.size.double()).to(self.coefficients)
        return features @ self.coefficients
