"""The nearest relative of a target: whose cost model a new target begins with."""

from pathlib import Path

from tvm.target import Target, codegen

from edgetvm.records import RecordStore
from edgetvm.records.store import is_emulated, is_modelled, list_stores

COST_MODEL = "cost_model.ubj"


def cost_model_of(store: RecordStore) -> Path:
    """Return the file of the cost model of the store's target, whether or not it is there."""
    return store.path.parent / COST_MODEL


def nearest_cost_model(tuning_logs: Path, own: RecordStore) -> Path | None:
    """Return the cost model to begin with: the target's own, or its nearest relative's.

    A relative is of the same kind, CPU or GPU, and has the same architecture; the nearest differs
    in the fewest CPU features, and of those it has the most records. What an emulator or a
    cycle model taught is left out. None if there is nothing to begin with.
    """
    path = cost_model_of(own)
    if path.exists():
        return path
    here = own.read_provenance()
    if here is None:
        return None
    found = []
    for store in list_stores(tuning_logs):
        meta = store.read_provenance()
        is_measured = not is_emulated(store) and not is_modelled(store)
        if meta is None or not is_measured or not cost_model_of(store).exists():
            continue
        if kind_of(meta.tvm_target) != kind_of(here.tvm_target):
            continue
        if {machine.arch for machine in meta.machines} & {
            machine.arch for machine in here.machines
        }:
            differing = _features(meta.tvm_target) ^ _features(here.tvm_target)
            found.append((len(differing), -store.path.stat().st_size, cost_model_of(store)))
    return min(found)[2] if found else None


def kind_of(tvm_target: str) -> str:
    """Return what a target's string begins with: ``llvm`` or ``opencl``."""
    return tvm_target.partition(" ")[0]


def _features(tvm_target: str) -> set[str]:
    """Return the CPU features that LLVM uses for a target; a GPU has none."""
    if kind_of(tvm_target) != "llvm":
        return set()
    return set(map(str, codegen.llvm_get_cpu_features(Target(tvm_target))))
