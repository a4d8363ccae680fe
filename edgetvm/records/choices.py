"""Which of a workload's best schedules was the fastest within a network, beside the records."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgetvm.files import read_json, write_json
from edgetvm.records.line_file import LineFile


class _Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by_workload: dict[str, str] = {}


class ChoiceFile:
    """The digests of chosen schedules by workload key.

    Parameters
    ----------
    records : whose lock is held while the file is written.
    """

    def __init__(self, path: Path, records: LineFile) -> None:
        self.path = path
        self._records = records

    def read(self) -> dict[str, str]:
        """Return all choices, none if there is no file.

        Raises
        ------
        UsageError
            The file is faulty.
        """
        return read_json(self.path, _Choices).by_workload if self.path.exists() else {}

    def update(self, choices: Mapping[str, str]) -> None:
        """Keep `choices` beside those of other workloads; raises as :meth:`read`."""
        with self._records.locked():
            merged = {**self.read(), **choices}
            write_json(self.path, _Choices(by_workload=dict(sorted(merged.items()))))
