"""MetaSchedule beside AutoScheduler, on real tasks: search, records, and bundles of both."""

import functools
import io
import json
from pathlib import Path

import msgspec
import pytest
import tvm
from rich.console import Console
from tvm.meta_schedule.cost_model import XGBModel
from tvm.meta_schedule.database import JSONDatabase

from edgetvm.errors import CompileError, RecordError
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.records import MetaScheduleStore
from edgetvm.records.metaschedule_store import MetaScheduleRecord
from edgetvm.stages.build.bundle import write_bundle
from edgetvm.stages.build.metaschedule_records import (
    metaschedule_key,
    metaschedule_record,
    metaschedule_target,
    parse_metaschedule,
)
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.build.winners import Winner, choose_winners
from edgetvm.stages.device.library import check_on_device
from edgetvm.stages.tune.candidate_build import CandidateBuilder
from edgetvm.stages.tune.candidate_timing import CandidateTimer
from edgetvm.stages.tune.metaschedule_search import MetaScheduleSearch
from edgetvm.stages.tune.metaschedule_task_search import MetaScheduleTaskSearch
from edgetvm.stages.tune.tools import Tools
from edgetvm.stages.tune.tuner import Tuner
from edgetvm.tuning_display import print_tuning_summary
from tests.candidates import draw
from tests.test_tuner import PlantedBuilder, PlantedTimer

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> MetaScheduleStore:
    return MetaScheduleStore(tmp_path, threads=1)


def tuner_of(
    build: NetworkBuild, store: MetaScheduleStore, builder: object = None, timer: object = None
) -> Tuner:
    tools = Tools(builder or PlantedBuilder(), timer or PlantedTimer())  # type: ignore[arg-type]
    search = MetaScheduleSearch(build.tasks, store, threads=1, cores=2, seed=0)
    return Tuner(build.tasks, [search], tools, lambda progress: None)


@functools.cache
def drawn(build: NetworkBuild) -> dict[str, list[MetaScheduleRecord]]:
    """Two schedules of each task, as records that say they took a millisecond; by task."""
    target = metaschedule_target(build.tasks[0].search_task.target, 1)

    def draw_two(task: NetworkTask) -> list[MetaScheduleRecord]:
        model = XGBModel(num_warmup_samples=0)
        search = MetaScheduleTaskSearch(task, target, model, threads=2, seed=1)
        traces = [candidate.schedule.trace for candidate in search.propose(2)]
        return [metaschedule_record(task, trace, target, [1e-3]) for trace in traces]

    return {task.workload_key: draw_two(task) for task in build.tasks}


def test_every_task_gets_a_record_that_tvm_reads(
    build: NetworkBuild, store: MetaScheduleStore, device: object
) -> None:
    with CandidateBuilder(workers=1) as builder:
        tuner = tuner_of(build, store, builder, CandidateTimer(device, 1))  # type: ignore[arg-type]
        progress = tuner.run(trials=3 * len(build.tasks))
    assert len(store.read()) == progress.trials == 3 * len(build.tasks)
    assert all(state.best_s is not None for state in progress.tasks)
    stock = JSONDatabase(str(store.workloads_path), str(store.path))
    for task, state in zip(build.tasks, progress.tasks, strict=True):
        (best,) = stock.get_top_k(stock.commit_workload(task.tir_module), 1)
        mean_s = sum(float(cost) for cost in best.run_secs) / len(best.run_secs)
        assert mean_s == pytest.approx(state.best_s)


def test_the_next_run_takes_up_the_records_and_measures_nothing_twice(
    build: NetworkBuild, store: MetaScheduleStore
) -> None:
    tuner_of(build, store).run(trials=30)
    again = tuner_of(build, store)
    again.take_up()
    assert again.progress.resumed == 30
    assert all(state.best_s == pytest.approx(1e-3) for state in again.progress.tasks)
    again.run(trials=30)
    records = store.read()
    assert len(records) == 60
    assert len({(record.workload_key, record.trace) for record in records}) == 60


