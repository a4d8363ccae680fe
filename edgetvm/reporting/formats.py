"""A report as text, Markdown, CSV or JSON: the tables that its page has, in full."""

import io

import msgspec
from rich.console import Console

from edgetvm.comparison_display import print_table
from edgetvm.paper.table import to_csv, to_markdown
from edgetvm.reporting.document import Report


def as_json(report: Report) -> str:
    """Return sections, notes and tables as indented JSON."""
    data = {
        "title": report.title,
        "made_at": report.made_at,
        "sections": [section.as_data() for section in report.sections],
    }
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"


def as_markdown(report: Report) -> str:
    """Return all but the plots as Markdown."""
    parts = [f"# {report.title}\n"]
    for depth, section in report.walk():
        parts.append(f"{'#' * (depth + 1)} {section.title}\n")
        parts += [f"{note}\n" for note in section.notes]
        if section.commands:
            parts.append("```\n" + "".join(f"{line}\n" for line in section.commands) + "```\n")
        for table in section.tables:
            parts += [f"**{table.title}**\n", to_markdown(table.rows)] if table.rows else []
    return "\n".join(parts)


def as_csv(report: Report) -> str:
    """Return all tables as CSV, each below a line with its title, an empty line between."""
    tables = [table for _, section in report.walk() for table in section.tables if table.rows]
    return "\n".join(f"# {table.title}\n{to_csv(table.rows)}" for table in tables)


def as_text(report: Report, width: int) -> str:
    """Return all but the plots for a terminal of so many columns, in the columns that fit one."""
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False)
    console.print(f"{report.title}, {report.made_at}\n")
    for _, section in report.walk():
        console.rule(section.title, align="left")
        for line in (*section.notes, *section.commands):
            console.print(line, markup=False)
        console.print()
        for table in section.tables:
            print_table(console, table.title, table.shown, table.headers)
    return text.getvalue()
