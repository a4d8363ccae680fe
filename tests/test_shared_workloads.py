"""Workloads that several models have: tuned once, and read for the network at hand only."""

from pathlib import Path

import pytest
from tvm.auto_scheduler import measure_record

from edgetvm.records import RecordStore
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import parse_records, record_line
from tests.candidates import draw
from tests.planted_records import line
from tests.test_tuner import tuner_of

pytestmark = pytest.mark.slow


def test_a_workload_that_another_model_has_tuned_costs_no_trial(
    build: NetworkBuild, tmp_path: Path
) -> None:
    store = RecordStore(tmp_path, threads=1)
    *shared, own = build.tasks
    for task in shared:
        store.append(record_line(draw(task, 1)))
    tuner = tuner_of(build, store)
    tuner.take_up()
    progress = tuner.run(trials=1)
    assert progress.resumed == len(shared)
    assert [state.trials for state in progress.tasks] == [1] * len(build.tasks)
    assert store.read_records()[-1].workload_key == own.workload_key
    assert progress.network_latency_s


def test_only_records_of_the_network_are_parsed(
    build: NetworkBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    load = measure_record.load_record_from_string
    monkeypatch.setattr(
        measure_record, "load_record_from_string", lambda text: parsed.append(text) or load(text)
    )
    own = record_line(draw(build.tasks[0], 1))
    lines = [line(number) for number in range(1000)]
    assert len(parse_records([*lines, own], build.workload_keys)) == 1
    assert parsed == [own]
