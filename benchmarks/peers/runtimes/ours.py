"""Our bundle, run by TVM's graph executor in this process."""

from typing import Any

import edgetvm.stages  # noqa: F401 - sets the environment before TVM loads
from edgetvm import __version__
from edgetvm.manifest import TUNED_LIBRARY, read_manifest
from peers.job import Floats, Job, Loaded


def convert(job: Job) -> None:
    """Do nothing: the bundle is built before."""


def load(job: Job, data: Floats) -> Loaded:
    """Load the tuned library."""
    import tvm
    from tvm.contrib import graph_executor

    from edgetvm.stages.device.session_process import set_threads

    manifest = read_manifest(job.bundle)
    set_threads(job.threads)
    library = tvm.runtime.load_module(str(job.bundle / TUNED_LIBRARY))
    executor = graph_executor.GraphModule(library["default"](tvm.cpu()))
    executor.set_input(manifest.input_name, data)
    count = executor.get_num_outputs()

    def infer() -> list[Any]:
        executor.run()
        return [executor.get_output(index) for index in range(count)]

    return Loaded(
        infer=infer,
        outputs=lambda outputs: [output.numpy() for output in outputs],
        runtime=f"edgetvm {__version__} with TVM {tvm.__version__}",
        detail=f"{manifest.tuned_tasks} of {len(manifest.tasks)} tasks tuned",
    )
