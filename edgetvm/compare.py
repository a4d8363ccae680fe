"""``python -m edgetvm.compare``: the newest runs beside the papers' figures and claims."""

import click
import msgspec

from edgetvm import __version__
from edgetvm.bundle_choice import target_as_built
from edgetvm.cli import TargetName, results, run_command
from edgetvm.comparison_display import print_comparison
from edgetvm.paper.gathering import gather
from edgetvm.paper.table import (
    board_rows,
    claim_rows,
    figure_rows,
    latency_rows,
    modelled_rows,
    ratio_rows,
    to_csv,
    to_markdown,
)
from edgetvm.paths import find_data_folders


@click.command(short_help="Show the newest runs beside what the papers say and claim.")
@click.option("--target", type=TargetName(), help="Only the bundles of this target.")
@click.option("--paper", metavar="ID", help="Only the figures and claims of this arXiv number.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.version_option(__version__)
def compare(target: str | None, paper: str | None, form: str) -> None:
    """Show the newest runs of every deployed bundle beside what the papers say and claim.

    Of each claim: the published ratio, ours, whether it is reproduced, and why not. Latencies that
    others published of boards stand beside ours where threads and precision are the same.

    \b
    Examples:
      python -m edgetvm.compare
      python -m edgetvm.compare --target rasp4b --paper 1801.04381 --format markdown
    """
    comparison = gather(find_data_folders(), target and target_as_built(target), paper)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(comparison), indent=2))
    elif form == "text":
        print_comparison(results, comparison)
    else:
        write = to_markdown if form == "markdown" else to_csv
        every = (latency_rows, figure_rows, ratio_rows, claim_rows, board_rows, modelled_rows)
        tables = (rows(comparison) for rows in every)
        click.echo("\n".join(write(rows) for rows in tables if rows), nl=False)


if __name__ == "__main__":
    run_command(compare)