def test_failed_trials_are_records_that_tune_nothing(
    build: NetworkBuild, store: MetaScheduleStore
) -> None:
    tuner = tuner_of(build, store, PlantedBuilder("planted fault"))
    with pytest.raises(CompileError, match="planted fault"):
        tuner.run(trials=3)
    records = store.read()
    assert [record.seconds for record in records] == [None] * 3
    stock = JSONDatabase(str(store.workloads_path), str(store.path))
    assert not any(stock.query_tuning_record(t.tir_module, None, "") for t in build.tasks)
    build.build_tuned([], records)
    assert not build.is_tuned


def test_a_record_decides_what_relay_builds(build: NetworkBuild, device: object) -> None:
    task = build.tasks[0]
    libraries = set()
    for record in drawn(build)[task.workload_key]:
        library = build.build_tuned([], [record])
        assert check_on_device(device, library, build) < 1e-4  # type: ignore[arg-type]
        libraries.add(library.read_bytes())
    assert len(libraries) == 2
    first, *others = build.task_summaries()
    assert (first.tuner, first.best_s) == (METASCHEDULE, 1e-3)
    assert {(other.tuner, other.best_s) for other in others} == {(None, None)}


def test_weights_are_stored_in_the_layout_that_the_schedule_wants(build: NetworkBuild) -> None:
    records = drawn(build)[build.tasks[0].workload_key]
    assert all(b"TransformLayout" in record.trace for record in records)
    library = tvm.runtime.load_module(str(build.build_tuned([], records)))
    graph = json.loads(library["get_graph_json"]())
    assert max(map(len, graph["attrs"]["shape"][1])) > 4
    assert not any("meta_schedule" in node["name"] for node in graph["nodes"])


def test_a_bundle_takes_the_schedules_of_both_tuners(
    build: NetworkBuild, device: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [draw(task, seed=5) for task in build.tasks[::2]]
    theirs = [drawn(build)[task.workload_key][0] for task in build.tasks[1::2]]
    library = build.build_tuned(own, theirs)
    assert check_on_device(device, library, build) < 1e-4  # type: ignore[arg-type]
    manifest = write_bundle(build, tmp_path / "mixed")
    expected = [(AUTO_SCHEDULER, METASCHEDULE)[place % 2] for place in range(len(build.tasks))]
    assert [task.tuner for task in manifest.tasks] == expected
    assert "Cannot find workload" not in capfd.readouterr().err
    console = Console(file=io.StringIO(), width=120)
    manifest = msgspec.structs.replace(manifest, relative_error=0.0)
    print_tuning_summary(console, manifest, tmp_path / "mixed", None)
    assert "3 by auto_scheduler, 2 by metaschedule" in console.file.getvalue()


def test_the_faster_schedule_of_a_task_wins_and_autoscheduler_a_draw(build: NetworkBuild) -> None:
    record = drawn(build)[build.tasks[0].workload_key][0]
    winners = choose_winners(
        {"slower": 2e-3, "equal": 1e-3, "alone": 1.0},
        {"slower": record, "equal": record, "other": record},
    )
    assert winners == {
        "slower": Winner(METASCHEDULE, 1e-3),
        "equal": Winner(AUTO_SCHEDULER, 1e-3),
        "alone": Winner(AUTO_SCHEDULER, 1.0),
        "other": Winner(METASCHEDULE, 1e-3),
    }


def test_a_record_that_does_not_fit_its_task_is_an_error(build: NetworkBuild) -> None:
    first, *_, last = build.tasks
    record = drawn(build)[first.workload_key][0]
    with pytest.raises(RecordError, match=r"TVM does not read a MetaSchedule record.*--tuner"):
        parse_metaschedule(record, last)
    spoilt = msgspec.structs.replace(record, workload_key=metaschedule_key(last))
    with pytest.raises(RecordError, match="TVM does not read a MetaSchedule record"):
        build.build_tuned([], [spoilt])
