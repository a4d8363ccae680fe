"""ONNX Runtime on its own CPU kernels."""

import onnxruntime

from peers.job import Floats, Job, Loaded, runtime_version
from peers.onnx_export import INPUT, export_onnx


def convert(job: Job) -> None:
    """Export to ONNX; the session optimises when it loads."""
    export_onnx(job)


def load(job: Job, data: Floats) -> Loaded:
    """Open a session with all graph optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(export_onnx(job)), options, providers=["CPUExecutionProvider"]
    )
    feeds = {INPUT: data}
    return Loaded(
        infer=lambda: session.run(None, feeds),
        outputs=lambda outputs: outputs,
        runtime=runtime_version("ONNX Runtime", "onnxruntime"),
    )
