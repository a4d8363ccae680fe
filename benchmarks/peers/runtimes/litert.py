"""Google's LiteRT, which runs the network through XNNPACK."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from peers.job import Floats, Job, Loaded, runtime_version

MODEL = "network.tflite"


def convert(job: Job) -> None:
    """Convert from PyTorch, with an NHWC input, which saves LiteRT a transposition."""
    import litert_torch
    import torch

    data, _ = job.golden()
    module = litert_torch.to_channel_last_io(job.network().module, args=[0])
    sample = torch.from_numpy(to_nhwc(data))
    litert_torch.convert(module, (sample,)).export(str(job.folder / MODEL))


def load(job: Job, data: Floats) -> Loaded:
    """Load the interpreter, which applies XNNPACK by default."""
    interpreter = Interpreter(str(job.folder / MODEL), num_threads=job.threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], to_nhwc(data))
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def infer() -> list[np.ndarray]:
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return Loaded(
        infer=infer,
        outputs=lambda arrays: arrays,
        runtime=runtime_version("LiteRT", "ai-edge-litert"),
    )


def to_nhwc(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data.transpose(0, 2, 3, 1))
