"""Linking without an installed toolchain: zig's clang and lld, which come as a Python package."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from edgetvm.errors import CompileError
from edgetvm.manifest import LibraryFile, sha256_of

_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_ARM": "armv7l"}

OLDEST_GLIBC = "2.28"
"""Oldest glibc that libraries built for this machine ask for; that of the TVM wheels."""


def own_link_triple() -> str:
    """Return the linker's target for libraries that this machine is to run."""
    return f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}"


def link_library(objects: list[Path], output: Path, link_triple: str) -> None:
    """Link `objects` into the shared library `output`, with libm and libc of `link_triple`.

    Raises
    ------
    CompileError
        The linker failed; its first message is quoted.
    """
    run_zig(["cc", "-target", link_triple, "-shared", "-fPIC", "-lm"], objects, output)


def link_candidate(objects: list[Path], output: Path) -> None:
    """Link a tuning candidate for the architecture of `objects`: lld alone, in milliseconds.

    libm and libc are left open; the server that loads the candidate has both. Raises
    `CompileError` as :func:`link_library`.
    """
    run_zig(["ld.lld", "-shared"], objects, output)


def run_zig(command: list[str], objects: list[Path], output: Path) -> None:
    """Run one of zig's programs on `objects`; raises `CompileError`."""
    import ziglang

    zig = Path(ziglang.__file__).with_name("zig")
    arguments = [str(zig), *command, "-o", str(output), *map(str, objects)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise CompileError(f"Linking {output.name} failed: {reason}")


def linker_version() -> str:
    """Return the linker's name and version."""
    return f"zig {version('ziglang')}"


def describe_library(path: Path) -> LibraryFile:
    """Read what a shared library needs of a device from its ELF headers."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    with path.open("rb") as file:
        elf = ELFFile(file)
        machine = elf.header["e_machine"]
        versions = [
            tuple(int(part) for part in auxiliary.name.removeprefix("GLIBC_").split("."))
            for section in elf.iter_sections()
            if isinstance(section, GNUVerNeedSection)
            for _, auxiliaries in section.iter_versions()
            for auxiliary in auxiliaries
            if auxiliary.name.startswith("GLIBC_")
        ]
        dynamic = elf.get_section_by_name(".dynamic")
        needs = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")] if dynamic else []
        pointer_bits = int(elf.elfclass)
    return LibraryFile(
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        arch=_MACHINES.get(machine, machine),
        pointer_bits=pointer_bits,
        glibc=".".join(map(str, max(versions))) if versions else "",
        needs=tuple(needs),
    )
