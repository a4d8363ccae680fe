"""The definitions of a target's workloads: ``workloads.jsonl``, one line a workload."""

import base64
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec

from edgetvm.records.line_file import LineFile, is_decodable


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a record's workload key stands for.

    Attributes
    ----------
    key : the workload key in TVM's records.
    description : the task's name, such as ``conv2d 3x3/2 3->112x112x32+add+clip``.
    flop : floating-point operations of one run; not positive where TVM cannot count them.
    definition : the computation's input and output tensors as TVM writes them, packed by zlib
        into an eighth and coded in base64.
    """

    key: str
    description: str
    flop: float
    definition: str

    @classmethod
    def define(cls, key: str, description: str, flop: float, tensors: str) -> "Workload":
        """Make a workload of its tensors as ``tvm.ir.save_json`` writes them."""
        compact = msgspec.json.format(tensors.encode(), indent=-1)
        packed = base64.b64encode(zlib.compress(compact, 9)).decode()
        return cls(key=key, description=description, flop=flop, definition=packed)

    @property
    def tensors(self) -> str:
        """The tensors for ``tvm.ir.load_json``; ``ValueError`` or ``zlib.error`` if spoilt."""
        return zlib.decompress(base64.b64decode(self.definition, validate=True)).decode()


_DECODER = msgspec.json.Decoder(Workload)


class WorkloadFile:
    """The definitions of the target whose records are in `folder`.

    Parameters
    ----------
    remedy : what to do about an unreadable line, if that is not the usual.
    """

    def __init__(self, folder: Path, remedy: str = "") -> None:
        path = folder / "workloads.jsonl"
        is_workload = partial(is_decodable, _DECODER)
        self._lines = LineFile(path, is_workload, "workload definition", remedy)
        self.path = self._lines.path

    def reject_bad_lines(self) -> int:
        """Move every line that is no definition to ``.rejected``; return how many."""
        return self._lines.reject_bad_lines()

    def open(self, *, drop_bad: bool = False) -> dict[str, Workload]:
        """Mend what an interrupted write left and return the workloads by key.

        Raises
        ------
        RecordError
            As :meth:`read`, unless `drop_bad` moves such lines to ``.rejected``.
        """
        self._lines.mend()
        if drop_bad:
            self.reject_bad_lines()
        return self.read()

    def read(self) -> dict[str, Workload]:
        """Return the workloads by key.

        Raises
        ------
        RecordError
            A line is no definition.
        """
        workloads = map(_DECODER.decode, self._lines.read())
        return {workload.key: workload for workload in workloads}

    def add(self, workloads: Iterable[Workload]) -> int:
        """Append those that are not there yet, on disk before this returns; return how many."""
        known = self.read()
        new = {workload.key: workload for workload in workloads if workload.key not in known}
        if new:
            self._lines.append([msgspec.json.encode(w).decode() for w in new.values()])
        return len(new)
