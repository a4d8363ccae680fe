"""Features of candidates for the cost model: TVM's extractor, kept from a fault that ends it.

For its curve of arithmetic intensity the extractor looks for the first loop that computes at
least a tenth, two tenths and so on of a buffer's operations. All ten tenths, ``x * 10 / 10`` in
single precision, may be rounded to more than ``x``; then it reads behind the last loop, and the
process is aborted. It happens to some 5 % of the counts above two million that have no large
power of two as a factor. Rounded down, the ten tenths are never more.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from tvm.auto_scheduler import feature

FE_DOWNWARD = {"aarch64": 0x800000, "x86_64": 0x400}
"""C's rounding mode by architecture."""

_C_MATH = ctypes.CDLL("libm.so.6")


@contextmanager
def rounding_down() -> Iterator[None]:
    """Round results of this thread down, and those of threads that it starts meanwhile.

    TVM starts the threads of its extractor for each call.
    """
    mode = _C_MATH.fegetround()
    _C_MATH.fesetround(FE_DOWNWARD.get(platform.machine(), mode))
    try:
        yield
    finally:
        _C_MATH.fesetround(mode)


features_of_states = rounding_down()(feature.get_per_store_features_from_states)
"""Features of states of one task: a matrix a state, a row a store to a buffer."""

features_of_records = rounding_down()(feature.get_per_store_features_from_measure_pairs)
"""Features of measured candidates, their relative throughputs, and the numbers of their tasks."""
