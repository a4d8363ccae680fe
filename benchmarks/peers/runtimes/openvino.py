"""OpenVINO's CPU plugin."""

import numpy as np
import openvino

from peers.job import Floats, Job, Loaded, runtime_version
from peers.onnx_export import export_onnx


def convert(job: Job) -> None:
    """Export to ONNX, which OpenVINO reads."""
    export_onnx(job)


def load(job: Job, data: Floats) -> Loaded:
    """Compile for the least latency; the request works on the input's own memory."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
    }
    compiled = openvino.Core().compile_model(export_onnx(job), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(data, shared_memory=True))
    outputs = range(len(compiled.outputs))
    return Loaded(
        infer=lambda: request.infer(share_outputs=True),
        outputs=lambda _: [np.array(request.get_output_tensor(index).data) for index in outputs],
        runtime=runtime_version("OpenVINO", "openvino"),
    )
