"""Relay's graph optimisations, without compiling anything.

The passes are those that ``relay.build`` runs itself. Run here, with constants folded by numpy,
they take a second instead of a minute, and tuning and building see the very same functions.
"""

import functools
from typing import Any

import tvm
from tvm import autotvm, relay
from tvm.relay.backend import te_compiler

from edgetvm.stages.export.constant_folding import fold_constants
from edgetvm.stages.export.rewrites import dense_to_conv2d

AUTO_SCHEDULER = {"relay.backend.use_auto_scheduler": True}
"""Configuration under which Relay asks AutoScheduler's records for schedules."""

_NHWC = {
    "nn.conv2d": ["NHWC", "default"],
    "nn.max_pool2d": ["NHWC"],
    "nn.avg_pool2d": ["NHWC"],
    "nn.global_max_pool2d": ["NHWC"],
    "nn.global_avg_pool2d": ["NHWC"],
    "image.resize2d": ["NHWC"],
}

_NOTHING_LEFT_TO_DO = ["SimplifyExpr", "SimplifyExprPostAlterOp"]
"""Two seconds of pattern matching for casts, transposes and like-shaped zeros, which the import
into inference form has removed. TVM's own schedules get them all the same, as the stock path does.
"""

# TVM asks for its build flags, a map of a hundred strings, once for every axis of every tensor
# that it lowers; half the time of a build went there.
te_compiler.libinfo = functools.cache(te_compiler.libinfo)

# AutoTVM would advise to tune with AutoTVM.
autotvm.GLOBAL_SCOPE.silent = True

_all_implementations = te_compiler.get_valid_implementations


def _implementations_without_winograd(*query: Any) -> list[Any]:
    """Leave out Winograd's convolutions where AutoScheduler chooses.

    Relay would take them for every 3x3 convolution, unmeasured: four dependent stages with a
    search space that a budget of hours does not cover, and more rounding error.
    """
    found: list[Any] = _all_implementations(*query)
    if te_compiler.is_auto_scheduler_enabled():
        found = [
            implementation for implementation in found if "winograd" not in implementation.name
        ]
    return found


te_compiler.get_valid_implementations = _implementations_without_winograd


def fuse_for_default_schedules(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Optimise and fuse `mod` as TVM does untuned: on CPUs, blocked NCHW convolutions."""
    return _optimise_and_fuse(mod, target, auto_scheduler=False)


def fuse_for_auto_scheduler(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Optimise and fuse `mod` as AutoScheduler wants it: NHWC, dense layers as convolutions."""
    with tvm.transform.PassContext(opt_level=3):
        mod = relay.transform.ConvertLayout(_NHWC)(mod)
    return _optimise_and_fuse(dense_to_conv2d(fold_constants(mod)), target, auto_scheduler=True)


def _optimise_and_fuse(
    mod: tvm.IRModule, target: tvm.target.Target, *, auto_scheduler: bool
) -> tvm.IRModule:
    passes = tvm.get_global_func("relay.backend.GetPassPrefixSeq")(True, False)
    context = tvm.transform.PassContext(
        opt_level=3,
        config=AUTO_SCHEDULER if auto_scheduler else {},
        disabled_pass=["FoldConstant", *(_NOTHING_LEFT_TO_DO if auto_scheduler else [])],
    )
    with target, context:
        mod = fold_constants(passes(mod))
        return relay.transform.InferType()(relay.transform.FuseOps()(mod))
