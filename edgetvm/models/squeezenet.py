"""SqueezeNet: Iandola et al., "AlexNet-level accuracy with 50x fewer parameters" (1602.07360)."""

from typing import Literal, get_args

import torch
from torch import nn

from edgetvm.errors import UsageError

Bypass = Literal["none", "simple", "complex"]

# First convolution: channels, kernel. Then in order: fire modules (squeeze, expand) and "pool".
_STEMS = {"1.0": (96, 7), "1.1": (64, 3)}
# fmt: off
_BODIES: dict[str, tuple[tuple[int, int] | str, ...]] = {
    # Table 1 of the paper.
    "1.0": (
        "pool", (16, 64), (16, 64), (32, 128),
        "pool", (32, 128), (48, 192), (48, 192), (64, 256),
        "pool", (64, 256),
    ),
    # The authors' later release: 2.4 times less work at the same accuracy.
    "1.1": (
        "pool", (16, 64), (16, 64),
        "pool", (32, 128), (32, 128),
        "pool", (48, 192), (48, 192), (64, 256), (64, 256),
    ),
}
# fmt: on


class SqueezeNet(nn.Module):
    """The classifier of arXiv 1602.07360, Table 1: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are torchvision's, so its checkpoints load; those of the complex
    bypass's convolutions are ``features.N.bypass``.

    Parameters
    ----------
    version : "1.0", the paper's, or "1.1", its authors' lighter release.
    num_classes : length of the output, the scores after the last ReLU.
    bypass : "simple" adds to a fire module's output its input where both have the same channels,
        "complex" elsewhere too, through a 1x1 convolution (section 6).

    Raises
    ------
    UsageError
        There is no such `version` or `bypass`.
    """

    def __init__(
        self, version: str = "1.0", num_classes: int = 1000, bypass: Bypass = "none"
    ) -> None:
        super().__init__()
        if version not in _BODIES:
            known = " or ".join(repr(name) for name in _BODIES)
            raise UsageError(f"SqueezeNet: version must be {known} (in quotes), not {version!r}.")
        if bypass not in get_args(Bypass):
            raise UsageError(
                f"SqueezeNet: bypass must be 'none', 'simple' or 'complex', not {bypass!r}."
            )
        channels, kernel = _STEMS[version]
        # No padding, as in the authors' code: with 227 x 227, which that crops to, the sizes are
        # those of Table 1; with the table's own 224 x 224 the first is 109, not 111.
        layers: list[nn.Module] = [nn.Conv2d(3, channels, kernel, stride=2), nn.ReLU(inplace=True)]
        for entry in _BODIES[version]:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
            else:
                squeeze, expand = entry
                layers.append(Fire(channels, squeeze, expand, bypass))
                channels = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(channels, num_classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, num_classes), none of them negative."""
        return torch.flatten(self.classifier(self.features(images)), 1)


class Fire(nn.Module):
    """The fire module of section 3.1: squeeze 1x1, then expand 1x1 and 3x3 side by side.

    Maps (N, in_channels, H, W) to (N, 2 * expand, H, W). A bypass (Figure 2) is added after the
    activation and has none itself, as in the authors' SqueezeNet-Residual.
    """

    def __init__(
        self, in_channels: int, squeeze: int, expand: int, bypass: Bypass = "none"
    ) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, kernel_size=1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, kernel_size=1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, kernel_size=3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.bypass: nn.Module | None = None
        if bypass != "none" and in_channels == 2 * expand:
            self.bypass = nn.Identity()
        elif bypass == "complex":
            self.bypass = nn.Conv2d(in_channels, 2 * expand, kernel_size=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Concatenate both expansions along the channels, and add the bypass."""
        squeezed = self.activation(self.squeeze(features))
        expanded = self.expand1x1(squeezed), self.expand3x3(squeezed)
        fired = torch.cat([self.activation(branch) for branch in expanded], dim=1)
        return fired if self.bypass is None else fired + self.bypass(features)
