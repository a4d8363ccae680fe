"""What a worker is given, and what its runtime makes of it."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgetvm.golden import GOLDEN, read_golden

if TYPE_CHECKING:
    from edgetvm.models.network import Network

RECIPES = Path(__file__).parents[2] / "compile"

Floats = npt.NDArray[np.float32]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One model for one contender.

    Attributes
    ----------
    cores : logical CPUs that the worker keeps to, as many as `threads`.
    bundle : our bundle of the model, whose golden data is everybody's input and reference.
    folder : the contender's own; what its siblings share lies in the parent.
    """

    model: str
    threads: int
    cores: tuple[int, ...]
    bundle: Path
    folder: Path

    def to_json(self) -> str:
        """Write it as a worker takes it on its command line."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Read what `to_json` wrote."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))

    def golden(self) -> tuple[Floats, tuple[Floats, ...]]:
        """Return the input and the reference's outputs."""
        return read_golden(self.bundle / GOLDEN)

    def network(self) -> "Network":
        """Make the network again; that its weights are the same, its output shows."""
        from edgetvm.models.resolve import resolve_network

        return resolve_network(self.model, RECIPES)


@dataclass(frozen=True)
class Loaded:
    """A network ready to run, its input set.

    Attributes
    ----------
    infer : does one inference and returns what the runtime's interface does.
    outputs : the outputs as arrays, out of what `infer` returned.
    runtime : name and version of what runs it.
    detail : what else is to be known of this model in it.
    """

    infer: Callable[[], Any]
    outputs: Callable[[Any], Sequence[npt.NDArray[Any]]]
    runtime: str
    detail: str = ""


def runtime_version(title: str, distribution: str) -> str:
    """Name a runtime with the version of the package that it came in."""
    return f"{title} {metadata.version(distribution)}"


def run_converter(program: str, arguments: Sequence[str], product: Path) -> None:
    """Run a converter that its package installed beside Python, and make sure of its product.

    Raises
    ------
    RuntimeError
        It failed; the message is the last line of its output.
    """
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(
        command,
        cwd=product.parent,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(done.stdout, file=sys.stderr)
    if done.returncode or not product.is_file():
        said = done.stdout.strip().rpartition("\n")[2]
        raise RuntimeError(f"{program} ended with {done.returncode}: {said}")
