"""AlexNet: Krizhevsky et al., "ImageNet Classification with Deep CNNs" (NIPS 2012), and its heir.

The second form, without towers, is that of Krizhevsky, "One weird trick for parallelizing
convolutional neural networks" (arXiv 1404.5997).
"""

import torch
from torch import nn

from edgetvm.errors import UsageError

# Output channels of the five convolutions, and the padding of the first, by number of towers.
_CHANNELS = {2: (96, 256, 384, 384, 256), 1: (64, 192, 384, 256, 256)}
_STEM_PADDING = {2: 0, 1: 2}

_HIDDEN = 4096
_LAST_MAP = 6


class AlexNet(nn.Module):
    """The classifier of NIPS 2012, section 3.5: (N, 3, H, W) float32 to (N, num_classes).

    The last map is averaged to 6 x 6, which it is for the authors' 227 x 227 (224 x 224 with one
    tower), so that other sizes fit. With one tower the names in the state dict are torchvision's.

    Parameters
    ----------
    towers : 2, as published for two GPUs: convolutions 2, 4 and 5 see only half of the channels,
        and the first two are followed by a response normalisation; or 1, as in arXiv 1404.5997.
    num_classes : length of the output, the logits.

    Raises
    ------
    UsageError
        `towers` is neither 1 nor 2.
    """

    def __init__(self, towers: int = 2, num_classes: int = 1000) -> None:
        super().__init__()
        if towers not in _CHANNELS:
            raise UsageError(f"AlexNet: towers must be 1 or 2, not {towers!r}.")
        c1, c2, c3, c4, c5 = _CHANNELS[towers]
        normalisations = [ResponseNorm()] if towers == 2 else []
        layers: list[nn.Module] = [
            nn.Conv2d(3, c1, kernel_size=11, stride=4, padding=_STEM_PADDING[towers]),
            nn.ReLU(inplace=True),
            *normalisations,
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(c1, c2, kernel_size=5, padding=2, groups=towers),
            nn.ReLU(inplace=True),
            *normalisations,
            nn.MaxPool2d(kernel_size=3, stride=2),
            # The one place where the towers meet.
            nn.Conv2d(c2, c3, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, c4, kernel_size=3, padding=1, groups=towers),
            nn.ReLU(inplace=True),
            nn.Conv2d(c4, c5, kernel_size=3, padding=1, groups=towers),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(c5 * _LAST_MAP**2, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        features = nn.functional.adaptive_avg_pool2d(self.features(images), _LAST_MAP)
        logits: torch.Tensor = self.classifier(torch.flatten(features, 1))
        return logits


class ResponseNorm(nn.Module):
    """The local response normalisation of section 3.3: (N, C, H, W) to the same shape.

    A value is divided by (2 + 1e-4 s) ** 0.75, where s is the sum of the squares of the five
    channels around it. `nn.LocalResponseNorm` multiplies the mean, not the sum, by its alpha.
    """

    neighbours = 2
    """On each side."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Divide each value by what its neighbours in other channels amount to."""
        channels = int(features.shape[1])
        reach = self.neighbours
        # Elementwise operations, which a compiler fuses; PyTorch's own pools in three dimensions.
        squares = nn.functional.pad(features * features, [0, 0, 0, 0, reach, reach])
        total = squares[:, :channels]
        for shift in range(1, 2 * reach + 1):
            total = total + squares[:, shift : shift + channels]
        # base ** 0.75 by square roots, which unlike powers are single instructions.
        root = torch.sqrt(2.0 + 1e-4 * total)
        return features / (root * torch.sqrt(root))
