"""Profiles by layer, on real bundles, and the probe of the device's ceilings."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tvm

from edgetvm.errors import UsageError
from edgetvm.layer_profile import (
    Ceiling,
    Layer,
    LayerProfile,
    MemoryCeiling,
    Roofline,
    latest_profile,
    write_profile,
)
from edgetvm.manifest import read_manifest
from edgetvm.paths import DataFolders
from edgetvm.profile import profile
from edgetvm.profile_display import layer_row, summarise
from edgetvm.stages.device.roofline import (
    CHAINS,
    Probe,
    build_probe,
    operations_probe,
    reading_probe,
    triad_probe,
)
from edgetvm.stages.host_target import detect_host_profile
from edgetvm.tune import tune
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted import device_info

GIGA = 1e9


def ceiling(giga: float, spread: float = 0.0) -> Ceiling:
    return Ceiling(value=giga * GIGA, low=giga * GIGA, high=giga * GIGA * (1 + spread))


def memory(giga: float, footprint_bytes: int) -> MemoryCeiling:
    one = ceiling(giga)
    return MemoryCeiling(
        value=one.value, low=one.low, high=one.high, footprint_bytes=footprint_bytes
    )


ROOFLINE = Roofline(
    flop_per_s=ceiling(100, spread=0.1),
    one_thread_flop_per_s=ceiling(50),
    bytes_per_s=(memory(200, 1000), memory(100, 10_000), memory(10, 1_000_000)),
)


def layer(seconds: float, flop: int = 0, moved_bytes: int = 1000) -> Layer:
    return Layer(
        name=f"layer of {seconds}",
        function="f",
        flop=flop,
        moved_bytes=moved_bytes,
        is_tuned=True,
        seconds=seconds,
    )


def planted(*layers: Layer, roofline: Roofline | None = ROOFLINE) -> LayerProfile:
    return LayerProfile(
        model="net",
        target="board",
        bundle_id="0",
        measured_at="2026-01-02T03:04:05Z",
        device=device_info("A72"),
        threads=2,
        layers=layers,
        network_s=0.01,
        roofline=roofline,
    )


@pytest.mark.parametrize(
    ("moved_bytes", "giga"), [(1, 200), (1000, 200), (9_999, 200), (10_000, 100), (10**9, 10)]
)
def test_data_comes_no_faster_than_from_the_nearest_cache(moved_bytes: int, giga: float) -> None:
    assert ROOFLINE.memory_ceiling(moved_bytes).value == giga * GIGA


def test_a_layer_is_bound_by_the_lower_ceiling() -> None:
    compute, moving = layer(2e-3, flop=10**8, moved_bytes=1000), layer(2e-3, moved_bytes=10**7)
    found = planted(compute, moving)
    assert found.roofline_share(compute) == pytest.approx(0.5)
    assert found.roofline_share(moving) == pytest.approx(0.5)
    assert [layer_row(found, one)["Bound by"] for one in found.layers] == ["compute", "memory"]
    assert layer_row(found, compute)["GFLOP/s"] == "50.0"
    assert found.share(compute) == pytest.approx(0.5)
    assert summarise(found) == "layers 4.00 ms, network 10.0 ms, between them +6.000 ms"


def test_a_layer_above_the_roofline_is_the_probes_fault_and_not_clipped() -> None:
    within, above = layer(0.95e-3, flop=10**8), layer(0.8e-3, flop=10**8)
    found = planted(within, above)
    assert found.faults == (above,)
    assert found.roofline_share(above) == pytest.approx(1.25)


def test_without_a_probe_there_is_no_share() -> None:
    found = planted(layer(1e-3), roofline=None)
    assert found.roofline_share(found.layers[0]) is None
    assert found.faults == ()
    assert {layer_row(found, found.layers[0])[name] for name in ("Roofline", "Bound by")} == {"-"}


def test_the_newest_profile_is_found_and_another_versions_refused(tmp_path: Path) -> None:
    assert latest_profile(tmp_path) is None
    path = write_profile(planted(layer(1e-3)), tmp_path)
    assert latest_profile(tmp_path) == planted(layer(1e-3))
    path.write_text("{}")
    with pytest.raises(UsageError, match="is no profile of this edgetvm: remove it"):
        latest_profile(tmp_path)


def run_probe(probe: Probe, folder: Path, values: list[np.ndarray]) -> np.ndarray:
    library = folder / "probe.so"
    build_probe(probe, detect_host_profile().tvm_target, library)
    arguments = [
        tvm.nd.empty(array.shape[:-1], f"float32x{probe.lanes}").copyfrom(array) for array in values
    ]
    module = tvm.runtime.load_module(str(library))
    module[module.entry_name](*arguments)
    return arguments[-1].numpy()


@pytest.mark.slow
class TestProbe:
    """What does not compute what it should was not measured either."""

    def test_operations_are_done(self, tmp_path: Path) -> None:
        probe = operations_probe(threads=2, lanes=8, links=3)
        assert probe.work == 2 * 2 * 3 * CHAINS * 8
        source, output = probe.arguments()
        source[:CHAINS] = np.arange(CHAINS * 8).reshape(CHAINS, 8)
        expected = source[:CHAINS]
        for _ in range(3):
            expected = expected * 0.5 + 0.5
        found = run_probe(probe, tmp_path, [source, output])
        np.testing.assert_allclose(found, np.concatenate([expected, expected]), rtol=1e-6)

    def test_every_byte_is_read(self, tmp_path: Path) -> None:
        probe = reading_probe(threads=2, lanes=8, footprint_bytes=2**23)
        source, output = probe.arguments()
        assert probe.work == source.nbytes
        source[:] = np.random.default_rng(0).integers(0, 3, source.shape)
        found = run_probe(probe, tmp_path, [source, output])
        expected = source.reshape(2, -1, CHAINS, 8).sum(axis=1).reshape(-1, 8)
        np.testing.assert_array_equal(found, expected)

    def test_the_triad_is_computed(self, tmp_path: Path) -> None:
        probe = triad_probe(threads=1, lanes=4, footprint_bytes=2**23)
        first, second, output = probe.arguments()
        assert probe.work == 3 * output.nbytes
        first[:] = np.arange(first.size).reshape(first.shape) % 100
        found = run_probe(probe, tmp_path, [first, second, output])
        np.testing.assert_array_equal(found, first * 1.5)


@pytest.mark.slow
def test_layers_are_timed_and_counted(project: DataFolders, invoke: Invoke) -> None:
    options = ("--input-shape", TINY_SHAPE, "--target", "host", "--threads", "1")
    tuned = invoke(tune, TINY, *options, "--trials", "12")
    assert tuned.exit_code == 0, tuned.stderr
    (bundle,) = project.bundles.glob("*/*")
    manifest = read_manifest(bundle)
    profiled = invoke(profile, "build", "--json")
    assert profiled.exit_code == 0, profiled.stderr
    found = msgspec.json.decode(profiled.stdout, type=LayerProfile)
    assert found == latest_profile(bundle)
    assert sum(layer.flop for layer in found.layers) == 2 * manifest.multiply_adds
    assert {layer.name for layer in found.layers if layer.is_tuned} == {
        task.name for task in manifest.tasks if task.best_s is not None
    }
    assert all(layer.seconds > 0 for layer in found.layers)
    assert found.roofline is not None
    ceilings = (found.roofline.flop_per_s, *found.roofline.bytes_per_s)
    assert all(0 < one.low <= one.value <= one.high for one in ceilings)
    shown = invoke(profile, "build")
    assert "conv2d 3x3/2 3->16x16x16+add+clip" in shown.stdout
    assert "between them" in shown.stdout
    assert "roofline:" in shown.stdout
    assert json.loads(profiled.stdout)["threads"] == 1


@pytest.mark.slow
def test_an_emulated_device_is_not_profiled(
    project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--input-shape", TINY_SHAPE, "--target", "host", "--threads", "1")
    assert invoke(tune, TINY, *options, "--trials", "0").exit_code == 0
    monkeypatch.setenv("EDGETVM_EMULATED", "QEMU some core")
    refused = invoke(profile, "build", "--target", "host")
    assert refused.exit_code == 3
    assert "is emulated by QEMU some core: its times say nothing" in refused.error
