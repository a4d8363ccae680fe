"""PyTorch as it comes, and the ground that torch.compile builds on."""

from collections.abc import Callable
from typing import Any

import torch

from peers.job import Floats, Job, Loaded, runtime_version


def convert(job: Job) -> None:
    """Do nothing: the module is made when it is loaded."""


def load(job: Job, data: Floats) -> Loaded:
    """Run the module itself."""
    return load_module(job, data, lambda module: module)


def load_module(
    job: Job, data: Floats, prepare: Callable[[torch.nn.Module], Callable[..., Any]]
) -> Loaded:
    """Make the network's module and run what `prepare` makes of it."""
    torch.set_num_threads(job.threads)
    module = job.network().module
    assert module is not None
    prepared = prepare(module)
    tensor = torch.from_numpy(data)

    def infer() -> Any:
        with torch.inference_mode():
            return prepared(tensor)

    def outputs(output: Any) -> list[Any]:
        tensors = output if isinstance(output, tuple | list) else [output]
        return [tensor.numpy() for tensor in tensors]

    return Loaded(infer=infer, outputs=outputs, runtime=runtime_version("PyTorch", "torch"))
