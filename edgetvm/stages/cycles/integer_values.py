"""Integers and addresses of a kernel at sampled iterations of its loops.

What a kernel computes with integers (indices, conditions of padding, addresses) depends on
nothing but its loops' variables; so each is computed here for many iterations at a time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetvm.stages.cycles.integer_operations import (
    COMPARISONS,
    OPERATIONS,
    Integers,
    extreme,
    signed,
    unsigned,
)
from edgetvm.stages.cycles.ir_function import NAME


@dataclass(frozen=True)
class Address:
    """An address at each sample: bytes into the object that `base` names."""

    base: str
    offset: Integers


Value = Integers | Address

_ASSIGNED = re.compile(rf"^({NAME}) = (?:(?:tail|musttail|notail) )?(\w+) (.*)$")
_FLAGS = re.compile(
    r"\b(?:nuw|nsw|exact|disjoint|nneg|samesign|inbounds|nusw|noalias|range\([^)]*\)) ?"
)
_BINARY = re.compile(r"^i(\d+) (\S+), (\S+)$")
_COMPARED = re.compile(r"^(\w+) (?:i(\d+)|ptr) (\S+), (\S+)$")
_CAST = re.compile(r"^i(\d+) (\S+) to i(\d+)$")
_SELECTED = re.compile(r"^i1 (\S+), \S+ (\S+), \S+ (\S+)$")
_EXTREME = re.compile(r"^i(\d+) @llvm\.([us](?:min|max))\.i\d+\(i\d+ (\S+), i\d+ (\S+)\)")
_STEPPED = re.compile(r"^(.+), ptr (\S+?)((?:, i\d+ \S+)+)$")
_INDEX = re.compile(r", i\d+ (\S+?)(?=,|$)")
_ARRAY = re.compile(r"^[\[<](\d+) x (.*)[\]>]$")
_ELEMENT_BYTES = {"float": 4, "half": 2}


def size_bytes(kind: str) -> int:
    """Return the size of a type of LLVM's."""
    if array := _ARRAY.match(kind):
        return int(array[1]) * size_bytes(array[2])
    if re.fullmatch(r"i\d+", kind):
        return -(-int(kind[1:]) // 8)
    return _ELEMENT_BYTES.get(kind, 8)


class Values:
    """What the names of a function stand for, at each of `samples` iterations.

    Parameters
    ----------
    pointers : parameters, each an object of its own.
    """

    def __init__(self, pointers: Iterable[str], samples: int) -> None:
        self._samples = samples
        self.known: dict[str, Value] = {name: self._object(name) for name in pointers}

    def of(self, text: str) -> Value | None:
        """Return what an operand is, None if that is unknown."""
        if re.fullmatch(r"-?\d+|true|false", text):
            number = int(text) if text[-1] != "e" else int(text == "true")
            return np.full(self._samples, number, np.int64)
        return self.known.get(text)

    def compute(self, instruction: str) -> None:
        """Compute what an instruction assigns, if that is an integer or an address known."""
        if assigned := _ASSIGNED.match(instruction):
            name, operation, operands = assigned.groups()
            value = self._computed(name, operation, _FLAGS.sub("", operands))
            if value is not None:
                self.known[name] = value

    def _computed(self, name: str, operation: str, operands: str) -> Value | None:
        if operation in OPERATIONS:
            return self._binary(operation, operands)
        if operation in _OTHERS:
            return _OTHERS[operation](self, operands)
        is_object = operation in ("call", "load") and operands.startswith("ptr")
        if operation == "alloca" or is_object:
            return self._object(name)
        if operation == "call" and (found := _EXTREME.match(operands)):
            numbers = self._numbers(found[3], found[4])
            return extreme(found[2], numbers[0], numbers[1], int(found[1])) if numbers else None
        return None

    def _object(self, name: str) -> Address:
        return Address(name, np.zeros(self._samples, np.int64))

    def _numbers(self, *texts: str) -> list[Integers] | None:
        values = [self.of(text) for text in texts]
        numbers = [one for one in values if one is not None and not isinstance(one, Address)]
        return numbers if len(numbers) == len(texts) else None

    def _binary(self, operation: str, operands: str) -> Value | None:
        found = _BINARY.match(operands)
        if not found:
            return None
        if numbers := self._numbers(found[2], found[3]):
            bits = int(found[1])
            return signed(OPERATIONS[operation](numbers[0], numbers[1], bits), bits)
        if operation in ("and", "or") and found[1] == "1":  # of two conditions the one known
            return self.of(found[2]) if self.of(found[2]) is not None else self.of(found[3])
        return None

    def _compared(self, operands: str) -> Value | None:
        found = _COMPARED.match(operands)
        if not found:
            return None
        if found[4] == "null":  # of memory that was asked for: it is never refused here
            return np.full(self._samples, found[1] == "ne", np.int64)
        numbers = self._numbers(found[3], found[4])
        if not numbers:
            return None
        if found[1].startswith("u"):
            numbers = [unsigned(one, int(found[2])) for one in numbers]
        return COMPARISONS[found[1][-2:]](*numbers).astype(np.int64)

    def _zero_extended(self, operands: str) -> Value | None:
        found = _CAST.match(operands)
        numbers = self._numbers(found[2]) if found else None
        return unsigned(numbers[0], int(found[1])) if found and numbers else None

    def _sign_extended(self, operands: str) -> Value | None:
        found = _CAST.match(operands)
        numbers = self._numbers(found[2]) if found else None
        if not found or not numbers:
            return None
        return -numbers[0] if found[1] == "1" else numbers[0]

    def _truncated(self, operands: str) -> Value | None:
        found = _CAST.match(operands)
        numbers = self._numbers(found[2]) if found else None
        return signed(numbers[0], int(found[3])) if found and numbers else None

    def _frozen(self, operands: str) -> Value | None:
        return self.of(operands.rsplit(maxsplit=1)[-1])

    def _selected(self, operands: str) -> Value | None:
        found = _SELECTED.match(operands)
        if not found:
            return None
        condition, first, second = self._numbers(found[1]), self.of(found[2]), self.of(found[3])
        if not condition or first is None or second is None:
            return first
        return self.merged(first, second, ~condition[0].astype(bool))

    def merged(self, first: Value, second: Value, takes_second: NDArray[np.bool_]) -> Value:
        """Return the first value, but the second where that is taken and of the same kind."""
        if isinstance(first, Address) or isinstance(second, Address):
            if not isinstance(first, Address) or not isinstance(second, Address):
                return first
            if first.base != second.base:
                return first
            return Address(first.base, np.where(takes_second, second.offset, first.offset))
        return np.where(takes_second, second, first)

    def _stepped(self, operands: str) -> Value | None:
        found = _STEPPED.match(operands)
        start = self.of(found[2]) if found else None
        if not found or not isinstance(start, Address):
            return None
        offset, kind = start.offset, found[1]
        for place, text in enumerate(_INDEX.findall(found[3])):
            array = _ARRAY.match(kind) if place else None
            kind = array[2] if array else kind
            index = self._numbers(text)
            if not index:
                return None
            offset = offset + index[0] * size_bytes(kind)
        return Address(start.base, offset)


_OTHERS = {
    "icmp": Values._compared,
    "zext": Values._zero_extended,
    "sext": Values._sign_extended,
    "trunc": Values._truncated,
    "freeze": Values._frozen,
    "select": Values._selected,
    "getelementptr": Values._stepped,
}
