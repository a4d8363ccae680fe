"""NASNet-A: Zoph et al., "Learning Transferable Architectures" (arXiv 1707.07012)."""

from collections import OrderedDict

import torch
from torch import nn

from edgetvm.models.layers import Convention

# Those of the authors' code (tensorflow/models, research/slim).
_CONVENTION = Convention(padding="same", norm_eps=1e-3)

_STEM_CHANNELS = 32
_CELLS = 4
_FILTERS = 44
"""Of the first stack; the last one joins 6 parts of 4 x 44 filters, which are the 1056."""

_NORMAL_PARTS = 6
_REDUCTION_PARTS = 4


class NASNetMobile(nn.Module):
    """NASNet-A (4 @ 1056) of arXiv 1707.07012, Table 3: (N, 3, H, W) to (N, num_classes).

    After a stem of two reduction cells come three stacks of four normal cells, with a reduction
    cell between them (Figure 2). A cell sees the results of the two before it.

    The names in the state dict are those of Cadene/pretrained-models.pytorch.

    Parameters
    ----------
    num_classes : length of the output, the logits.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(
            OrderedDict(
                # Unlike all others without padding.
                conv=nn.Conv2d(3, _STEM_CHANNELS, kernel_size=3, stride=2, bias=False),
                bn=_CONVENTION.norm(_STEM_CHANNELS),
            )
        )
        small, half = _FILTERS // 4, _FILTERS // 2
        self.cell_stem_0 = ReductionCell(None, _STEM_CHANNELS, small)
        now = _REDUCTION_PARTS * small
        self.cell_stem_1 = ReductionCell(_STEM_CHANNELS, now, half, halve_previous=True)
        before, now = now, _REDUCTION_PARTS * half
        order = ["cell_stem_1"]
        for stack, filters in enumerate((_FILTERS, 2 * _FILTERS, 4 * _FILTERS)):
            if stack > 0:
                order.append(f"reduction_cell_{stack - 1}")
                self.add_module(order[-1], ReductionCell(before, now, filters))
                before, now = now, _REDUCTION_PARTS * filters
            for index in range(_CELLS):
                # In these names a reduction counts as two cells.
                order.append(f"cell_{stack * (_CELLS + 2) + index}")
                self.add_module(
                    order[-1], NormalCell(before, now, filters, halve_previous=index == 0)
                )
                before, now = now, _NORMAL_PARTS * filters
        self.order = tuple(order)
        self.dropout = nn.Dropout(0.5)
        self.last_linear = nn.Linear(now, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        before = self.conv0(images)
        now = self.cell_stem_0(before, before)
        for name in self.order:
            before, now = now, self.get_submodule(name)(now, before)
        pooled = nn.functional.adaptive_avg_pool2d(torch.relu(now), 1)
        logits: torch.Tensor = self.last_linear(self.dropout(torch.flatten(pooled, 1)))
        return logits


class _Cell(nn.Module):
    """What both kinds of cell start with: their two inputs, brought to one shape.

    Parameters
    ----------
    previous : channels of the result before the last; None to use that as it is.
    current : channels of the last result.
    filters : channels of all parts of the cell's result.
    halve_previous : whether the result before the last is twice as large as the last.
    """

    def __init__(
        self, previous: int | None, current: int, filters: int, *, halve_previous: bool = False
    ) -> None:
        super().__init__()
        self.halve_previous = halve_previous
        self.conv_1x1 = _relu_conv_norm(current, filters)
        self.conv_prev_1x1: nn.Module | None = None
        if halve_previous and previous is not None:
            self.path_1 = _halving(previous, filters // 2)
            self.path_2 = _halving(previous, filters // 2)
            self.final_path_bn = _CONVENTION.norm(filters)
        elif previous is not None:
            self.conv_prev_1x1 = _relu_conv_norm(previous, filters)

    def adapt(self, previous: torch.Tensor) -> torch.Tensor:
        """Bring the result before the last to the shape of the last, and to `filters` channels."""
        if self.halve_previous:
            rectified = torch.relu(previous)
            # The second path takes the pixels diagonally next to those of the first.
            shifted = nn.functional.pad(rectified, [0, 1, 0, 1])[:, :, 1:, 1:]
            joined = torch.cat([self.path_1(rectified), self.path_2(shifted)], dim=1)
            halved: torch.Tensor = self.final_path_bn(joined)
            return halved
        return previous if self.conv_prev_1x1 is None else self.conv_prev_1x1(previous)


class NormalCell(_Cell):
    """The normal cell of Figure 4: (N, current, H, W) and (N, previous, ...) to (N, 6 F, H, W)."""

    def __init__(
        self, previous: int, current: int, filters: int, *, halve_previous: bool = False
    ) -> None:
        super().__init__(previous, current, filters, halve_previous=halve_previous)
        self.comb_iter_0_left = TwiceSeparable(filters, filters, 5)
        self.comb_iter_0_right = TwiceSeparable(filters, filters, 3)
        self.comb_iter_1_left = TwiceSeparable(filters, filters, 5)
        self.comb_iter_1_right = TwiceSeparable(filters, filters, 3)
        self.comb_iter_4_left = TwiceSeparable(filters, filters, 3)

    def forward(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        """Combine the last result and the one before."""
        left, right = self.adapt(previous), self.conv_1x1(current)
        parts = [
            left,
            self.comb_iter_0_left(right) + self.comb_iter_0_right(left),
            self.comb_iter_1_left(left) + self.comb_iter_1_right(left),
            _average_pool(right) + left,
            # The paper's cell adds the same average twice.
            2.0 * _average_pool(left),
            self.comb_iter_4_left(right) + right,
        ]
        return torch.cat(parts, dim=1)


class ReductionCell(_Cell):
    """The reduction cell of Figure 4, at half the height and width: to (N, 4 F, H/2, W/2)."""

    def __init__(
        self, previous: int | None, current: int, filters: int, *, halve_previous: bool = False
    ) -> None:
        super().__init__(previous, current, filters, halve_previous=halve_previous)
        unadapted = current if previous is None else filters
        self.comb_iter_0_left = TwiceSeparable(filters, filters, 5, 2)
        self.comb_iter_0_right = TwiceSeparable(unadapted, filters, 7, 2)
        self.comb_iter_1_right = TwiceSeparable(unadapted, filters, 7, 2)
        self.comb_iter_2_right = TwiceSeparable(unadapted, filters, 5, 2)
        self.comb_iter_4_left = TwiceSeparable(filters, filters, 3)

    def forward(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        """Combine the last result and the one before."""
        left, right = self.adapt(previous), self.conv_1x1(current)
        largest = _max_pool(right)
        first = self.comb_iter_0_left(right) + self.comb_iter_0_right(left)
        second = largest + self.comb_iter_1_right(left)
        parts = [
            second,
            _average_pool(right, stride=2) + self.comb_iter_2_right(left),
            _average_pool(first) + second,
            self.comb_iter_4_left(first) + largest,
        ]
        return torch.cat(parts, dim=1)


class TwiceSeparable(nn.Module):
    """ReLU, separable convolution and batch normalisation, applied twice.

    Maps (N, C, H, W) to (N, C', H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.separable_1 = _separable(in_channels, out_channels, kernel, stride)
        self.bn_sep_1 = _CONVENTION.norm(out_channels)
        self.separable_2 = _separable(out_channels, out_channels, kernel)
        self.bn_sep_2 = _CONVENTION.norm(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Apply both."""
        once = self.bn_sep_1(self.separable_1(torch.relu(features)))
        twice: torch.Tensor = self.bn_sep_2(self.separable_2(torch.relu(once)))
        return twice


def _separable(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    depthwise = _CONVENTION.conv(in_channels, in_channels, kernel, stride, groups=in_channels)
    pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
    return nn.Sequential(OrderedDict(depthwise_conv2d=depthwise, pointwise_conv2d=pointwise))


def _relu_conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv, bn=_CONVENTION.norm(out_channels)))


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv))


def _average_pool(features: torch.Tensor, stride: int = 1) -> torch.Tensor:
    padding = [1, 1] if stride == 1 else _same_padding(features)
    return nn.functional.avg_pool2d(
        features, 3, stride, padding, ceil_mode=True, count_include_pad=False
    )


def _max_pool(features: torch.Tensor) -> torch.Tensor:
    return nn.functional.max_pool2d(features, 3, 2, _same_padding(features), ceil_mode=True)


def _same_padding(features: torch.Tensor) -> list[int]:
    """Return the padding before the first pixel; rounding sizes up pads after the last."""
    return [int(features.shape[2]) % 2, int(features.shape[3]) % 2]
