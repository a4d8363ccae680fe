"""The rows of MobileNetV3: arXiv 1905.02244, Tables 1 and 2, as each variant has them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgetvm.errors import UsageError
from edgetvm.models.layers import Convention, make_divisible

Size = Literal["large", "small"]
Tail = Literal["full", "segmentation", "detection"]
Hardswish = Literal["fused", "naive", "none"]

_CHOICES: dict[str, tuple[object, ...]] = {
    "size": ("large", "small"),
    "output_stride": (32, 16),
    "tail": ("full", "segmentation", "detection"),
    "hardswish": ("fused", "naive", "none"),
    "width_rule": ("paper", "torchvision"),
    "dilated_from": ("after", "first"),
}


class _Row(NamedTuple):
    kernel: int
    expanded: int
    out: int
    squeezes: bool
    hardswish: bool
    stride: int


# Columns: kernel, exp size, #out, SE, NL (h-swish or ReLU), s. Table 2 also marks the last
# convolution of Small with SE; the authors' code and torchvision have none there.
_ROWS: dict[Size, tuple[_Row, ...]] = {
    "large": (
        _Row(3, 16, 16, False, False, 1),
        _Row(3, 64, 24, False, False, 2),
        _Row(3, 72, 24, False, False, 1),
        _Row(5, 72, 40, True, False, 2),
        _Row(5, 120, 40, True, False, 1),
        _Row(5, 120, 40, True, False, 1),
        _Row(3, 240, 80, False, True, 2),
        _Row(3, 200, 80, False, True, 1),
        _Row(3, 184, 80, False, True, 1),
        _Row(3, 184, 80, False, True, 1),
        _Row(3, 480, 112, True, True, 1),
        _Row(3, 672, 112, True, True, 1),
        _Row(5, 672, 160, True, True, 2),
        _Row(5, 960, 160, True, True, 1),
        _Row(5, 960, 160, True, True, 1),
    ),
    "small": (
        _Row(3, 16, 16, True, False, 2),
        _Row(3, 72, 24, False, False, 2),
        _Row(3, 88, 24, False, False, 1),
        _Row(5, 96, 40, True, True, 2),
        _Row(5, 240, 40, True, True, 1),
        _Row(5, 240, 40, True, True, 1),
        _Row(5, 120, 48, True, True, 1),
        _Row(5, 144, 48, True, True, 1),
        _Row(5, 288, 96, True, True, 2),
        _Row(5, 576, 96, True, True, 1),
        _Row(5, 576, 96, True, True, 1),
    ),
}
# (exp size, #out) of the last three rows.
_TAILS: dict[tuple[Size, Tail], tuple[tuple[int, int], ...]] = {
    ("large", "segmentation"): ((336, 80), (480, 80), (480, 80)),
    ("large", "detection"): ((672, 80), (480, 80), (480, 80)),
    ("small", "segmentation"): ((144, 48), (288, 48), (288, 48)),
    ("small", "detection"): ((288, 48), (288, 48), (288, 48)),
}
_STEM = 16
_AUTHORS = Convention(norm_eps=1e-3)
_CLASSIFIER: dict[Size, int] = {"large": 1280, "small": 1024}


@dataclass(frozen=True)
class Block:
    """One bottleneck, scaled; `hidden` is the expanded channel count."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    dilation: int
    squeezes: bool
    hardswish: bool
    has_identity: bool


