"""A report as one HTML file that needs nothing else: no server, no script, no request."""

import re
from collections.abc import Sequence
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edgetvm import __version__
from edgetvm.paper.table import NOTHING, Row
from edgetvm.reporting.document import Plot, Report
from edgetvm.reporting.drawing import to_svg

_NUMBER = re.compile(r"[-+]?\d[\d.,/]*(e[-+]\d+)?( %|%| \w+)?( \(.*\))?")
"""With its unit, and perhaps its interval."""


def to_html(report: Report) -> str:
    """Return the page, with its style sheet and its plots within."""
    environment = Environment(
        loader=PackageLoader("edgetvm.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"numeric": is_numeric, "code": _with_code, "breakable": _breakable}
    numbers = count(1)
    return environment.get_template("page.html").render(
        report=report,
        version=__version__,
        svg=lambda plot: _inline(plot, next(numbers)),
    )


def is_numeric(header: str, rows: Sequence[Row]) -> bool:
    """Whether a column is one of numbers, which stand below each other."""
    cells = (row[header] for row in rows)
    return all(cell == NOTHING or _NUMBER.fullmatch(cell) for cell in cells)


def _inline(plot: Plot, number: int) -> Markup:
    return Markup(to_svg(plot, number))  # noqa: S704 - Matplotlib escapes what it writes


def _with_code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _breakable(name: str) -> Markup:
    """Let a narrow column break a network's name where its parts meet."""
    return Markup("_<wbr>").join(name.split("_"))
