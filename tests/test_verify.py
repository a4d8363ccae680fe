"""Definitions and records that are rebuilt without their network, and judged."""

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tvm.auto_scheduler.workload_registry import WORKLOAD_FUNC_REGISTRY
from tvm.contrib.popen_pool import MapResult, StatusKind

from edgetvm.errors import CompileError, NumericsError, RecordError
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore, Workload
from edgetvm.records.__main__ import records
from edgetvm.stages.build.definitions import add_definitions, define_workload, register_workloads
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import record_line
from edgetvm.stages.host_target import TVM_VERSION
from edgetvm.stages.verify import verification
from edgetvm.stages.verify.kernel import Kernel, KernelJob, build_kernel
from edgetvm.stages.verify.store import raise_unless_right
from edgetvm.stages.verify.verification import Outcome, Verdict, Verifier
from edgetvm.tune import tune
from tests.candidates import draw
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted import device_info

TUNE_TINY = (TINY, "--input-shape", TINY_SHAPE, "--target", "host", "--threads", "1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lines(build: NetworkBuild) -> dict[str, str]:
    """A random schedule of each task, by workload key."""
    return {task.workload_key: record_line(draw(task, 1)) for task in build.tasks}


@pytest.fixture
def workload(build: NetworkBuild) -> Workload:
    return define_workload(build.tasks[0])


@pytest.fixture
def store(project: DataFolders, build: NetworkBuild, lines: dict[str, str]) -> RecordStore:
    """The tiny network's records and definitions, as a tuning run leaves them."""
    store = RecordStore(project.tuning_logs / build.profile.name, threads=1)
    store.write_provenance(build.profile.tvm_target, TVM_VERSION, device_info("A72"))
    add_definitions(store.workloads, build.tasks)
    for line in lines.values():
        store.append(line)
    return store


def spoilt(line: str) -> str:
    """The record with a step for a stage that its workload does not have."""
    broken = re.sub(r'\["(SP|FU|RE)", \d+', r'["\1", 77', line, count=1)
    assert broken != line
    return broken


def test_definitions_are_added_once_and_read_back_as_the_same_workload(
    build: NetworkBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workloads = RecordStore(tmp_path, threads=1).workloads
    assert add_definitions(workloads, build.tasks) == len(build.tasks)
    assert add_definitions(workloads, build.tasks) == 0
    defined = workloads.read()
    assert {w.description for w in defined.values()} == {task.name for task in build.tasks}
    for key in defined:
        monkeypatch.delitem(WORKLOAD_FUNC_REGISTRY, key)
    register_workloads(defined.values())
    assert WORKLOAD_FUNC_REGISTRY.keys() >= defined.keys()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "unknown"}, "it reads it as"),
        ({"key": "unknown", "definition": "*"}, "base64"),
        (
            {"key": "unknown", "definition": Workload.define("", "", 0, "[1]").definition},
            "list indices",
        ),
    ],
)
def test_a_definition_that_tvm_does_not_read_is_a_record_error(
    workload: Workload, changes: dict[str, str], reason: str
) -> None:
    unread = msgspec.structs.replace(workload, **changes)
    with pytest.raises(RecordError, match="does not read the definition of conv2d") as error:
        register_workloads([unread])
    assert reason in str(error.value)
    assert "Move the target's workloads.jsonl away" in str(error.value)


def test_records_are_rebuilt_alone_and_right(store: RecordStore, invoke: Invoke) -> None:
    outcome = invoke(records, "verify", "--all")
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert "5 of 5 records are right" in outcome.stdout


def test_a_tuning_run_leaves_what_verifying_needs(project: DataFolders, invoke: Invoke) -> None:
    assert invoke(tune, *TUNE_TINY, "--trials", "5").exit_code == 0
    outcome = invoke(records, "verify", "--all")
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert "5 of 5 records are right" in outcome.stdout
    untracked = {path.name for path in project.tuning_logs.glob("*/*.lock")}
    assert untracked == {"store.lock"}


