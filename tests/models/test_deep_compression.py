"""Deep Compression: what survives it exactly, what it changes and by how much, and its size."""

import struct
import time
import zlib

import msgspec
import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans

from edgetvm.errors import UsageError
from edgetvm.models.deep_compression import pack, size_report, unpack
from edgetvm.models.squeezenet import SqueezeNet
from edgetvm.models.weights import initialise


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def through(tensor: torch.Tensor, density: float = 1.0, bits: int = 8) -> torch.Tensor:
    return unpack(pack({"x": tensor}, density, bits))["x"]


@pytest.mark.parametrize(
    "tensor",
    [
        normal(17),
        torch.tensor(3.5),
        torch.tensor(7),
        torch.tensor([[-3, 1 << 60]]),
        torch.tensor([[True, False]]),
        torch.empty(0, 4),
        normal(5).to(torch.bfloat16),
        torch.tensor([float("inf"), float("nan")]),
    ],
)
def test_all_but_weights_is_kept_exactly(tensor: torch.Tensor) -> None:
    again = through(tensor, density=0.1, bits=2)
    assert again.dtype == tensor.dtype
    torch.testing.assert_close(again, tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_keep_their_type_and_shape(dtype: torch.dtype) -> None:
    tensor = normal(4, 3, 2).to(dtype)
    again = through(tensor)
    assert again.dtype == dtype
    assert torch.equal(again, tensor.to(torch.float32).to(dtype))


def test_weights_are_read_in_logical_order_whatever_their_strides() -> None:
    tensor = normal(4, 3, 5, 2).to(memory_format=torch.channels_last)
    assert torch.equal(through(tensor), tensor)
    assert torch.equal(through(normal(6, 5).T), normal(6, 5).T)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.33, 0.01])
def test_the_largest_magnitudes_are_kept_and_nothing_else(density: float) -> None:
    tensor = normal(40, 50)
    kept = through(tensor, density) != 0
    count = round(density * tensor.numel())
    assert kept.sum() == count
    assert (
        tensor.abs()[kept].min() >= tensor.abs().flatten().sort(descending=True).values[count - 1]
    )


def test_of_equal_magnitudes_the_first_are_kept() -> None:
    tensor = torch.tensor([[1.0, -2.0, 1.0, 1.0, -1.0, 1.0]])
    assert through(tensor, density=0.5).tolist() == [[1.0, -2.0, 1.0, 0.0, 0.0, 0.0]]


def test_zeros_are_not_kept_to_fill_the_density() -> None:
    tensor = torch.zeros(10, 10)
    assert torch.equal(through(tensor, density=0.5), tensor)
    tensor[3, 4] = -2.0
    assert torch.equal(through(tensor, density=0.5), tensor)
    (stored,) = size_report(pack({"x": tensor}, 0.5, 6))
    assert stored.codebook == 4


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 257, 511, 512, 513, 100_000])
def test_gaps_of_any_length(gap: int) -> None:
    tensor = torch.zeros(1, 2 * gap + 5)
    tensor[0, gap] = 1.5
    tensor[0, 2 * gap + 1] = -2.5
    assert torch.equal(through(tensor, density=1.0, bits=2), tensor)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_a_tensor_shares_no_more_values_than_the_bits_allow(bits: int) -> None:
    tensor = normal(100, 100)
    again = through(tensor, density=0.4, bits=bits)
    assert 1 <= len(again[again != 0].unique()) <= 2**bits - 1
    (stored,) = size_report(pack({"x": tensor}, 0.4, bits))
    assert stored.codebook <= 4 * (2**bits - 1)


def test_the_shared_values_are_those_of_k_means_from_linear_values() -> None:
    tensor = normal(40, 50)
    kept = tensor.flatten().double().numpy()
    linear = np.linspace(kept.min(), kept.max(), 15)
    expected, _ = kmeans(kept, linear, thresh=1e-12)
    again = through(tensor, bits=4)
    np.testing.assert_allclose(again.unique().numpy(), np.sort(expected), rtol=0, atol=1e-5)
    # Each weight takes the nearest of them.
    nearest = np.abs(kept[:, None] - expected).min(axis=1)
    np.testing.assert_allclose((again - tensor).abs().flatten().numpy(), nearest, rtol=0, atol=1e-5)


def test_a_tensor_of_few_values_is_kept_exactly() -> None:
    tensor = normal(255)[torch.randint(255, (30, 40), generator=torch.Generator().manual_seed(1))]
    assert torch.equal(through(tensor), tensor)


def test_compressing_again_changes_nothing() -> None:
    once = pack({"w": normal(30, 40), "b": normal(30)}, 0.3, 4)
    assert pack(unpack(once), 0.3, 4) == once


