"""What lies between the tasks' times and the network's, and which library is handed out."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import tvm

from edgetvm.errors import DeviceError
from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.manifest import Manifest, read_manifest
from edgetvm.stages.build.bundle import write_bundle
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.device import breakdown
from edgetvm.stages.device.breakdown import break_down
from edgetvm.stages.device.session import Address, DeviceSession

pytestmark = pytest.mark.slow


def test_operators_are_counted_and_sum_up(
    build: NetworkBuild, device: Address, tmp_path: Path
) -> None:
    library = tmp_path / "library.so"
    shutil.copyfile(build.untuned_library(), library)
    found = break_down(device, build, library)
    assert found.estimate_s is None
    assert found.task_operators_s > 0
    assert found.tuned_s > 0
    assert found.untuned_s > 0
    assert found.layout_transforms >= 0
    assert found.other_operators >= 0
    assert found.other_operators_s >= 0


def test_operators_are_timed_with_the_threads_of_the_session(
    build: NetworkBuild, device: Address, tmp_path: Path
) -> None:
    library = tmp_path / "library.so"
    shutil.copyfile(build.untuned_library(), library)
    session = DeviceSession(device, 1, timeout_s=60)
    executor = session.load_library(library)["debug_create"]("default", session.cpu)
    profile = json.loads(executor["profile_rpc"]())
    assert profile["configuration"]["Number of threads"]["count"] == 1


def test_a_device_that_cannot_time_operators_says_so(
    build: NetworkBuild, device: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def __init__(self, address: Address, *_arguments: object) -> None:
            self.address = address
            self.cpu = tvm.cpu()

        def load_library(self, _path: Path) -> dict[str, object]:
            raise tvm.TVMError("planted")

    monkeypatch.setattr(breakdown, "DeviceSession", Refusing)
    with pytest.raises(DeviceError, match="cannot time single operators: planted"):
        breakdown.operator_times_s(device, build, build.untuned_library())


def test_a_slower_tuned_library_is_not_handed_out(
    build: NetworkBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latency = LatencyBreakdown(
        estimate_s=1e-3,
        task_operators_s=1e-3,
        layout_transforms=0,
        layout_transforms_s=0.0,
        other_operators=0,
        other_operators_s=0.0,
        tuned_s=2e-3,
        untuned_s=1e-3,
    )
    assert not latency.is_faster_tuned
    monkeypatch.setattr(build, "latency", latency)
    build.fall_back_to_untuned()
    assert not build.is_tuned
    write_bundle(build, tmp_path)
    manifest: Manifest = read_manifest(tmp_path)
    assert manifest.tuned.sha256 == manifest.untuned.sha256
    assert manifest.tuned_tasks == 0
    assert manifest.latency == latency
    assert msgspec.structs.replace(latency, tuned_s=0.9e-3).is_faster_tuned
