"""Cores by their kind, from recorded /proc/cpuinfo and /sys."""

import os
from pathlib import Path

import pytest

from edgetvm import arm_cpu, host_cpu


def board(
    root: Path, cores: dict[int, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> tuple[host_cpu.Cluster, ...]:
    """Clusters of a board whose cores are given as part and highest clock in MHz."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores))
    cpuinfo = root / "cpuinfo"
    cpuinfo.write_text(
        "\n".join(
            f"processor\t: {cpu}\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
            f"CPU part\t: {part}\n"
            for cpu, (part, _) in cores.items()
        )
    )
    for cpu, (_, clock_mhz) in cores.items():
        path = root / f"cpu{cpu}" / "cpufreq" / "cpuinfo_max_freq"
        path.parent.mkdir(parents=True)
        path.write_text(f"{clock_mhz * 1000}\n")
    return host_cpu.clusters(cpuinfo, root)


def test_a_board_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = board(tmp_path, dict.fromkeys(range(4), ("0xd08", 1500)), monkeypatch)
    assert only == host_cpu.Cluster(
        name="all", core="Cortex-A72", cpus=(0, 1, 2, 3), max_clock_mhz=1500
    )


def test_big_and_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little, big = ("0xd03", 1416), ("0xd08", 1800)
    cores = dict.fromkeys(range(4), little) | dict.fromkeys((4, 5), big)
    first, second = board(tmp_path, cores, monkeypatch)
    assert (first.name, first.core, first.cpus) == ("big", "Cortex-A72", (4, 5))
    assert (second.name, second.core, second.cpus) == ("LITTLE", "Cortex-A53", (0, 1, 2, 3))


def test_clusters_of_one_core_that_differ_in_clock_are_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = dict.fromkeys(range(4), ("0xd05", 1800))
    cores |= dict.fromkeys((4, 5), ("0xd0b", 2256)) | dict.fromkeys((6, 7), ("0xd0b", 2304))
    big, little = board(tmp_path, cores, monkeypatch)
    assert (big.cpus, big.max_clock_mhz, little.cpus) == ((6, 7, 4, 5), 2304, (0, 1, 2, 3))


def test_three_kinds_and_an_unknown_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {0: ("0xd05", 1700), 1: ("0xfff", 2400), 2: ("0xd0d", 2900)}
    kinds = board(tmp_path, cores, monkeypatch)
    assert [(one.name, one.core) for one in kinds] == [
        ("big", "Cortex-A77"),
        ("middle", "0x41:0xfff"),
        ("LITTLE", "Cortex-A55"),
    ]


def test_this_machines_clusters_hold_all_its_cores() -> None:
    assert sum(len(one.cpus) for one in host_cpu.clusters()) == host_cpu.usable_cores()


def test_features_under_emulation_are_the_emulated_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : avx2 fma\n")
    monkeypatch.setattr(arm_cpu.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(arm_cpu, "_hwcap", lambda: 0b11 | 1 << 20)
    assert host_cpu.cpu_features(tmp_path / "cpuinfo") == ("asimd", "asimddp", "fp")
