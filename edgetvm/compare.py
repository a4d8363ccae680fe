"""``python -m edgetvm.compare``: the newest run of every bundle beside the papers' figures."""

import click
import msgspec

from edgetvm import __version__
from edgetvm.cli import results, run_command
from edgetvm.comparison_display import print_comparison
from edgetvm.errors import UsageError, did_you_mean
from edgetvm.manifest import list_bundles
from edgetvm.measurement import latest_run
from edgetvm.paper.comparison import Comparison
from edgetvm.paper.comparison import compare as compare_runs
from edgetvm.paper.figures import load_papers
from edgetvm.paper.table import figure_rows, latency_rows, ratio_rows, to_csv, to_markdown
from edgetvm.paths import find_data_folders


@click.command()
@click.option("--target", help="Only the bundles of this target.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
)
@click.version_option(__version__)
def compare(target: str | None, form: str) -> None:
    """Show the newest run of every deployed bundle beside the papers' figures.

    \b
    Examples:
      python -m edgetvm.compare
      python -m edgetvm.compare --target rasp4b --format markdown
    """
    comparison = compare_latest(target)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(comparison), indent=2))
    elif form == "text":
        print_comparison(results, comparison)
    else:
        write = to_markdown if form == "markdown" else to_csv
        tables = (rows(comparison) for rows in (latency_rows, figure_rows, ratio_rows))
        click.echo("\n".join(write(rows) for rows in tables if rows), nl=False)


def compare_latest(target: str | None) -> Comparison:
    """Compare the newest run of each bundle of `target`, of every target if it is None.

    Raises
    ------
    UsageError
        No bundle was deployed yet.
    """
    folders = find_data_folders()
    targets = sorted(path.name for path in folders.bundles.glob("*") if path.is_dir())
    if target is not None and target not in targets:
        raise UsageError(
            f"Nothing was built for the target {target!r}: {did_you_mean(target, targets)}"
        )
    chosen = targets if target is None else [target]
    bundles = [bundle for name in chosen for bundle in list_bundles(folders.bundles / name)]
    runs = [run for bundle in bundles if (run := latest_run(bundle)) is not None]
    if not runs:
        raise UsageError("No bundle was deployed yet. Do it now: python -m edgetvm.deploy")
    return compare_runs(runs, load_papers())


if __name__ == "__main__":
    run_command(compare)
