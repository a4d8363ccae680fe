"""``python -m edgetvm.report``: all that was measured, on one page."""

import os
from pathlib import Path

import click

from edgetvm import __version__
from edgetvm.bundle_choice import target_as_built
from edgetvm.cli import TargetName, notes, require_host_packages, results, run_command
from edgetvm.errors import UsageError
from edgetvm.files import replacing
from edgetvm.paper.figures import load_papers
from edgetvm.paper.gathering import gather
from edgetvm.paths import find_data_folders
from edgetvm.reporting.document import Report
from edgetvm.reporting.formats import as_csv, as_json, as_markdown, as_text
from edgetvm.reporting.material import gather_material


@click.command()
@click.option("--target", type=TargetName(), help="Only the bundles of this target.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Without it report.html; the other formats go to standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "text", "markdown", "csv", "json"]),
    default="html",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.version_option(__version__)
def report(target: str | None, output: Path | None, form: str) -> None:
    """Put all that was measured and published on one page.

    The page is one file that needs no server and asks for nothing from elsewhere. The other formats
    have the same tables.

    \b
    Examples:
      python -m edgetvm.report
      python -m edgetvm.report --target rasp4b --format markdown --output rasp4b.md
    """
    require_host_packages()
    from edgetvm.reporting.sections import make_report  # loads Matplotlib, which a board lacks

    if output is None and form == "html":
        output = Path("report.html")
    if output is not None:
        _require_place(output)
    folders = find_data_folders()
    with notes.status("putting the report together"):
        material = gather_material(
            gather(folders, target and target_as_built(target)), load_papers(), folders
        )
        text = _written(make_report(material), form)
    if output is None:
        click.echo(text, nl=False)
        return
    with replacing(output) as temporary:
        temporary.write_text(text)
    notes.print(f"report: {output}")


def _require_place(output: Path) -> None:
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{output} cannot be written: there is no folder {folder}. Make it first.")
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file with --output.")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} cannot be written to: name another place with --output.")


def _written(report: Report, form: str) -> str:
    if form == "html":
        from edgetvm.reporting.page import to_html

        return to_html(report)
    if form == "text":
        return as_text(report, results.width)
    return {"markdown": as_markdown, "csv": as_csv, "json": as_json}[form](report)


if __name__ == "__main__":
    run_command(report)
