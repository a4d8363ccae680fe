"""Alibaba's MNN, through its module interface."""

import MNN
import numpy as np

from peers.job import Floats, Job, Loaded, run_converter, runtime_version
from peers.onnx_export import INPUT, export_onnx

MODEL = "network.mnn"


def convert(job: Job) -> None:
    """Export to ONNX, which MNN's converter takes and optimises."""
    arguments = ["-f", "ONNX", "--modelFile", str(export_onnx(job)), "--MNNModel", MODEL]
    run_converter("mnnconvert", [*arguments, "--bizCode", "edgetvm"], job.folder / MODEL)


def load(job: Job, data: Floats) -> Loaded:
    """Load for the CPU; precision `high` is fp32."""
    config = {"backend": "CPU", "precision": "high", "numThread": job.threads}
    manager = MNN.nn.create_runtime_manager((config,))
    module = MNN.nn.load_module_from_file(
        str(job.folder / MODEL),
        [INPUT],
        [],
        runtime_manager=manager,
        rearrange=True,
        shape_mutable=False,
    )
    network_input = MNN.expr.const(data, list(data.shape), MNN.expr.data_format.NCHW)
    return Loaded(
        infer=lambda: module.onForward([network_input]),
        outputs=lambda variables: [np.array(variable.read()) for variable in variables],
        runtime=runtime_version("MNN", "mnn"),
    )