def test_skewed_indices_take_fewer_bits_than_the_index_is_wide() -> None:
    """A Huffman code comes within one bit of the entropy; plain indices would take 8 bits."""
    tensor = normal(200, 200)
    (stored,) = size_report(pack({"w": tensor}, 1.0, 8))
    _, counts = through(tensor).unique(return_counts=True)
    share = counts.double() / tensor.numel()
    entropy = -(share * share.log2()).sum().item() * tensor.numel() / 8
    assert entropy <= stored.indices < 1.05 * entropy
    assert entropy < 0.95 * tensor.numel()
    # Every gap is zero: one bit each.
    assert stored.gaps == pytest.approx(tensor.numel() / 8, rel=0.05)


def test_squeezenet_has_the_size_of_the_paper() -> None:
    """0.47 MB with 6 bits and density 33 % (arXiv 1602.07360, table 2)."""
    network = SqueezeNet("1.0")
    initialise(network, (1, 3, 224, 224), seed=0)
    state = network.state_dict()
    started = time.process_time()
    data = pack(state, density=0.33, bits=6)
    again = unpack(data)
    assert time.process_time() - started < 5
    assert len(data) < 470_000
    report = size_report(data)
    sections = sum(one.exact + one.codebook + one.indices + one.gaps for one in report)
    assert 0 < len(data) - sections < 5_000
    assert [one.key for one in report] == list(again) == list(state)
    weights = [key for key in state if key.endswith("weight")]
    kept = sum(int(again[key].count_nonzero()) for key in weights)
    assert kept / sum(state[key].numel() for key in weights) == pytest.approx(0.33, abs=1e-3)
    assert all(torch.equal(again[key], state[key]) for key in state if key.endswith("bias"))
    # What 33 % of normal weights hold of the energy bounds the error; sharing adds little.
    before, after = (torch.cat([one[key].flatten() for key in weights]) for one in (state, again))
    assert (after - before).square().sum() < 0.25 * before.square().sum()


def test_the_same_state_gives_the_same_bytes() -> None:
    state = {"w": normal(30, 40), "b": normal(30)}
    assert pack(state, 0.3, 5) == pack({key: state[key].clone() for key in state}, 0.3, 5)


SMALL = pack({"w": normal(9, 11), "b": normal(3), "n": torch.tensor(1)}, 0.5, 4)


def test_a_cut_file_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(UsageError, match=r"damaged or incomplete|no compressed weights"):
            unpack(SMALL[:length])


def test_a_changed_byte_is_refused() -> None:
    for position in range(len(SMALL)):
        changed = bytearray(SMALL)
        changed[position] ^= 0x10
        with pytest.raises(UsageError, match=r"damaged|no compressed weights|version"):
            unpack(bytes(changed))


def test_a_byte_too_many_is_refused() -> None:
    with pytest.raises(UsageError, match="their checksum is wrong"):
        unpack(SMALL + b"\0")


@pytest.mark.parametrize(
    ("index", "field", "value"),
    [
        (0, "shape", (9, 10)),
        (0, "shape", (9, -11)),
        (0, "dtype", "float31"),
        (0, "codebook", 7),
        (0, "codebook", 0),
        (0, "indices", 9),
        (1, "shape", (4,)),
        (1, "exact", 11),
    ],
)
def test_a_right_checksum_does_not_excuse_a_wrong_table(
    index: int, field: str, value: object
) -> None:
    table = size_report(SMALL)
    sections = sum(one.exact + one.codebook + one.indices + one.gaps for one in table)
    table[index] = msgspec.structs.replace(table[index], **{field: value})
    encoded = msgspec.msgpack.encode(table)
    body = struct.pack("<I", len(encoded)) + encoded + SMALL[-sections:]
    forged = SMALL[:6] + struct.pack("<I", zlib.crc32(body)) + body
    with pytest.raises(UsageError, match=f"damaged or incomplete: {table[index].key} does not fit"):
        unpack(forged)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.01, float("nan")])
def test_an_impossible_density_is_refused(density: float) -> None:
    with pytest.raises(UsageError, match=r"density must be above 0 and at most 1, not"):
        pack({"x": normal(2, 2)}, density, 6)


@pytest.mark.parametrize("bits", [0, 9])
def test_an_impossible_width_is_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"bits must be from 1 to 8, not {bits}"):
        pack({"x": normal(2, 2)}, 0.5, bits)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"layer\.weight holds infinity or NaN"):
        pack({"layer.weight": torch.tensor([[1.0, value]])}, 0.5, 6)


def test_a_type_without_a_place_in_the_file_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x is of type complex64; known: float64,"):
        pack({"x": torch.zeros(2, dtype=torch.complex64)}, 0.5, 6)
