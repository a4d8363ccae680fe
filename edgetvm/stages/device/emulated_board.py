"""A board that is not there: an ARM userland under QEMU's user emulation, with our server in it.

It is made once, below the user's cache folder, as any user and without a change to the system:
Debian's packages of Python and its libraries for the board's architecture, unpacked, and the wheels
that a board would install, with the real TVM runtime. The edgetvm in it is the one that starts its
server, so that checkouts may share it. QEMU runs it as one
particular core, so that code for another CPU fails as it would there. PoCL on that core stands for
the board's GPU. It proves function, never speed: whatever is timed on it is marked as emulated.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

import platformdirs

from edgetvm.device_info import EMULATED
from edgetvm.errors import DeviceError, UsageError, did_you_mean
from edgetvm.files import making_folder
from edgetvm.stages.device.loopback import loopback_server
from edgetvm.stages.device.session import Address

USERLAND, VENDORS, PROGRAMS = "userland", "vendors", "bin"
OWN_PACKAGES = "EDGETVM_BOARD_PACKAGES"
"""Environment variable with the folder of packages that go before the board's own."""

PACKAGES = ("python3", "libstdc++6", "pocl-opencl-icd", "ocl-icd-libopencl1")
TOOLS = {"apt-get": "apt", "dpkg-deb": "dpkg"}


@dataclass(frozen=True)
class Emulated:
    """What is emulated, and under which names others know it.

    Attributes
    ----------
    core : QEMU's name of the CPU core.
    debian : Debian's name of the architecture.
    platforms : of wheels that run there, newest first.
    """

    arch: str
    core: str
    debian: str
    platforms: tuple[str, ...]

    @property
    def emulator(self) -> str:
        """QEMU's program."""
        return f"qemu-{self.arch}-static"

    @property
    def folder(self) -> Path:
        """Where the userland is kept."""
        content = " ".join((*PACKAGES, *_requirements()))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return platformdirs.user_cache_path("edgetvm") / "boards" / f"{self.arch}-{digest}"

    @property
    def python(self) -> Path:
        """A program of this machine that runs the board's Python."""
        return self.folder / "python"


ARCHITECTURES = {
    "aarch64": Emulated(
        arch="aarch64",
        core="cortex-a72",
        debian="arm64",
        platforms=(
            *(f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 24, 17)),
            "manylinux2014_aarch64",
        ),
    ),
}


def find_architecture(name: str) -> Emulated:
    """Return the board of an architecture.

    Raises
    ------
    UsageError
        None is emulated: there is no TVM runtime for it.
    """
    if name not in ARCHITECTURES:
        known = did_you_mean(name, ARCHITECTURES)
        raise UsageError(f"No board of the architecture {name!r} is emulated: {known}")
    return ARCHITECTURES[name]


def prepare(board: Emulated, note: Callable[[str], None]) -> None:
    """Make the board's userland, unless it is there.

    Parameters
    ----------
    note : told of each step.

    Raises
    ------
    UsageError
        A program is missing that this needs.
    DeviceError
        A package or wheel cannot be had.
    """
    if board.python.is_file():
        return
    missing = {tool: TOOLS[tool] for tool in TOOLS if shutil.which(tool) is None}
    if shutil.which(board.emulator) is None:
        missing[board.emulator] = "qemu-user-static"
    if missing:
        raise UsageError(
            f"An emulated board needs {', '.join(missing)}: install Debian's packages "
            f"{' '.join(missing.values())}."
        )
    with making_folder(board.folder) as folder:
        root = folder / USERLAND
        note(f"fetching Debian's {board.debian} packages")
        _unpack_packages(board, folder, root)
        note("installing TVM's runtime for it")
        _install_wheels(board, root, folder / "site")
        _set_up_opencl(board, root, folder)
        _write_python(board, root, folder)


@contextmanager
def emulated_server(board: Emulated) -> Iterator[Address]:
    """Run a server on the emulated board while the block lasts; raises `DeviceError`."""
    with (
        board_environment(board) as environment,
        loopback_server(str(board.python), environment) as address,
    ):
        yield address


