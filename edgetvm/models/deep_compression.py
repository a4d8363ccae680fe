"""Deep Compression of weights: pruned, shared, Huffman-coded (Han et al., arXiv 1510.00149).

A file is a header, a table of the tensors, and the table's sections one after the other. Floating
point tensors of two dimensions or more are compressed; all others, biases and the statistics of
normalisations, are kept exactly. The paper trains again after the first two steps; here nothing
is trained.
"""

import math
import struct
import zlib
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from edgetvm.errors import UsageError

Float32Array = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

_MAGIC = b"DCZ\n"
_VERSION = 1
_HEADER = struct.Struct("<4sHI")  # magic, version, CRC-32 of all that follows
_TABLE_LENGTH = struct.Struct("<I")

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}

_REACH = 256
"""Positions that one gap byte can advance; a filler stands wherever the next weight is further."""

_MAXIMUM_ITERATIONS = 500
"""Of k-means; by then it has settled, or what still moves is too little to matter."""


class StoredTensor(msgspec.Struct, frozen=True, array_like=True):
    """What a file says of one tensor, with the lengths of its sections in bytes.

    Attributes
    ----------
    exact : the values as they are; 0 for a compressed tensor.
    codebook : the shared values, float32.
    indices : which shared value each kept weight takes, Huffman-coded.
    gaps : how many zeros precede each kept weight, Huffman-coded.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    exact: int = 0
    codebook: int = 0
    indices: int = 0
    gaps: int = 0


def pack(state: Mapping[str, torch.Tensor], density: float, bits: int) -> bytes:
    """Compress the tensors of `state`; the same state gives the same bytes.

    Parameters
    ----------
    density : share of each compressed tensor's weights that is kept, the largest magnitudes.
    bits : width of an index: a tensor's weights share ``2**bits - 1`` values, one index being
        the filler's.

    Raises
    ------
    UsageError
        `density` is not in (0, 1] or `bits` not in 1..8, or a tensor is of an unusual type or
        not finite.
    """
    if not 0 < density <= 1:
        raise UsageError(f"density must be above 0 and at most 1, not {density}.")
    if not 1 <= bits <= 8:
        raise UsageError(f"bits must be from 1 to 8, not {bits}.")
    table: list[StoredTensor] = []
    content: list[bytes] = []
    for key, tensor in state.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise UsageError(f"{key} is of type {dtype}; known: {', '.join(_DTYPES)}.")
        if tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel():
            sections = _compress(key, tensor, density, 2**bits - 1)
        else:
            sections = {"exact": _to_bytes(tensor)}
        lengths = {name: len(section) for name, section in sections.items()}
        table.append(StoredTensor(key, tuple(tensor.shape), dtype, **lengths))
        content += sections.values()
    encoded = msgspec.msgpack.encode(table)
    body = b"".join([_TABLE_LENGTH.pack(len(encoded)), encoded, *content])
    return _HEADER.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body


def unpack(data: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors that :func:`pack` compressed, with the types and shapes they had.

    Raises
    ------
    UsageError
        `data` was not packed by this version, or is damaged or incomplete.
    """
    table, offset = _read_table(data)
    state = {}
    for stored in table:
        sections = []
        for length in (stored.exact, stored.codebook, stored.indices, stored.gaps):
            sections.append(data[offset : offset + length])
            offset += length
        # A checksum can be right and the content wrong: anyone can compute one.
        try:
            state[stored.key] = _restore(stored, *sections)
        except (ValueError, LookupError, RuntimeError, zlib.error) as err:
            raise _damaged(f"{stored.key} does not fit its shape") from err
    return state


def size_report(data: bytes) -> list[StoredTensor]:
    """Return where the bytes of packed weights go, tensor by tensor; raises as :func:`unpack`."""
    return _read_table(data)[0]


def _read_table(data: bytes) -> tuple[list[StoredTensor], int]:
    """Return the table and the offset of the first section."""
    if not data.startswith(_MAGIC):
        raise UsageError(
            "these are no compressed weights. Make them with python -m edgetvm.compress."
        )
    start = _HEADER.size + _TABLE_LENGTH.size
    if len(data) < start:
        raise _damaged("their end is missing")
    _, version, checksum = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise UsageError(
            f"the compressed weights are of version {version}, this edgetvm reads {_VERSION}. "
            "Compress the weights again: python -m edgetvm.compress."
        )
    if zlib.crc32(data[_HEADER.size :]) != checksum:
        raise _damaged("their checksum is wrong")
    end = start + _TABLE_LENGTH.unpack_from(data, _HEADER.size)[0]
    try:
        return msgspec.msgpack.decode(data[start:end], type=list[StoredTensor]), end
    except msgspec.DecodeError as err:
        raise _damaged("their table cannot be read") from err