@dataclass(frozen=True)
class Variant:
    """What there is to choose about the layers of a MobileNetV3.

    Attributes
    ----------
    size : ``large`` (Table 1) or ``small`` (Table 2).
    width_multiplier : scales the channel counts.
    convention : the framework's.
    output_stride : 32, or 16 for segmentation: the first of the last three bottlenecks keeps
        the resolution.
    tail : ``full``; or the last three bottlenecks and the last convolution with half their
        channels, as ``segmentation`` (Table 7) or as ``detection`` (Table 6), which keeps the
        first expansion, since SSD reads it.
    minimalistic : without squeeze-and-excite, h-swish and 5x5, as the authors' code offers.
    hardswish : ``fused``, one operator; ``naive``, spelt out; ``none``, ReLU instead (Table 5).
    hardswish_from : output channels of the first bottleneck with h-swish, as Table 5 varies it;
        None as Tables 1 and 2 have it. The layers around the bottlenecks keep theirs.
    width_rule : ``paper``: expansions are multiples of the scaled input, and the classifier's
        hidden layer does not shrink; or ``torchvision``: both scale like all others.
    dilated_from : with an output stride of 16, dilate by 2 the two bottlenecks ``after`` the
        first of the last three, as the authors do, or all three from the ``first``, as
        torchvision does. Where that first one's channels then allow the identity (the halved
        tails of Small), only the authors add it.
    scaled_stem : whether the first convolution is scaled too; timm's is not below 0.75.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive, or another value is none of these.
    """

    size: Size = "large"
    width_multiplier: float = 1.0
    convention: Convention = _AUTHORS
    output_stride: int = 32
    tail: Tail = "full"
    minimalistic: bool = False
    hardswish: Hardswish = "fused"
    hardswish_from: int | None = None
    width_rule: Literal["paper", "torchvision"] = "paper"
    dilated_from: Literal["after", "first"] = "after"
    scaled_stem: bool = True

    def __post_init__(self) -> None:
        """Refuse what a recipe can spell wrong."""
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                known = " or ".join(map(repr, allowed))
                raise UsageError(f"MobileNetV3: {name} must be {known}, not {value!r}.")
        if self.width_multiplier <= 0:
            raise UsageError(
                f"MobileNetV3: width_multiplier {self.width_multiplier} must be positive."
            )

    @property
    def stem(self) -> int:
        """Channels of the first convolution."""
        return self._scale(_STEM) if self.scaled_stem else _STEM

    @property
    def last(self) -> int:
        """Channels of the last convolution, six times those of its input before scaling."""
        out = self._rows()[-1].out
        return 6 * self._scale(out) if self.width_rule == "torchvision" else self._scale(6 * out)

    @property
    def classifier(self) -> int:
        """Width of the classifier's hidden layer.

        The paper's sizes fit if it grows, to 1280 at most, but does not shrink.
        """
        base = _CLASSIFIER[self.size]
        if self.width_rule == "torchvision":
            return self._scale(base)
        return min(1280, make_divisible(base * max(1.0, self.width_multiplier)))

    def blocks(self) -> list[Block]:
        """Return the bottlenecks with all their numbers, in order."""
        blocks: list[Block] = []
        before, channels = _STEM, self.stem
        rows = self._rows()
        for index, row in enumerate(rows):
            blocks.append(self._block(row, before, channels, index - (len(rows) - 3)))
            before, channels = row.out, blocks[-1].out_channels
        return blocks

    def _block(self, row: _Row, before: int, channels: int, place: int) -> Block:
        """Scale `row`, whose input has `before` channels in the table and `channels` here.

        `place` counts from the first of the last three rows.
        """
        if self.width_rule == "torchvision":
            hidden = self._scale(row.expanded)
        else:
            hidden = make_divisible(channels * row.expanded / before)
        out_channels = self._scale(row.out)
        dilates = self.output_stride == 16 and place >= 0
        stride = 1 if dilates else row.stride
        like_torchvision = self.dilated_from == "first"
        compared = row.stride if like_torchvision else stride
        return Block(
            in_channels=channels,
            hidden=hidden,
            out_channels=out_channels,
            kernel=3 if self.minimalistic else row.kernel,
            stride=stride,
            dilation=2 if dilates and (place > 0 or like_torchvision) else 1,
            squeezes=row.squeezes and not self.minimalistic,
            hardswish=self._has_hardswish(row) and not self.minimalistic,
            has_identity=compared == 1 and channels == out_channels,
        )

    def _has_hardswish(self, row: _Row) -> bool:
        if self.hardswish_from is None:
            return row.hardswish
        return row.out >= self.hardswish_from

    def _rows(self) -> tuple[_Row, ...]:
        rows = _ROWS[self.size]
        if self.tail == "full":
            return rows
        halved = _TAILS[self.size, self.tail]
        return rows[:-3] + tuple(
            row._replace(expanded=expanded, out=out)
            for row, (expanded, out) in zip(rows[-3:], halved, strict=True)
        )

    def _scale(self, channels: int) -> int:
        return make_divisible(channels * self.width_multiplier)