@contextmanager
def board_environment(board: Emulated) -> Iterator[dict[str, str]]:
    """Yield the environment in which the board's Python has this edgetvm, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="edgetvm-board-") as own:
        (Path(own) / "edgetvm").symlink_to(Path(__file__).parents[2])
        yield os.environ | {
            EMULATED: f"QEMU {board.core}",
            "TVM_USE_RUNTIME_LIB": "1",
            OWN_PACKAGES: own,
        }


def _unpack_packages(board: Emulated, folder: Path, root: Path) -> None:
    """Unpack Python with all that it depends on, from the sources that this machine's apt has."""
    apt = folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    options = [
        f"Dir::State={apt}/state",
        f"Dir::State::status={apt}/status",
        f"Dir::Cache={apt}/cache",
        f"APT::Architecture={board.debian}",
        f"APT::Architectures={board.debian}",
        "APT::Sandbox::User=",
        "Debug::NoLocking=1",
    ]
    command = ["apt-get", "--quiet", "--yes", *(f"-o{option}" for option in options)]
    _run([*command, "update"], "apt cannot list Debian's packages")
    _run(
        [*command, "install", "--download-only", "--no-install-recommends", *PACKAGES],
        f"apt cannot fetch Debian's {board.debian} packages",
    )
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(root)], f"{package.name} is faulty")
    shutil.rmtree(apt)


def _install_wheels(board: Emulated, root: Path, site: Path) -> None:
    """Install what edgetvm needs on a board."""
    platforms = [f"--platform={name}" for name in board.platforms]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", *platforms, f"--python-version={_python(root)}"),
        *("--target", str(site), *_requirements()),
    ]
    _run(command, f"pip cannot install edgetvm's packages for {board.arch}")


def _requirements() -> list[str]:
    return [one for one in requires("edgetvm") or [] if "extra ==" not in one]


def _set_up_opencl(board: Emulated, root: Path, folder: Path) -> None:
    """Have PoCL found below the userland, and linking its kernels with a linker of this machine.

    QEMU looks below the userland for files that are opened, not for those whose presence is asked;
    and a program that PoCL starts is one of this machine's. Kernels need none of the libraries that
    PoCL would link.
    """
    (library,) = root.glob("usr/lib/*/libpocl.so.[0-9]*.*")
    vendors = folder / VENDORS
    vendors.mkdir()
    (vendors / "pocl.icd").write_text(f"{board.folder / library.relative_to(folder)}\n")
    linker = folder / PROGRAMS / "ld"
    linker.parent.mkdir()
    linker.write_text(
        "#!/bin/sh\n"
        "for argument; do\n"
        "  shift\n"
        '  case "$argument" in -lgcc*|-lc|-lm|*crt*.o) ;; *) set -- "$@" "$argument" ;; esac\n'
        "done\n"
        f'exec "{sys.executable}" -m ziglang ld.lld "$@"\n'
    )
    linker.chmod(0o755)


def _write_python(board: Emulated, root: Path, folder: Path) -> None:
    """Write the program that runs the board's Python, under the name by which it starts itself.

    The kernel cannot start ARM programs unless an administrator has told it how. So Python is told
    that this script is what it was started as, and starts the processes of its own with it, too.
    """
    final = board.folder
    interpreter = f"{final}/{USERLAND}/usr/bin/python{_python(root)}"
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'export PYTHONHOME="{final}/{USERLAND}/usr"\n'
        f'export PYTHONPATH="${OWN_PACKAGES}:{final}/site"\n'
        f'export OCL_ICD_VENDORS="{final}/{VENDORS}" PATH="{final}/{PROGRAMS}:$PATH"\n'
        f'exec {board.emulator} -cpu {board.core} -L "{final}/{USERLAND}" '
        f'-0 "{final}/python" "{interpreter}" "$@"\n'
    )
    python.chmod(0o755)


def _python(root: Path) -> str:
    """Return the version of the board's Python, such as 3.11."""
    (interpreter,) = (root / "usr/bin").glob("python3.[0-9]*[0-9]")
    return interpreter.name.removeprefix("python")


def _run(command: list[str], trouble: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(f"{trouble}: {last}")