def _damaged(reason: str) -> UsageError:
    return UsageError(
        f"the compressed weights are damaged or incomplete: {reason}. Copy the file again, or "
        "compress the weights again."
    )


def _compress(key: str, tensor: torch.Tensor, density: float, shared: int) -> dict[str, bytes]:
    weights: Float32Array = tensor.detach().cpu().to(torch.float32).reshape(-1).numpy()
    if not np.isfinite(weights).all():
        raise UsageError(f"{key} holds infinity or NaN. Give weights that are finite.")
    positions = _largest(weights, max(1, round(density * weights.size)))
    kept = weights[positions]
    codebook = _shared_values(kept, shared)
    # The nearest shared value; index 0 is the filler's.
    nearest = np.searchsorted((codebook[1:] + codebook[:-1]) / 2, kept) + 1

    zeros = np.diff(positions, prepend=-1) - 1
    entries = np.cumsum(zeros // _REACH + 1)  # each weight with the fillers before it
    gaps = np.full(entries[-1] if entries.size else 0, _REACH - 1, np.uint8)
    gaps[entries - 1] = zeros % _REACH
    indices = np.zeros_like(gaps)
    indices[entries - 1] = nearest
    return {
        "codebook": codebook.astype("<f4").tobytes(),
        "indices": _huffman(indices.tobytes()),
        "gaps": _huffman(gaps.tobytes()),
    }


def _restore(
    stored: StoredTensor, exact: bytes, codebook: bytes, indices: bytes, gaps: bytes
) -> torch.Tensor:
    dtype = _DTYPES[stored.dtype]
    if not stored.indices:
        values = torch.from_numpy(np.frombuffer(bytearray(exact), np.uint8))
        return values.view(dtype).reshape(stored.shape)
    dense = np.zeros(math.prod(stored.shape), np.float32)
    advances = np.frombuffer(zlib.decompress(gaps, -zlib.MAX_WBITS), np.uint8)
    positions = np.cumsum(advances.astype(np.int64) + 1) - 1
    shared = np.concatenate([np.zeros(1, np.float32), np.frombuffer(codebook, "<f4")])
    dense[positions] = shared[np.frombuffer(zlib.decompress(indices, -zlib.MAX_WBITS), np.uint8)]
    return torch.from_numpy(dense).reshape(stored.shape).to(dtype)


def _to_bytes(tensor: torch.Tensor) -> bytes:
    # By way of bytes, as NumPy has no bfloat16.
    content: bytes = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    return content


def _largest(weights: Float32Array, count: int) -> Positions:
    """Return the positions of the `count` largest magnitudes, ascending; of equals the first.

    Zeros are never among them: weights that were sparser before stay so.
    """
    magnitudes = np.abs(weights)
    count = min(count, int(np.count_nonzero(magnitudes)))
    if not count:
        return np.empty(0, np.int64)
    threshold = np.partition(magnitudes, -count)[-count]
    kept = magnitudes > threshold
    equal = np.flatnonzero(magnitudes == threshold)
    kept[equal[: count - np.count_nonzero(kept)]] = True
    return np.flatnonzero(kept)


def _shared_values(weights: Float32Array, count: int) -> Float32Array:
    """Cluster the weights around at most `count` values by k-means; return these, ascending.

    It starts from values evenly spaced over the range, which keeps the few large weights apart
    (section 3.1 of the paper, "linear"). A value that no weight is near, as around zero after
    pruning, is dropped. Weights that are as few or shared already are returned as they are.
    """
    levels, occurrences = np.unique(weights, return_counts=True)
    if levels.size <= count:
        return levels
    # In one dimension a cluster is a range of the sorted weights, its sum a difference of two.
    number = np.concatenate([[0], np.cumsum(occurrences)])
    total = np.concatenate([[0.0], np.cumsum(occurrences * levels.astype(np.float64))])
    centres = np.linspace(float(levels[0]), float(levels[-1]), count)
    edges, filled = np.empty(0, np.int64), np.ones(count, bool)
    for _ in range(_MAXIMUM_ITERATIONS):
        cuts = np.searchsorted(levels, (centres[1:] + centres[:-1]) / 2)
        previous, edges = edges, np.concatenate([[0], cuts, [levels.size]])
        if np.array_equal(edges, previous):
            break
        members = np.diff(number[edges])
        filled = members > 0
        centres[filled] = np.diff(total[edges])[filled] / members[filled]
    return centres[filled].astype(np.float32)


def _huffman(symbols: bytes) -> bytes:
    # With this strategy deflate looks for no repetitions: what is left of it is a Huffman code
    # of the bytes, made anew for each block, with the code's lengths in front.
    encoder = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return encoder.compress(symbols) + encoder.flush()
