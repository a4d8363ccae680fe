"""PyTorch's ExecuTorch, with all that XNNPACK takes handed to it."""

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

from peers.job import Floats, Job, Loaded, runtime_version

PROGRAM = "network.pte"


def convert(job: Job) -> None:
    """Export, partition for XNNPACK and lower."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    data, _ = job.golden()
    exported = torch.export.export(job.network().module, (torch.from_numpy(data),))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    (job.folder / PROGRAM).write_bytes(lowered.to_executorch().buffer)


def load(job: Job, data: Floats) -> Loaded:
    """Load the program, with a pool of as many threads as all others have."""
    # The only way in Python to size the pool; safe before a program is loaded.
    portable_lib._unsafe_reset_threadpool(job.threads)
    in_use = portable_lib._threadpool_get_thread_count()
    if in_use != job.threads:
        raise RuntimeError(f"ExecuTorch runs {in_use} threads where {job.threads} were asked for")
    method = Runtime.get().load_program(job.folder / PROGRAM).load_method("forward")
    inputs = (torch.from_numpy(data),)
    return Loaded(
        infer=lambda: method.execute(inputs),
        outputs=lambda tensors: [tensor.numpy() for tensor in tensors],
        runtime=runtime_version("ExecuTorch", "executorch"),
    )