@pytest.mark.parametrize(("cause", "exit_code"), [(KeyboardInterrupt(), 130), (None, None)])
def test_ctrl_c_inside_tvm_is_an_interruption(
    store: RecordStore,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    cause: BaseException | None,
    exit_code: int | None,
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise SystemError from cause

    monkeypatch.setattr(Verifier, "verify", interrupted)
    if exit_code is None:
        with pytest.raises(SystemError):
            invoke(records, "verify")
    else:
        assert invoke(records, "verify").exit_code == exit_code


def test_a_wrong_record_is_named_and_dropped_when_asked(
    store: RecordStore, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = verification._run

    def run_wrongly(session: object, kernel: Kernel, inputs: list[object]) -> list[np.ndarray]:
        outputs = run(session, kernel, inputs)  # type: ignore[arg-type]
        is_first_record = kernel.library.stem == "kernel_1"
        return [output * (1.001 if is_first_record else 1 + 1e-6) for output in outputs]

    monkeypatch.setattr(verification, "_run", run_wrongly)
    outcome = invoke(records, "verify")
    assert outcome.exit_code == 5
    assert "1 records compute something wrong" in outcome.error
    assert "threads_1.json, line 1: wrong: conv2d" in outcome.stdout
    assert "differs from the untuned one by 1.0e-03" in outcome.stdout
    first, *others = store.read_lines()
    assert invoke(records, "verify", "--drop").exit_code == 0
    assert store.read_lines() == others
    assert store.rejected_path.read_text() == first + "\n"


def test_a_record_that_does_not_rebuild_is_named(store: RecordStore, invoke: Invoke) -> None:
    store.edit(lambda lines: [spoilt(lines[0]), *lines[1:]])
    outcome = invoke(records, "verify")
    assert outcome.exit_code == 6
    assert "1 records cannot be rebuilt" in outcome.error
    assert "line 1: not rebuilt: conv2d" in outcome.stdout
    assert "4 of 5 records are right" in outcome.stdout
    first, *others = json.loads(invoke(records, "verify", "--json").stdout)
    assert first["outcome"] == "not rebuilt"
    assert first["record"] == store.read_lines()[0]
    assert {other["outcome"] for other in others} == {"right"}


def test_workloads_without_a_definition_are_not_passed_over(
    store: RecordStore, invoke: Invoke
) -> None:
    store.workloads.path.unlink()
    outcome = invoke(records, "verify")
    assert outcome.exit_code == 6
    assert "The records of 5 workloads without a definition were not verified" in outcome.error


def test_a_kernel_that_cannot_be_generated_is_a_compile_error(
    workload: Workload, lines: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match="it does not compile"):
        build_kernel(KernelJob(workload, None, "cuda", tmp_path / "kernel.so"))


def test_steps_that_do_not_fit_are_a_record_error(
    workload: Workload, build: NetworkBuild, lines: dict[str, str], tmp_path: Path
) -> None:
    job = KernelJob(
        workload, spoilt(lines[workload.key]), build.profile.tvm_target, tmp_path / "kernel.so"
    )
    with pytest.raises(RecordError, match="its steps do not fit its workload"):
        build_kernel(job)


def test_what_cannot_be_judged_is_not_called_bad(
    workload: Workload, build: NetworkBuild, lines: dict[str, str], device: object
) -> None:
    unread = msgspec.structs.replace(workload, definition="")
    with Verifier(device, 1, build.profile.tvm_target, workers=1) as verifier:  # type: ignore[arg-type]
        (verdict,) = verifier.verify([(unread, [lines[workload.key]])])
    assert verdict.outcome is Outcome.NOT_JUDGED
    assert not verdict.is_bad
    assert "the untuned computation cannot be built" in verdict.reason


def test_a_crash_on_the_device_costs_only_its_record(
    workload: Workload,
    build: NetworkBuild,
    lines: dict[str, str],
    device: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tvm

    run = verification._run

    def crash(session: object, kernel: Kernel, inputs: list[object]) -> list[np.ndarray]:
        if kernel.library.stem == "kernel_1":
            raise tvm.TVMError("planted crash")
        return run(session, kernel, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(verification, "_run", crash)
    line = lines[workload.key]
    with Verifier(device, 1, build.profile.tvm_target, workers=1) as verifier:  # type: ignore[arg-type]
        crashed, right = verifier.verify([(workload, [line, line])])
    assert crashed.outcome is Outcome.WRONG
    assert "planted crash" in crashed.reason
    assert right.is_right


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.WRONG, NumericsError),
        (Outcome.NOT_REBUILT, RecordError),
        (Outcome.NOT_JUDGED, RecordError),
    ],
)
def test_each_kind_of_verdict_has_its_error(
    workload: Workload, outcome: Outcome, error: type[Exception]
) -> None:
    raise_unless_right([Verdict(workload, "", Outcome.RIGHT)], undefined=0)
    with pytest.raises(error, match="1 records"):
        raise_unless_right([Verdict(workload, "", outcome)], undefined=0)


def test_a_defect_of_edgetvm_is_no_fault_of_a_record() -> None:
    assert "longer than" in str(verification._built(MapResult(StatusKind.TIMEOUT, None)))
    crash = MapResult(StatusKind.EXCEPTION, ChildProcessError())
    assert verification._built(crash) == "the compiler crashed on it"
    with pytest.raises(KeyError):
        verification._built(MapResult(StatusKind.EXCEPTION, KeyError("defect")))
