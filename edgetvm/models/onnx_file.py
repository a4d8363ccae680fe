"""What edgetvm needs to know of an ONNX file, and running one with ONNX Runtime."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetvm.errors import UsageError, one_line


@dataclass(frozen=True)
class OnnxSummary:
    """The interface of an ONNX network with one float32 input and one float32 output.

    Attributes
    ----------
    input_shape : a dimension that the file leaves open is None.
    parameters : number of learnt values, without the statistics of batch normalisations.
    """

    input_name: str
    input_shape: tuple[int | None, ...]
    parameters: int


def read_onnx(path: Path) -> OnnxSummary:
    """Check the ONNX file `path` and summarise it.

    Raises
    ------
    UsageError
        The file is missing or invalid, has not exactly one input, or not float32 ones.
    """
    import onnx

    if not path.is_file():
        raise UsageError(f"{path}: there is no such ONNX file; correct the path.")
    try:
        # By path, since only that works above 2 GB and finds weights kept beside the file.
        onnx.checker.check_model(str(path))
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as err:  # protobuf's and the checker's kinds have no common base
        raise UsageError(
            f"{path} is not a valid ONNX file ({one_line(err)}). Export the network again."
        ) from err
    weights = {tensor.name: tensor for tensor in graph.initializer}
    network_input = _single_input(path, [v for v in graph.input if v.name not in weights])
    _require_float32(path, "input", network_input)
    for output in graph.output:
        _require_float32(path, "output", output)
    axes = network_input.type.tensor_type.shape.dim
    statistics = {
        name
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for name in node.input[3:5]
    }
    return OnnxSummary(
        input_name=network_input.name,
        input_shape=tuple(axis.dim_value if axis.dim_value > 0 else None for axis in axes),
        parameters=sum(
            math.prod(tensor.dims)
            for name, tensor in weights.items()
            if name not in statistics and tensor.data_type == onnx.TensorProto.FLOAT
        ),
    )


def settle_input_shape(
    path: Path, declared: tuple[int | None, ...], asked: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Combine the shape that the file declares with the one the user gave.

    Raises
    ------
    UsageError
        The shapes contradict each other, or dimensions stay unknown.
    """
    if asked is None:
        fixed = tuple(size for size in declared if size is not None)
        if len(fixed) < len(declared):
            raise UsageError(
                f"{path} leaves dimensions of its input open ({_shape_text(declared)}): give "
                "--input-shape, for example --input-shape 1,3,224,224."
            )
        return fixed
    if len(asked) != len(declared) or any(
        size not in {None, given} for size, given in zip(declared, asked, strict=True)
    ):
        raise UsageError(
            f"--input-shape {','.join(map(str, asked))} contradicts {path}, whose input is "
            f"{_shape_text(declared)}. Leave the option out or export the network anew."
        )
    return asked


def open_session(path: Path, threads: int | None = None) -> Any:
    """Return an ONNX Runtime session on the CPU, with `threads` threads if given.

    Raises
    ------
    UsageError
        ONNX Runtime cannot load the file, for instance for want of an operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings concern optimisations
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # its kinds have no common base
        raise UsageError(
            f"{path} cannot be run by ONNX Runtime, the reference ({one_line(err)}). "
            "Export the network with standard operators."
        ) from err


def _single_input(path: Path, values: list[Any]) -> Any:
    if len(values) != 1:
        names = ", ".join(value.name for value in values) or "none"
        raise UsageError(
            f"{path} has {len(values)} inputs ({names}); edgetvm takes networks with one. "
            "Export the network with a single input."
        )
    return values[0]


def _require_float32(path: Path, kind: str, value: Any) -> None:
    import onnx

    element = value.type.tensor_type.elem_type
    if element != onnx.TensorProto.FLOAT:
        found = onnx.TensorProto.DataType.Name(element).lower()
        raise UsageError(
            f"{path}: {kind} {value.name} is {found}; edgetvm takes float32 only. Export the "
            f"network with a float32 {kind}."
        )


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return ",".join("?" if size is None else str(size) for size in shape)
