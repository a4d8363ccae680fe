"""The cost model over several runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tvm import auto_scheduler

from edgetvm.errors import RecordError
from edgetvm.records import RecordStore
from edgetvm.stages.build.records import Record
from edgetvm.stages.tune.cost_model import RETRAIN_LEAST, CostModel
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.stages.tune.relatives import cost_model_of, nearest_cost_model
from tests.planted import device_info
from tests.test_register_tiling import task, tiling_conv

TASK = task(tiling_conv, 14, 96, 64, 1, 1)


def records(count: int) -> list[Record]:
    """Candidates of which each takes longer than the one before."""
    states = list(tiled_states(TASK))[:count]
    return [
        (
            auto_scheduler.MeasureInput(TASK, state),
            auto_scheduler.MeasureResult([1e-3 * 2**place], 0, "", 0.1, 0),
        )
        for place, state in enumerate(states)
    ]


def scores(model: CostModel, count: int) -> np.ndarray:
    return np.array(model.predict(TASK, [r[0].state for r in records(count)]))


def test_it_learns_which_candidates_are_fast(tmp_path: Path) -> None:
    fast = [measure_input for measure_input, _ in records(12)]
    policy = auto_scheduler.SketchPolicy(
        TASK, params={"evolutionary_search_population": 64}, seed=3, verbose=0
    )
    sampled = policy.sample_initial_population()[:12]
    slow = [auto_scheduler.MeasureInput(TASK, state) for state in sampled]
    model = CostModel(tmp_path / "model.ubj", None, threads=1, seed=0)
    known = [
        (measure_input, auto_scheduler.MeasureResult([seconds], 0, "", 0.1, 0))
        for inputs, seconds in ((fast, 1e-3), (slow, 1e-2))
        for measure_input in inputs
    ]
    model.learn(known)
    predicted = [
        np.mean(model.predict(TASK, [measure_input.state for measure_input in inputs]))
        for inputs in (fast, slow)
    ]
    assert predicted[0] > 2 * predicted[1]


def test_the_next_run_begins_with_the_same_trees(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    model = CostModel(path, None, threads=1, seed=0)
    assert not model.is_restored
    model.learn(records(10))
    model.save()
    again = CostModel(path, path, threads=1, seed=7)
    assert again.is_restored
    assert again.bst.get_dump() == model.bst.get_dump()
    assert np.isfinite(scores(again, 10)).all()


def test_it_goes_on_from_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    model = CostModel(path, None, threads=1, seed=0)
    model.learn(records(10))
    model.save()
    again = CostModel(path, path, threads=1, seed=0)
    again.learn(records(RETRAIN_LEAST))
    assert again.bst.num_boosted_rounds() > model.bst.num_boosted_rounds()


def test_few_new_records_do_not_train_it_again(tmp_path: Path) -> None:
    model = CostModel(tmp_path / "model.ubj", None, threads=1, seed=0)
    known = records(12)
    model.learn(known[:11])
    before = model.bst
    model.learn(known[11:])
    assert model.bst is before


def test_nothing_learnt_writes_nothing(tmp_path: Path) -> None:
    CostModel(tmp_path / "model.ubj", None, threads=1, seed=0).save()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_model_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model.ubj").write_text("no model")
    path = tmp_path / "model.ubj"
    with pytest.raises(RecordError, match=r"model\.ubj is no cost model .* Delete it"):
        CostModel(path, path, threads=1, seed=0)


def planted_store(folder: Path, tvm_target: str, arch: str, *, has_model: bool) -> RecordStore:
    """A store of one machine; its records are of no interest."""
    store = RecordStore(folder, threads=1)
    store.write_provenance(tvm_target, "0.19.0", device_info("cpu", arch=arch))
    store.path.write_text("")
    if has_model:
        cost_model_of(store).write_text("")
    return store


def test_a_new_target_begins_with_the_model_of_its_nearest_relative(tmp_path: Path) -> None:
    wide, narrow = "llvm -mcpu=x86-64-v4 -mattr=-prefer-256-bit", "llvm -mcpu=x86-64-v3"
    arm = "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72"
    near = planted_store(tmp_path / "near", wide, "x86_64", has_model=True)
    planted_store(tmp_path / "far", narrow, "x86_64", has_model=True)
    planted_store(tmp_path / "other", arm, "aarch64", has_model=True)
    own = planted_store(tmp_path / "own", wide, "x86_64", has_model=False)
    assert nearest_cost_model(tmp_path, own) == cost_model_of(near)
    cost_model_of(own).write_text("")
    assert nearest_cost_model(tmp_path, own) == cost_model_of(own)


def test_without_a_relative_it_begins_with_nothing(tmp_path: Path) -> None:
    own = planted_store(tmp_path / "own", "llvm", "x86_64", has_model=False)
    planted_store(tmp_path / "other", "llvm", "aarch64", has_model=True)
    assert nearest_cost_model(tmp_path, own) is None
    assert nearest_cost_model(tmp_path, RecordStore(tmp_path / "new", threads=1)) is None


ABORTING = """
import edgetvm.stages
from tvm import auto_scheduler, te
from edgetvm.stages.tune.cost_model import CostModel
from pathlib import Path

@auto_scheduler.register_workload
def product(rows, columns):
    a, b = te.placeholder((rows, columns)), te.placeholder((columns,))
    k = te.reduce_axis((0, columns))
    return [a, b, te.compute((rows,), lambda i: te.sum(a[i, k] * b[k], axis=k))]

task = auto_scheduler.SearchTask(func=product, args=({rows}, {columns}), target="llvm")
state = task.compute_dag.get_init_state()
print(CostModel(Path("model.ubj"), None, 1, 0).predict(task, [state.state_object])[0])
"""


def test_counts_that_the_extractor_rounds_up_do_not_end_the_process() -> None:
    ten = np.float32(10)
    rows, columns = next(
        (rows, columns)
        for rows in range(1901, 2101, 2)
        for columns in range(1901, 2101, 2)
        if np.float32(2 * rows * columns) * ten / ten > 2 * rows * columns
    )
    script = ABORTING.format(rows=rows, columns=columns)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout) < 1
