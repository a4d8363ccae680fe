"""LLVM's operations on integers, on arrays of them; values are kept as signed numbers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def unsigned(value: Integers, bits: int) -> Integers:
    """Return what the bits of a value mean without a sign; 64 are left as they are."""
    return value if bits >= 64 else value & ((1 << bits) - 1)


def signed(value: Integers, bits: int) -> Integers:
    """Return what the lowest bits of a value mean with a sign; a single one has none."""
    if bits in (1, 64):
        return value & 1 if bits == 1 else value
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def _quotient(dividend: Integers, divisor: Integers) -> Integers:
    safe = np.where(divisor == 0, 1, divisor)
    result: Integers = np.sign(dividend) * np.sign(safe) * (np.abs(dividend) // np.abs(safe))
    return result


def _remainder(dividend: Integers, divisor: Integers) -> Integers:
    return dividend - _quotient(dividend, divisor) * divisor


OPERATIONS: dict[str, Callable[[Integers, Integers, int], Integers]] = {
    "add": lambda a, b, _: a + b,
    "sub": lambda a, b, _: a - b,
    "mul": lambda a, b, _: a * b,
    "shl": lambda a, b, _: a << b,
    "and": lambda a, b, _: a & b,
    "or": lambda a, b, _: a | b,
    "xor": lambda a, b, _: a ^ b,
    "lshr": lambda a, b, bits: unsigned(a, bits) >> b,
    "ashr": lambda a, b, _: a >> b,
    "udiv": lambda a, b, bits: _quotient(unsigned(a, bits), unsigned(b, bits)),
    "urem": lambda a, b, bits: _remainder(unsigned(a, bits), unsigned(b, bits)),
    "sdiv": lambda a, b, _: _quotient(a, b),
    "srem": lambda a, b, _: _remainder(a, b),
}
"""By name, of two operands of so many bits."""

COMPARISONS: dict[str, Callable[[Integers, Integers], NDArray[np.bool_]]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
}
"""By name without the letter for the sign."""


def extreme(name: str, first: Integers, second: Integers, bits: int) -> Integers:
    """Return what ``umin``, ``umax``, ``smin`` or ``smax`` makes of two operands."""
    pick = np.minimum if name.endswith("min") else np.maximum
    if name.startswith("u"):
        return signed(pick(unsigned(first, bits), unsigned(second, bits)), bits)
    result: Integers = pick(first, second)
    return result
