"""Every profile loads, is sourced, and gives code and libraries for its device."""

import re
from pathlib import Path

import pytest
import tvm
from tvm import te

from edgetvm.errors import UsageError
from edgetvm.stages.build.linker import describe_library, link_library
from edgetvm.target_profile import list_target_profiles, load_target_profile
from tests.conftest import ROOT

FOLDER = ROOT / "targets"
NAMES = list_target_profiles(FOLDER)
CPUS = [name for name in NAMES if load_target_profile(name, FOLDER).gpu is None]


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_whole(name: str) -> None:
    profile = load_target_profile(name, FOLDER)
    assert profile.title
    assert profile.sources
    assert profile.cores == profile.cluster.count
    assert profile.cluster.peak_flop_per_s >= 0
    target = tvm.target.Target(profile.tvm_target)
    assert target.kind.name == ("llvm" if name in CPUS else "opencl")
    assert target.model == name
    assert profile.vector_unit_bytes in (16, 32, 64)


def test_the_boards_that_people_have_are_there() -> None:
    assert {"rasp3b", "rasp3b_32", "rasp4b", "rasp5", "rk3399", "rk3588", "jetson_tx2"} <= set(
        NAMES
    )


def test_a_raspberry_pi_4_can_do_48_gflop_a_second() -> None:
    assert load_target_profile("rasp4b", FOLDER).cluster.peak_flop_per_s == 48e9


@pytest.mark.slow
@pytest.mark.parametrize("name", CPUS)
def test_code_for_the_target_links_to_its_oldest_libc(name: str, tmp_path: Path) -> None:
    profile = load_target_profile(name, FOLDER)
    x = te.placeholder((64,), name="x")
    y = te.compute((64,), lambda i: te.exp(x[i]))
    module = tvm.build(te.create_schedule(y.op), [x, y], tvm.target.Target(profile.tvm_target))
    module.save(str(tmp_path / "kernel.o"))
    library = tmp_path / "kernel.so"
    link_library([tmp_path / "kernel.o"], library, profile.link_triple)
    described = describe_library(library)
    assert described.arch == profile.arch
    assert described.pointer_bits == (32 if profile.arch == "armv7l" else 64)
    oldest = re.search(r"(\d+)\.(\d+)$", profile.link_triple)
    assert oldest
    needed = [int(part) for part in described.glibc.split(".") if part]
    assert needed <= [int(part) for part in oldest.groups()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("count = 4", "count = 0"), "clusters must name at least one kind of cores"),
        (("-model=rasp4b", ""), "tvm_target must hold -model=rasp4b"),
        (("-keys=cpu", ""), "tvm_target must hold -keys=cpu"),
        (("cache_line_bytes = 64", "cache_line_bytes = 0"), "cache_line_bytes must be at least 1"),
        (
            ('arch = "aarch64"', 'arch = "aarch64"\nruns_on = "bgi"'),
            "runs_on = 'bgi' is no cluster",
        ),
        (("l1_data_bytes", "l1_bytes"), "unknown field `l1_bytes`"),
    ],
)
def test_a_faulty_profile_is_said(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = (FOLDER / "rasp4b.toml").read_text()
    assert change[0] in text
    (tmp_path / "rasp4b.toml").write_text(text.replace(*change))
    with pytest.raises(UsageError, match=message):
        load_target_profile("rasp4b", tmp_path)


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean rasp4b"):
        load_target_profile("rasp4", FOLDER)
