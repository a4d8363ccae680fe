"""What a report consists of, whatever it is written as: sections of notes, tables and plots."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from edgetvm.paper.table import NOTHING, Row

if TYPE_CHECKING:  # a report without plots does without it
    from matplotlib.figure import Figure


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under a title.

    Attributes
    ----------
    columns : those that a page and a terminal have room for; empty for all.
    folded : whether a page shows it when asked only.
    """

    title: str
    rows: list[Row]
    columns: tuple[str, ...] = ()
    folded: bool = False

    @property
    def headers(self) -> list[str]:
        """The columns of a page and a terminal that say anything."""
        headers = self.columns or tuple(self.rows[0] if self.rows else ())
        return [header for header in headers if any(row[header] != NOTHING for row in self.rows)]

    @property
    def shown(self) -> list[Row]:
        """The rows of a page and a terminal: of those that look the same there, one."""
        headers = self.headers
        return list({tuple(row[name] for name in headers): row for row in self.rows}.values())


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A plot that is drawn when a page needs it.

    Attributes
    ----------
    description : what it shows, for those who do not see it.
    wide : whether it needs a page's whole width.
    """

    title: str
    description: str
    draw: "Callable[[], Figure]"
    wide: bool = False


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report.

    Attributes
    ----------
    notes : paragraphs; what stands between backticks is code.
    commands : lines for a shell.
    """

    title: str
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    sections: "tuple[Section, ...]" = ()

    @property
    def anchor(self) -> str:
        """The title as a link names it."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")

    def as_data(self) -> dict[str, Any]:
        """Return all but the plots, which show what the tables hold."""
        return {
            "title": self.title,
            "notes": self.notes,
            "commands": self.commands,
            "tables": [{"title": table.title, "rows": table.rows} for table in self.tables],
            "sections": [section.as_data() for section in self.sections],
        }


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole; `made_at` is UTC, ISO 8601."""

    title: str
    made_at: str
    sections: tuple[Section, ...]

    def walk(self) -> Iterator[tuple[int, Section]]:
        """Yield every section, each before its own, with its depth: 1 for the outermost."""
        return _walk(self.sections, 1)


def _walk(sections: tuple[Section, ...], depth: int) -> Iterator[tuple[int, Section]]:
    for section in sections:
        yield depth, section
        yield from _walk(section.sections, depth + 1)
