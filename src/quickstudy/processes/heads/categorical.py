"""A class label at each point."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from quickstudy import predictive
from quickstudy.checks import check_whole


@final
@dataclass(frozen=True)
class CategoricalHead:
    """p(y = c) = softmax(l)_c, with the logits l the outputs of the network; `y` holds integer labels `[T, N]`.

    The encoder takes a label as its one-hot code. The process has `dy=1`, its default: one label at each point. A label
    means the same class in all tasks; in few-shot tasks, whose labels are given anew for each task, a network has to
    learn that they are exchangeable.

    Args:
        classes: number of classes; labels are 0 to `classes - 1`.

    >>> import quickstudy as qs
    >>> process = qs.CNP(head=qs.heads.CategoricalHead(3))
    >>> support = qs.Examples(torch.randn(2, 4, 1), torch.randint(3, (2, 4)))
    >>> process.adapt(support)(torch.randn(2, 5, 1)).probs.shape
    torch.Size([2, 5, 3])
    """

    classes: int
    joint: ClassVar[bool] = False
    labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("classes", self.classes, 2)

    @property
    def expects(self) -> str:
        """The possible outcomes, in words."""
        return f"labels 0 to {self.classes - 1}"

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"classes": self.classes}

    def size(self, dy: int) -> int:
        """The network has a logit for each class."""
        _check_one(dy)
        return self.classes

    def encoded_size(self, dy: int) -> int:
        """The number of classes."""
        _check_one(dy)
        return self.classes

    def encode(self, y: Tensor) -> Tensor:
        """The one-hot codes `[T, N, classes]`, as bool, of labels `[T, N]`."""
        return y.unsqueeze(-1) == torch.arange(self.classes, device=y.device)

    def possible(self, y: Tensor) -> Tensor:
        """Whether each label is one of the classes."""
        return (y >= 0) & (y < self.classes)

    def __call__(self, output: Tensor, dy: int) -> predictive.Categorical:
        """The belief for `output [T, M, classes]`."""
        return predictive.Categorical(output)


def _check_one(dy: int) -> None:
    if dy != 1:
        raise ValueError(
            f"dy={dy} with head=CategoricalHead(...); a point has one label: leave dy=1 and give the number of classes "
            "to the head, or use BernoulliHead() for several binary outputs"
        )
