"""torch.compile with Inductor, which needs a C++ compiler."""

import os

import torch
from torch._inductor import config

from peers.job import Floats, Job, Loaded
from peers.runtimes.torch_eager import load_module


def convert(job: Job) -> None:
    """Do nothing: Inductor compiles at the first inference."""


def load(job: Job, data: Floats) -> Loaded:
    """Compile with frozen weights and a wrapper in C++, which saves Python between kernels."""
    # max-autotune is left out: on a CPU it tries GEMM templates for the linear layers alone.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(job.folder / "inductor")
    config.freezing = True
    config.cpp_wrapper = True
    return load_module(job, data, lambda module: torch.compile(module, fullgraph=True))
