"""The network as an ONNX file, for the runtimes that read one."""

from pathlib import Path

import torch

from edgetvm.files import replacing
from peers.job import Job

INPUT = "input"


def export_onnx(job: Job) -> Path:
    """Export the network, unless another contender's worker has done so, and return the file."""
    path = job.folder.parent / "network.onnx"
    if not path.exists():
        data, _ = job.golden()
        module = job.network().module
        assert module is not None
        with replacing(path) as temporary:
            torch.onnx.export(
                module,
                (torch.from_numpy(data),),
                temporary,
                input_names=[INPUT],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    return path
