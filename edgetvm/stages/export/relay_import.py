"""A network in, its Relay program out: NCHW, constants bound, batch norm folded."""

import warnings
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relay

from edgetvm.errors import CompileError, one_line
from edgetvm.models.network import Network
from edgetvm.recipe import FLOAT16
from edgetvm.stages.export.constant_folding import fold_constants
from edgetvm.stages.export.detection import convert_class_wise_nms
from edgetvm.stages.export.precision import to_float16
from edgetvm.stages.export.rewrites import fold_batch_norm, make_tunable


def import_network(network: Network) -> tvm.IRModule:
    """Import a PyTorch module (by tracing) or an ONNX file into Relay.

    Returns
    -------
    Module whose ``main`` takes the network's one input and returns its outputs, all float32; what
    lies between has the recipe's precision.

    Raises
    ------
    CompileError
        TVM's importer does not know an operator, or the import failed otherwise.
    """
    try:
        mod, params = _from_onnx(network) if network.module is None else _from_pytorch(network)
        mod["main"] = relay.build_module.bind_params_by_name(mod["main"], params)
        mod = fold_batch_norm(fold_constants(relay.transform.InferType()(mod)))
        mod = make_tunable(mod)
        # bias_add becomes add, through which a change of layout can pass.
        mod = relay.transform.CanonicalizeOps()(relay.transform.SimplifyInference()(mod))
        mod = fold_constants(mod)
        return to_float16(mod) if network.recipe.precision == FLOAT16 else mod
    except (tvm.TVMError, NotImplementedError, AssertionError, RuntimeError) as err:
        raise CompileError(
            f"{network.name} cannot be imported into Relay: {one_line(err)}. "
            "Replace the operation that is named there, or export the network to ONNX first."
        ) from err


def _from_pytorch(network: Network) -> tuple[tvm.IRModule, dict[str, tvm.nd.NDArray]]:
    import torch

    assert network.module is not None
    with warnings.catch_warnings(), torch.no_grad():
        # TVM 0.19 imports TorchScript only; newer PyTorch warns that tracing is deprecated.
        warnings.simplefilter("ignore")
        trace: Callable[..., Any] = torch.jit.trace
        example = torch.from_numpy(network.golden_input())
        # Tracing twice to compare is not needed: the library's output is checked.
        traced = trace(network.module, example, check_trace=False)
        inputs = [(network.input_name, network.input_shape)]
        mod, params = relay.frontend.from_pytorch(
            traced, inputs, custom_convert_map={"edgetvm::class_wise_nms": convert_class_wise_nms}
        )
        return mod, params


def _from_onnx(network: Network) -> tuple[tvm.IRModule, dict[str, tvm.nd.NDArray]]:
    import onnx

    assert network.onnx_path is not None
    model = onnx.load(network.onnx_path)
    shape = {network.input_name: network.input_shape}
    mod, params = relay.frontend.from_onnx(model, shape, freeze_params=True)
    return relay.transform.DynamicToStatic()(mod), params
