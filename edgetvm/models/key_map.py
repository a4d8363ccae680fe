"""Rename the entries of a public state dict to ours; see `key_maps/README.md`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import torch

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.files import read_toml, toml_stems

_FOLDER = Path(__file__).parent / "key_maps"


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers blocks through that the source numbers stage by stage, or the other way round.

    Attributes
    ----------
    pattern : matches the start of a key and captures the numbers that make out its block.
    start : number of the first block, ``{index}`` in a rule.
    gap : numbers left out where the first captured number, the stage, changes.
    stages : if given, blocks a stage: ``{stage}`` and ``{unit}`` in a rule, both from 1.
    """

    pattern: str
    start: int = 0
    gap: int = 0
    stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a pattern that is none."""
        _check(self.pattern)

    def places(self, keys: Iterable[str]) -> dict[str, dict[str, int]]:
        """Return, for each key of a block, what the names in braces stand for."""
        blocks = {
            key: tuple(map(int, match.groups()))
            for key in keys
            if (match := re.match(self.pattern, key))
        }
        firsts = sorted({block[0] for block in blocks.values()})
        ranks = {block: rank for rank, block in enumerate(sorted(set(blocks.values())))}
        units = [
            {"stage": stage, "unit": unit}
            for stage, count in enumerate(self.stages, start=1)
            for unit in range(1, count + 1)
        ]
        return {
            key: {
                "index": self.start + ranks[block] + self.gap * firsts.index(block[0]),
                **(units[ranks[block]] if ranks[block] < len(units) else {}),
            }
            for key, block in blocks.items()
        }


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    r"""What becomes of the keys that `pattern` matches as a whole.

    Attributes
    ----------
    replace : the new key, with ``\1`` for what the pattern captures and the names in
        braces of :class:`Index`.
    parts : if given, ``{part}`` in `pattern` stands for any of these names, and in `replace` for
        what it becomes.
    where : keys, with ``\1`` likewise, that the state dict must have for the rule to hold.
    flatten : whether a 1x1 convolution becomes a linear layer: (O, I, 1, 1) to (O, I).
    shuffle : the grouped convolution, with ``\1`` likewise, in front of which the source shuffles
        channels, and we do one layer earlier: the values move along with the channels.
    """

    pattern: str
    replace: str
    parts: dict[str, str] = {}
    where: tuple[str, ...] = ()
    flatten: bool = False
    shuffle: str = ""

    def __post_init__(self) -> None:
        """Refuse a pattern that is none."""
        for rule in self.by_part():
            _check(rule.pattern)

    def by_part(self) -> tuple["Rule", ...]:
        """Return a rule without `parts` for each of them, or the rule itself if it has none."""
        if not self.parts:
            return (self,)
        return tuple(
            msgspec.structs.replace(
                self,
                pattern=self.pattern.replace("{part}", re.escape(part)),
                replace=self.replace.replace("{part}", becomes),
                parts={},
            )
            for part, becomes in self.parts.items()
        )

    def match(self, key: str, state: Mapping[str, torch.Tensor]) -> re.Match[str] | None:
        """Return the match of `key` if the rule holds for it."""
        match = re.fullmatch(self.pattern, key)
        if match and all(match.expand(other) in state for other in self.where):
            return match
        return None

    def convert(self, match: re.Match[str], state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the values of the matched key as we store them.

        Values that cannot be those of the network stay, for the loader to complain of.
        """
        values = state[match.string]
        if self.flatten and values.dim() == 4:
            return values.flatten(1)
        if self.shuffle and values.dim() > 0:
            grouped = state.get(match.expand(self.shuffle))
            if grouped is not None and grouped.dim() == 4:
                return _shuffle(values, channels_per_group=grouped.shape[1])
        return values


class KeyMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the state dict of a public definition becomes one of ours.

    Attributes
    ----------
    rule : tried in this order; the first that holds counts. A key without a rule stays.
    drop : patterns of whole keys that we have no use for.
    index : None where no rule needs it.
    """

    rule: tuple[Rule, ...]
    drop: tuple[str, ...] = ()
    index: Index | None = None

    def __post_init__(self) -> None:
        """Refuse a pattern that is none."""
        for pattern in self.drop:
            _check(pattern)

    def apply(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return `state` with our names.

        Raises
        ------
        UsageError
            Two keys get one name.
        """
        places = self.index.places(state) if self.index else {}
        rules = [part for rule in self.rule for part in rule.by_part()]
        origins: dict[str, str] = {}
        renamed: dict[str, torch.Tensor] = {}
        for key in state:
            if any(re.fullmatch(pattern, key) for pattern in self.drop):
                continue
            name, values = _rename(key, state, rules)
            for field, number in places.get(key, {}).items():
                name = name.replace(f"{{{field}}}", str(number))
            if name in origins:
                raise UsageError(
                    f"{origins[name]} and {key} both become {name}: the checkpoint is of another "
                    "network than the key map is for."
                )
            origins[name] = key
            renamed[name] = values
        return renamed


def load_key_map(name: str, folder: Path = _FOLDER) -> KeyMap:
    """Load the key map `name`.

    Raises
    ------
    UsageError
        There is no such key map, or its file is faulty.
    """
    known = toml_stems(folder)
    if name not in known:
        raise UsageError(f"Unknown key map {name!r}: {did_you_mean(name, known)}")
    return read_toml(folder / f"{name}.toml", KeyMap)


def _rename(
    key: str, state: Mapping[str, torch.Tensor], rules: Iterable[Rule]
) -> tuple[str, torch.Tensor]:
    for rule in rules:
        if match := rule.match(key, state):
            return match.expand(rule.replace), rule.convert(match, state)
    return key, state[key]


def _check(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as err:
        # A ValueError is what msgspec turns into a message with the place in the file.
        raise ValueError(f"{pattern!r} is no regular expression: {err}") from err


def _shuffle(values: torch.Tensor, channels_per_group: int) -> torch.Tensor:
    """Deal the channels of (C, ...) out to the groups one by one."""
    if values.shape[0] % channels_per_group:
        return values
    matrix = values.reshape(channels_per_group, -1, *values.shape[1:])
    return matrix.transpose(0, 1).reshape(values.shape)
