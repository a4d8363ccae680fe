"""A contender's process: ``python -m peers.worker convert|run RUNTIME JOB``.

`convert` answers once. `run` loads and checks, then answers one request a line with a sample.
"""

import ctypes
import gc
import importlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from edgetvm.errors import one_line
from peers.messages import Converted, Failed, Loaded, Reply, Sample, Sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import job

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do the step and send its replies; a failure is a reply too."""
    step, runtime, text = sys.argv[1:]
    # A stopped process does not see its parent die; the kernel does.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Libraries print to standard output, which is ours to answer on.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        run(step, runtime, text, replies)
    except Exception as err:
        send(replies, Failed(f"{type(err).__name__}: {one_line(err)}"))
        raise


def run(step: str, runtime: str, text: str, replies: BinaryIO) -> None:
    if step == "run":
        # Before NumPy, whose own threads would be free otherwise.
        os.sched_setaffinity(0, msgspec.json.decode(text)["cores"])
    from peers.job import Job

    job = Job.from_json(text)
    module = importlib.import_module(f"peers.runtimes.{runtime}")
    if step == "convert":
        module.convert(job)
        send(replies, Converted())
        return
    data, references = job.golden()  # `data` stays, since some runtimes read it where it is
    loaded = module.load(job, data)
    send(replies, Loaded(loaded.runtime, check(loaded, references), loaded.detail))
    for line in sys.stdin.buffer:
        number = msgspec.json.decode(line, type=Sample).number
        send(replies, Sampled(sample_s(loaded, number)))


def check(loaded: "job.Loaded", references: "Sequence[job.Floats]") -> float:
    """Return the largest relative error of the outputs.

    Of the second inference, so that a runtime that spoils its input is found out.
    """
    from edgetvm.measurement import relative_error

    loaded.infer()
    outputs = loaded.outputs(loaded.infer())
    shapes, expected = ([one.shape for one in some] for some in (outputs, references))
    if shapes != expected:
        raise ValueError(f"its outputs have the shapes {shapes}, the reference's {expected}")
    return max(map(relative_error, outputs, references))


def sample_s(loaded: "job.Loaded", number: int) -> float:
    """Return the seconds of one inference, as the mean of `number`."""
    infer = loaded.infer
    infer()  # wakes the threads and warms the caches that another contender had
    gc.disable()
    started_s = time.perf_counter()
    for _ in range(number):
        infer()
    elapsed_s = time.perf_counter() - started_s
    gc.enable()
    return elapsed_s / number


def send(replies: BinaryIO, reply: Reply) -> None:
    replies.write(msgspec.json.encode(reply) + b"\n")
    replies.flush()


if __name__ == "__main__":
    main()
