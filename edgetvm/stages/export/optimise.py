"""Relay's graph optimisations, without compiling anything.

The passes are those that ``relay.build`` runs itself. Run here, with constants folded by numpy,
they take a second instead of a minute, and tuning and building see the very same functions.
"""

import functools

import tvm
from tvm import relay
from tvm.relay.backend import te_compiler

from edgetvm.stages.export import implementations
from edgetvm.stages.export.constant_folding import fold_constants
from edgetvm.stages.export.rewrites import (
    convolve_parts,
    dense_to_conv2d,
    fill_vectors,
    join_layouts,
    spread_pixels,
)

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

_LEFT_OUT = ["SimplifyExpr", "SimplifyExprPostAlterOp", "FoldScaleAxis"]
"""Passes that do no good where AutoScheduler chooses; TVM's own schedules get them all the same.

The first two match patterns for two seconds, for casts, transposes and like-shaped zeros, which the
import into inference form has removed. The last moves squeeze-excite's scale from the activations
to the weights, often the larger of the two, which then take their layout anew in each inference.
"""

# TVM asks for its build flags, a map of a hundred strings, once for every axis of every tensor
# that it lowers; half the time of a build went there.
te_compiler.libinfo = functools.cache(te_compiler.libinfo)

implementations.install()


def fuse_for_default_schedules(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Optimise and fuse `mod` as TVM does untuned: on CPUs, blocked NCHW convolutions."""
    return _optimise_and_fuse(mod, target, auto_scheduler=False)


def fuse_for_auto_scheduler(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Optimise and fuse `mod` as AutoScheduler wants it: NHWC, dense layers as convolutions."""
    with tvm.transform.PassContext(opt_level=3):
        mod = join_layouts(relay.transform.ConvertLayout(_NHWC)(spread_pixels(mod)))
    mod = fill_vectors(convolve_parts(dense_to_conv2d(fold_constants(mod))))
    return _optimise_and_fuse(mod, target, auto_scheduler=True)


def _optimise_and_fuse(
    mod: tvm.IRModule, target: tvm.target.Target, *, auto_scheduler: bool
) -> tvm.IRModule:
    passes = tvm.get_global_func("relay.backend.GetPassPrefixSeq")(True, False)
    context = tvm.transform.PassContext(
        opt_level=3,
        config=AUTO_SCHEDULER if auto_scheduler else {},
        disabled_pass=["FoldConstant", *(_LEFT_OUT if auto_scheduler else [])],
    )
    with target, context:
        mod = fold_constants(passes(mod))
        return relay.transform.InferType()(relay.transform.FuseOps()(mod))
