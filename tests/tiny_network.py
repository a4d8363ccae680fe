"""A network small enough to tune in seconds, with every kind of layer that matters."""

import torch
from torch import nn


class TinyNetwork(nn.Module):
    """Convolution, depthwise convolution, 1x1 convolution, residual addition, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.classifier = nn.Linear(16, 10)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        data = self.stem(data)
        data = data + self.project(self.depthwise(data))
        return self.classifier(data.mean([2, 3]))


def build() -> nn.Module:
    return TinyNetwork()


def build_unknown_operation() -> nn.Module:
    class Unknown(nn.Module):
        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(data)

    return Unknown()
