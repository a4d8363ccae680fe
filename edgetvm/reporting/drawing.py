"""Plots as inline SVG: drawn by Matplotlib, coloured and set by the page's style sheet.

Matplotlib draws in placeholder colours, which become CSS variables, so that one drawing serves
light and dark. Text stays text.
"""

import io
import re
from collections.abc import Iterable
from typing import Any, Literal
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from edgetvm.reporting.document import Plot

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{number:02x}" for number in range(1, 9))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
"""Beside the colours, for those who do not tell them apart, and for more series than colours."""

_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", PAPER: "--paper"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 1.2,
    "legend.fontsize": 11,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.3,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "xtick.bottom": False,
    "xtick.labelcolor": MUTED,
    "ytick.left": False,
    "ytick.labelcolor": MUTED,
}
_SAID_BY_THE_SHEET = re.compile(r"font-family: [^;]*;? ?|; stroke-line(join|cap): \w+")
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG)


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many CSS pixels, and its axes."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def set_log_axis(axes: Axes, axis: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic, from `low` to `high`, with round numbers written in full."""
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)
    if high / low < 4:
        ticks = list(MaxNLocator(5).tick_values(low, high))
    else:
        steps = (1, 2, 5) if high / low < 100 else (1, 3) if high / low < 1000 else (1,)
        ticks = [step * 10.0**power for power in range(-6, 7) for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    ticked = axes.xaxis if axis == "x" else axes.yaxis
    ticked.set_major_locator(FixedLocator(inside))
    ticked.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in inside]))
    ticked.set_minor_locator(NullLocator())


def separate_lines(
    segments: Iterable[tuple[tuple[float, float], tuple[float, float]]],
) -> tuple[list[float], list[float]]:
    """Return coordinates of many lines as of one with gaps, which is one short path in SVG."""
    gap = (float("nan"), float("nan"))
    places = [place for start, end in segments for place in (start, end, gap)]
    return [x for x, _ in places], [y for _, y in places]


def to_svg(plot: Plot, number: int) -> str:
    """Draw `plot` as an element for a page, in which it is the plot of that `number`."""
    text = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({**_STYLE, "svg.hashsalt": str(number)}):
        plot.draw().savefig(text, format="svg", metadata=nothing)
    root = ElementTree.fromstring(text.getvalue())  # noqa: S314 - Matplotlib wrote it
    for styles in root.iter(f"{{{_SVG}}}defs"):
        for style in styles.findall(f"{{{_SVG}}}style"):
            styles.remove(style)
    _name_for_readers(root, plot, number)
    named = {link[1:] for one in root.iter() if (link := one.get(_LINK))}
    for element in root.iter():
        _hand_to_the_page(element, named)
    for element in root.iter():
        _shorten(element)
    svg = ElementTree.tostring(root, encoding="unicode")
    # Tenths of a pixel are what a screen shows; millionths make the page twice as long.
    shorter = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.1f}", svg)
    return re.sub(" {2,}", " ", shorter)


def _name_for_readers(root: ElementTree.Element, plot: Plot, number: int) -> None:
    title, description = f"plot-{number}-title", f"plot-{number}-description"
    for place, (tag, name, text) in enumerate(
        (("title", title, plot.title), ("desc", description, plot.description))
    ):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": name})
        element.text = text
        root.insert(place, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{title} {description}")
    root.set("style", f"max-width: {root.attrib.pop('width').removesuffix('pt')}px")
    del root.attrib["height"]


def _hand_to_the_page(element: ElementTree.Element, named: set[str]) -> None:
    """Replace placeholder colours, and drop what every plot has the same of."""
    for attribute, value in element.items():
        if "#" in value and attribute != _LINK:
            element.set(attribute, re.sub(r"#[0-9a-f]{6}", _variable, value))
    if style := element.get("style"):
        element.set("style", _SAID_BY_THE_SHEET.sub("", style))
    if target := element.attrib.pop(_LINK, None):
        element.set("href", target)
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    name = element.get("id", "")
    if re.fullmatch(r"[A-Za-z][\w.]*_\d+", name) and name not in named:
        del element.attrib["id"]


def _shorten(element: ElementTree.Element) -> None:
    """Drop blanks, and say once what all markers of a series look like."""
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None
    styles = {child.get("style") if child.tag == f"{{{_SVG}}}use" else None for child in element}
    if len(styles) == 1 and (style := styles.pop()):
        element.set("style", style)
        for child in element:
            del child.attrib["style"]


def _variable(colour: re.Match[str]) -> str:
    return f"var({_VARIABLES[colour[0]]})"
