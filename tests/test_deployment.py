"""Deployments of real bundles on this machine: one alone, several in turn, and under load."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from edgetvm.deploy import deploy
from edgetvm.host_cpu import usable_cores
from edgetvm.measurement import Run, latest_run
from edgetvm.paper.estimate import estimate_ratio
from edgetvm.paths import DataFolders
from edgetvm.tune import tune
from edgetvm.verdict import KINDS, OTHERS_BUSY
from tests.conftest import TINY, TINY_SHAPE, Invoke

pytestmark = pytest.mark.slow

SMALL = "mobilenet_v1_0.25_128"
UNTUNED = ("--target", "host", "--trials", "0", "--threads", "1")


@contextmanager
def every_core_busy() -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(usable_cores()):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def runs_of(project: DataFolders) -> dict[str, Run]:
    runs = (latest_run(bundle) for bundle in project.bundles.glob("*/*"))
    return {run.model: run for run in runs if run is not None}


def test_a_run_says_what_it_was_measured_with(project: DataFolders, invoke: Invoke) -> None:
    assert invoke(tune, TINY, "--input-shape", TINY_SHAPE, *UNTUNED).exit_code == 0
    deployed = invoke(deploy, "--repeat", "10")
    assert deployed.exit_code == 0, deployed.stderr
    (run,) = runs_of(project).values()
    assert f"build: {run.verdict}; timed at" in deployed.stderr.replace("\n", " ")
    assert run.verdict.kind in KINDS
    assert set(run.cpus.split(",")) <= {str(cpu) for cpu in os.sched_getaffinity(0)}
    assert run.library_bytes
    assert run.after.process_peak_bytes
    assert run.others_busy is not None
    for measurement in (run.tuned, run.untuned, run.reference):
        assert measurement is not None
        assert measurement.warm_up > 0
        assert len(measurement.samples_s) == 10
        assert measurement.was_timed_with(run.tuned)
    assert run.tuned.first_run_s


def test_under_load_no_number_looks_fine(project: DataFolders, invoke: Invoke) -> None:
    assert invoke(tune, TINY, "--input-shape", TINY_SHAPE, *UNTUNED).exit_code == 0
    with every_core_busy():
        deployed = invoke(deploy, "--repeat", "10")
    assert deployed.exit_code == 0, deployed.stderr
    (run,) = runs_of(project).values()
    assert run.others_busy is not None
    assert run.others_busy > OTHERS_BUSY
    assert KINDS.index(run.verdict.kind) >= KINDS.index("noisy")
    assert "noisy: other programs kept" in deployed.stderr


def test_models_are_timed_in_turn_when_asked(project: DataFolders, invoke: Invoke) -> None:
    assert invoke(tune, TINY, "--input-shape", TINY_SHAPE, *UNTUNED).exit_code == 0
    assert invoke(tune, SMALL, *UNTUNED).exit_code == 0
    assert invoke(deploy, "--repeat", "5").exit_code == 0
    apart = runs_of(project)
    assert not apart["build"].tuned.was_timed_with(apart[SMALL].tuned)
    together = invoke(deploy, "--repeat", "5", "--together")
    assert together.exit_code == 0, together.stderr
    runs = runs_of(project)
    assert runs["build"].tuned.was_timed_with(runs[SMALL].tuned)
    assert all(run.relative_error < 1e-4 for run in runs.values())
    ratio = estimate_ratio(runs[SMALL].tuned, runs["build"].tuned)
    assert 1 < ratio.low <= ratio.value <= ratio.high
    clash = invoke(tune, SMALL, *UNTUNED[:-1], "2") if usable_cores() > 1 else None
    if clash is not None:
        refused = invoke(deploy, "--together")
        assert refused.exit_code == 2
        assert "need as many threads" in refused.error
