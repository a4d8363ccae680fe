"""Building blocks that several architectures share."""

from torch import nn


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a scaled channel count to a multiple of `divisor`, down by a tenth at the most.

    The rule of the MobileNet and EfficientNet authors' code (tensorflow/models, slim
    ``mobilenet.py``); the papers speak of width multipliers only.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


class ConvNormReLU6(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU6: (N, C, H, W) to (N, C', H', W').

    The padding keeps height and width at stride 1 and halves them, rounded up, at stride 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel,
                stride,
                padding=(kernel - 1) // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(inplace=True),
        )
