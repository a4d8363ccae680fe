"""A network with its reference, ready to export."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import torch
from torch import nn

from edgetvm.manifest import Source
from edgetvm.models.onnx_file import open_session
from edgetvm.models.reference import Float32Array, float32_outputs, forward_errors
from edgetvm.recipe import Precision, Recipe


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode, with one float32 input and one or more float32 outputs.

    Attributes
    ----------
    name : lower snake case; names the bundle's folder.
    recipe : for an ONNX file or a factory one with the default values.
    module : None for an ONNX file; else `onnx_path` is None.
    parameters : number of learnt values.
    """

    name: str
    title: str
    recipe: Recipe
    source: Source
    module: nn.Module | None
    onnx_path: Path | None
    input_name: str
    input_shape: tuple[int, ...]
    parameters: int

    def in_precision(self, precision: Precision) -> Self:
        """Return the same network to be compiled in `precision`; its name says so if it changed."""
        if precision == self.recipe.precision:
            return self
        return replace(
            self,
            name=f"{self.name}_{precision}",
            title=f"{self.title}, {precision}",
            recipe=msgspec.structs.replace(self.recipe, precision=precision, tolerance=None),
        )

    def golden_input(self) -> Float32Array:
        """Return the standard normal input that the recipe's seed defines."""
        generator = np.random.default_rng(self.recipe.seed)
        return generator.standard_normal(self.input_shape, dtype=np.float32)

    def reference_outputs(self, data: Float32Array) -> tuple[Float32Array, ...]:
        """Run the network in the framework that it comes from, on this machine's CPU.

        Raises
        ------
        UsageError
            The network does not run, or returns something else than float32 tensors.
        """
        with forward_errors(self.name, data.shape):
            if self.module is None:
                output: object = self._onnx_inference(data, threads=None)()
            else:
                with torch.no_grad():
                    output = self.module(torch.tensor(data))
        return float32_outputs(self.name, output)

    @property
    def reference_runtime(self) -> str:
        """Name and version of the framework behind :meth:`reference_outputs`."""
        if self.module is not None:
            return f"PyTorch {torch.__version__.partition('+')[0]}"
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"

    def reference_callable(self, data: Float32Array, threads: int) -> Callable[[], None]:
        """Return a function that does one inference of `data`, to be timed.

        Sets PyTorch's number of threads for the whole process.
        """
        if self.module is None:
            return self._onnx_inference(data, threads)
        module, tensor = self.module, torch.tensor(data)
        torch.set_num_threads(threads)

        def infer() -> None:
            with torch.inference_mode():
                module(tensor)

        return infer

    def _onnx_inference(self, data: Float32Array, threads: int | None) -> Callable[[], Any]:
        assert self.onnx_path is not None
        session = open_session(self.onnx_path, threads)
        return lambda: session.run(None, {self.input_name: data})
