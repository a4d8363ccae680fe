"""Fused Relay and records in, a shared library out."""

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import auto_scheduler, relay
from tvm.meta_schedule.database import Database
from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

from edgetvm.errors import CompileError, one_line
from edgetvm.files import replacing
from edgetvm.layer_profile import LayerWork
from edgetvm.stages.build.layers import describe_layers
from edgetvm.stages.build.linker import link_candidate, link_library
from edgetvm.stages.build.metaschedule_layouts import LAYOUT_REWRITE
from edgetvm.stages.build.metaschedule_records import LOOK_UP
from edgetvm.stages.export.constant_folding import fold_constants
from edgetvm.stages.export.optimise import AUTO_SCHEDULER, fuse_for_default_schedules

# Run already, by edgetvm.stages.export.optimise; run again they would only cost time, and
# layouts would be rewritten twice.
_PASSES_DONE = [
    "AlterOpLayout",
    "AutoSchedulerLayoutRewrite",
    "EliminateCommonSubexpr",
    "FoldConstant",
    "FoldScaleAxis",
    "Legalize",
    "SimplifyExpr",
]


_AUTO_SCHEDULER_REWRITE = tvm.get_global_func("relay._transform.AutoSchedulerLayoutRewrite")()

CODE_GENERATION = {"tir.disable_cse_tir": True}
"""How kernels are generated, the same for candidates and for libraries.

TIR's elimination of common subexpressions takes almost half of a build, and LLVM does it again.
"""


def link_kernel(module: tvm.runtime.Module, library: Path) -> None:
    """Write one kernel, with a GPU's code if it has such, into a shared library.

    libm and libc are left open; the server that loads it has both.

    Raises
    ------
    CompileError
        The linker failed.
    """
    if module.imported_modules:

        def link(path: str, objects: list[str], **_options: object) -> None:
            link_candidate([Path(name) for name in objects], Path(path))

        module.export_library(str(library), fcompile=link)
        return
    objects = library.with_suffix(".o")
    module.save(str(objects))
    link_candidate([objects], library)
    objects.unlink()


@dataclass(frozen=True)
class LibraryContents:
    """What a library was built to do.

    Attributes
    ----------
    activation_bytes : that TVM's executor will reserve for input, output and all between.
    layers : its operators, in the order in which they run.
    code : LLVM IR of its kernels; empty for a GPU.
    """

    activation_bytes: int
    layers: tuple[LayerWork, ...]
    code: str


def load_compiler() -> None:
    """Do nothing: a process that is asked for it has loaded TVM beforehand."""


def build_untuned(
    relay_json: str, tvm_target: str, link_triple: str, output: Path
) -> LibraryContents:
    """Build a network with TVM's default schedules into the shared library `output`.

    Parameters
    ----------
    relay_json : the imported network, as ``tvm.ir.save_json`` writes it; text, so that this can
        run in a process of its own.

    Raises
    ------
    CompileError
        TVM cannot lower or generate code for an operator, or linking failed.
    """
    target = tvm.target.Target(tvm_target)
    fused = fuse_for_default_schedules(tvm.ir.load_json(relay_json), target)
    return _build(fused, target, link_triple, output, config={})


def build_tuned(
    fused: tvm.IRModule,
    target: tvm.target.Target,
    link_triple: str,
    output: Path,
    records: list[tuple[auto_scheduler.MeasureInput, auto_scheduler.MeasureResult]],
    database: Database | None = None,
) -> LibraryContents:
    """Build `fused` with the best of `records` for each task into the shared library `output`.

    Weights are stored in the layout that each task's schedule wants. A task without a record
    gets TVM's default schedule. Raises as :func:`build_untuned`.

    Parameters
    ----------
    database : MetaSchedule's schedules, of tasks that `records` has none of.
    """
    with _BestRecords(records):
        fused = _rewrite_layouts(fused, target, _AUTO_SCHEDULER_REWRITE, AUTO_SCHEDULER)
        if database is None:
            return _build(fused, target, link_triple, output, AUTO_SCHEDULER)
        with database:
            config = {**AUTO_SCHEDULER, **LOOK_UP}
            fused = _rewrite_layouts(fused, target, LAYOUT_REWRITE, config)
            return _build(fused, target, link_triple, output, config)


class _BestRecords(auto_scheduler.ApplyHistoryBest):  # type: ignore[misc]
    """The best record of each workload, and nothing for others: TVM's own prints them all."""

    def query(
        self, target: Any, workload_key: str, _has_complex_op: bool, _dag: Any, func_name: str
    ) -> Any:
        return self._query_inside(target, workload_key, func_name)


def _rewrite_layouts(
    fused: tvm.IRModule, target: tvm.target.Target, rewrite: Any, config: dict[str, Any]
) -> tvm.IRModule:
    """Give each weight the layout of its task's schedule; the steps are ``relay.build``'s own."""
    with target, tvm.transform.PassContext(opt_level=3, config=config):
        mod = fold_constants(relay.transform.DefuseOps()(rewrite(fused)))
        return relay.transform.InferType()(relay.transform.FuseOps()(mod))


def _build(
    fused: tvm.IRModule,
    target: tvm.target.Target,
    link_triple: str,
    output: Path,
    config: dict[str, Any],
) -> LibraryContents:
    context = tvm.transform.PassContext(
        opt_level=3, config={**config, **CODE_GENERATION}, disabled_pass=_PASSES_DONE
    )
    try:
        with target, context:
            factory = relay.build(fused, target=target)
    except tvm.TVMError as err:
        raise CompileError(f"TVM cannot build {output.stem} for {target}: {one_line(err)}") from err

    def link(path: str, objects: list[str], **_options: object) -> None:
        link_library([Path(name) for name in objects], Path(path), link_triple)

    # TVM chooses by the name's ending what to write, so the temporary file must end in .so too.
    with replacing(output) as temporary, tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / output.name
        factory.export_library(str(shared), fcompile=link)
        temporary.write_bytes(shared.read_bytes())
    code = factory.get_lib().get_source("ll") if target.kind.name == "llvm" else ""
    return LibraryContents(_activation_bytes(factory), tuple(describe_layers(factory)), code)


def _activation_bytes(factory: GraphExecutorFactoryModule) -> int:
    """Add up the memory that the executor plans for everything but weights."""
    graph = json.loads(factory.get_graph_json())
    attributes = {name: value for name, (_, value) in graph["attrs"].items()}
    rows, nodes = graph["node_row_ptr"], graph["nodes"]
    weights = {rows[at] for at in graph["arg_nodes"] if nodes[at]["name"] in factory.params}
    planned: dict[int, int] = {}
    for entry, (place, shape, dtype) in enumerate(
        zip(*(attributes[name] for name in ("storage_id", "shape", "dltype")), strict=True)
    ):
        if entry not in weights:
            size = math.prod(shape) * -(-tvm.runtime.DataType(dtype).bits // 8)
            planned[place] = max(size, planned.get(place, 0))
    return sum(planned.values())
