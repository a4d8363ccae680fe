"""Tencent's ncnn, converted by pnnx."""

from typing import Any

import ncnn
import numpy as np

from peers.job import Floats, Job, Loaded, run_converter, runtime_version

NARROW_FLOATS = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_packed",
    "use_bf16_storage",
)


def convert(job: Job) -> None:
    """Trace to TorchScript, which pnnx converts with fp32 weights."""
    import torch

    data, _ = job.golden()
    traced = job.folder / "network.pt"
    torch.jit.trace(job.network().module, torch.from_numpy(data)).save(str(traced))
    shape = ",".join(map(str, data.shape))
    run_converter(
        "pnnx",
        [traced.name, f"inputshape=[{shape}]", "fp16=0"],
        job.folder / "network.ncnn.bin",
    )


def load(job: Job, data: Floats) -> Loaded:
    """Load for fp32; packed layouts, Winograd, sgemm and light mode are on by default."""
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for option in NARROW_FLOATS:
        setattr(net.opt, option, False)
    for load_file, ending in ((net.load_param, "param"), (net.load_model, "bin")):
        if load_file(str(job.folder / f"network.ncnn.{ending}")):
            raise RuntimeError(f"ncnn does not load the .{ending} file that pnnx wrote")
    network_input = ncnn.Mat(data[0])
    (input_name,), output_names = net.input_names(), net.output_names()

    def infer() -> list[Any]:
        extractor = net.create_extractor()
        extractor.input(input_name, network_input)
        return [extractor.extract(name)[1] for name in output_names]

    return Loaded(
        infer=infer,
        outputs=lambda mats: [np.array(mat)[np.newaxis] for mat in mats],
        runtime=runtime_version("ncnn", "ncnn"),
    )
