"""What the papers claim of their networks: one TOML file a paper in `claims/`; see its README."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgetvm.errors import UsageError
from edgetvm.files import read_toml
from edgetvm.paper.figures import Count, Positive, Text

CLAIMS = Path(__file__).parent / "claims"
"""The folder of claims that comes with edgetvm."""

TIME_IN_1X1 = "time in 1x1 convolutions"

Quantity = Literal[
    "latency", "multiply-adds", "parameters", "file size", "time in 1x1 convolutions"
]


class ClaimedRatio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of a claim: a quantity of one network over that of another.

    Attributes
    ----------
    quantity : of both networks; the time in 1x1 convolutions is a share of one network's time.
    numerator, denominator : our names of the networks; a share has no denominator.
    value : the ratio as the source prints it.
    values : what the source prints of the two, in place of their ratio: milliseconds, millions,
        megabytes.
    expects : how ours has to be to `published`.
    tolerance : part of `published` by which ours may be off.
    device, threads : of a latency; None if not stated.
    not_testable : why it cannot be measured here; empty if it can.
    note : what a reader has to know of this number.
    """

    quantity: Quantity
    numerator: Text
    denominator: Text | None = None
    value: Positive | None = None
    values: tuple[Positive, Positive] | None = None
    expects: Literal["about", "at least", "at most"] = "about"
    tolerance: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    device: Text | None = None
    threads: Count | None = None
    not_testable: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse no value or two, a latency of no device, and a share of two networks."""
        if (self.value is None) == (self.values is None):
            raise ValueError("a ratio needs value or values, and not both")
        if (self.quantity == TIME_IN_1X1) != (self.denominator is None):
            raise ValueError(f"a ratio needs a denominator; {TIME_IN_1X1} has none")
        if (self.quantity == "latency") != (self.device is not None):
            raise ValueError("latency and device go together")

    @property
    def published(self) -> float:
        """The ratio that the paper has."""
        if self.value is not None:
            return self.value
        assert self.values is not None
        return self.values[0] / self.values[1]

    @property
    def models(self) -> tuple[str, ...]:
        """The networks, the numerator's first."""
        return (self.numerator, self.denominator) if self.denominator else (self.numerator,)


class _ClaimTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^C\d\d$")]
    says: Text
    where: Text
    source: Text
    ratios: Annotated[tuple[ClaimedRatio, ...], msgspec.Meta(min_length=1)] = msgspec.field(
        name="ratio"
    )


class Claim(_ClaimTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim with the arXiv number of its paper, which is the stem of its file.

    Attributes
    ----------
    id : ``C01`` and so on.
    says : the claim in one sentence of ours.
    where : table, figure or section.
    source : the text that it was read in.
    ratios : its numbers.
    """

    arxiv: Text


class _ClaimFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    claims: tuple[_ClaimTable, ...] = msgspec.field(name="claim")


def load_claims(folder: Path = CLAIMS) -> list[Claim]:
    """Load every claim of `folder`, sorted by its id.

    Raises
    ------
    UsageError
        The folder is missing, a file is faulty, or two claims have one id.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of claims.")
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.toml")):
        for claim in _claims_of(path):
            if claim.id in claims:
                raise UsageError(f"{path}: there are two claims {claim.id}. Number one anew.")
            claims[claim.id] = claim
    return [claims[name] for name in sorted(claims)]


def _claims_of(path: Path) -> Iterable[Claim]:
    for table in read_toml(path, _ClaimFile).claims:
        yield Claim(arxiv=path.stem, **msgspec.structs.asdict(table))
