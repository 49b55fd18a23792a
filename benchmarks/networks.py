"""The larger networks of the benchmarks, as few-shot code has them."""

from torch import Tensor, nn

FEATURES = 16  # of a token


class Conv4(nn.Sequential):
    """Four blocks of convolution 3x3, BatchNorm with batch statistics, ReLU and max-pooling 2x2, and a linear head.

    Args:
        filters: of each convolution.
        side: pixels of a side of the image.
        classes: outputs.
    """

    def __init__(self, filters: int = 64, *, side: int = 28, classes: int = 5):
        layers: list[nn.Module] = []
        for channels in (1, filters, filters, filters):
            norm = nn.BatchNorm2d(filters, track_running_stats=False)
            layers += [nn.Conv2d(channels, filters, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(filters * (side // 16) ** 2, classes))


class Transformer(nn.Module):
    """A post-norm encoder on sequences `[N, tokens, 16]`, averaged over tokens, with a linear head: `[N, 1]`.

    Args:
        width: of the residual stream; the feed-forward layers are four times as wide.
        layers, heads: of attention.
    """

    def __init__(self, *, width: int = 128, layers: int = 4, heads: int = 4):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.embed = nn.Linear(FEATURES, width)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One number a sequence."""
        return self.head(self.encoder(self.embed(x)).mean(-2))
