"""Files read strictly and written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgetvm.errors import UsageError

StructT = TypeVar("StructT", bound=msgspec.Struct)


def toml_stems(folder: Path) -> list[str]:
    """Return the names of the TOML files in `folder` without their ending, sorted."""
    return sorted(path.name.removesuffix(".toml") for path in folder.glob("*.toml"))


def read_toml(path: Path, schema: type[StructT]) -> StructT:
    """Read a TOML file into `schema`.

    Raises
    ------
    UsageError
        The file is missing, is not TOML, or has an unknown, missing or ill-typed key.
    """
    return _decode(path, schema, msgspec.toml.decode)


def read_json(path: Path, schema: type[StructT]) -> StructT:
    """Read a JSON file into `schema`; raises as :func:`read_toml`."""
    return _decode(path, schema, msgspec.json.decode)


def write_json(path: Path, value: msgspec.Struct) -> None:
    """Write `value` as indented JSON, atomically."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    with replacing(path) as temporary:
        temporary.write_bytes(text)


def write_dated(folder: Path, moment: str, value: msgspec.Struct) -> Path:
    """Write `value` as JSON to a file of its own in `folder`, and return the file.

    Parameters
    ----------
    moment : UTC, ISO 8601; the file is named after it, with a number if there is one already.
    """
    stamp = moment.replace(":", "").replace("-", "")
    path = folder / f"{stamp}.json"
    serial = 1
    while path.exists():
        serial += 1
        path = folder / f"{stamp}_{serial}.json"
    write_json(path, value)
    return path


def read_newest(folder: Path, schema: type[StructT], *, what: str, remedy: str) -> StructT | None:
    """Read the newest of the files that :func:`write_dated` wrote; None if there is none.

    Raises
    ------
    UsageError
        It is of another version of edgetvm, and no `what` of this one.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        return None
    try:
        return read_json(paths[-1], schema)
    except UsageError as err:
        raise UsageError(
            f"{paths[-1]} is no {what} of this edgetvm: remove it, and {remedy}. ({err})"
        ) from err


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    Whatever happens inside, a reader sees the old file or the new one, never a part. Until then
    only this user can read it; `mode` says who can afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well, else is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _decode(path: Path, schema: type[StructT], decode: Any) -> StructT:
    try:
        content = path.read_bytes()
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    try:
        value: StructT = decode(content, type=schema)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(schema))
        raise UsageError(f"{path}: {err}. Keys of this file: {known}.") from err
    return value
