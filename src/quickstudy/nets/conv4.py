"""The convolutional network of few-shot image classification."""

from typing import Any, Literal, get_args

from torch import Tensor, nn

from quickstudy.checks import check_choice, check_whole
from quickstudy.nets.normalisation import Kind, replace_batch_norm


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalisation, ReLU and 2x2 max-pooling, followed by a linear head.

    The network of Vinyals et al. 2016 (arXiv 1606.04080) and Finn et al. 2017 (arXiv 1703.03400, section 5.2). Blocks
    whose input has a side below 4 do not pool.

    Args:
        channels: number of image channels.
        classes: number of outputs.
        side: height and width of the images in pixels.
        filters: output channels of each convolution (Finn et al. use 64 for Omniglot, 32 for MiniImagenet).
        norm: "batch" is BatchNorm with running statistics; the other kinds are those of `replace_batch_norm`.

    >>> import torch
    >>> Conv4(1, 5, side=28, norm="task")(torch.randn(10, 1, 28, 28)).shape
    torch.Size([10, 5])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        side: int,
        filters: int = 32,
        norm: Literal["batch"] | Kind = "task",
    ):
        super().__init__()
        self.channels, self.classes = check_whole("channels", channels), check_whole("classes", classes)
        self.side, self.filters, self.norm = check_whole("side", side), check_whole("filters", filters), norm
        check_choice("norm", norm, ("batch", *get_args(Kind)))
        layers: list[nn.Module] = []
        for width in (channels, filters, filters, filters):
            layers += [nn.Conv2d(width, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
            if side >= 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        body = nn.Sequential(*layers, nn.Flatten())
        self.body = body if norm == "batch" else replace_batch_norm(body, norm)
        self.head = nn.Linear(filters * side**2, classes)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"channels": self.channels, "classes": self.classes, "side": self.side}
        return {**own, "filters": self.filters, "norm": self.norm}

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, classes]` of images `[N, channels, side, side]`."""
        if x.dim() != 4 or x.shape[1] != self.channels or not x.is_floating_point():
            raise ValueError(self._unlike(x))
        features = self.body(x)
        if features.shape[1] != self.head.in_features:
            raise ValueError(self._unlike(x))
        return self.head(features)

    def _unlike(self, x: Tensor) -> str:
        """The message for images that do not fit."""
        cure = "build it with the channels= and side= of the images"
        if x.dim() == 3 and self.channels == 1:
            cure = "give grey images their axis of channels, x.unsqueeze(2) for x [T, N, height, width]"
        elif not x.is_floating_point():
            cure = "write x.float() / 255"
        return (
            f"this Conv4 takes floats [N, {self.channels}, {self.side}, {self.side}], and x is {x.dtype} of shape "
            f"{list(x.shape)}; {cure}"
        )
