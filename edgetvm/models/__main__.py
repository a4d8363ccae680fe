"""``python -m edgetvm.models``: the models that can be compiled, and their sizes."""

import click
from rich.progress import track

from edgetvm import __version__
from edgetvm.cli import (
    ModelName,
    notes,
    print_json,
    require_host_packages,
    results,
    run_command,
)
from edgetvm.comparison_display import print_table
from edgetvm.errors import UsageError, did_you_mean
from edgetvm.paper.figures import load_papers
from edgetvm.paper.table import to_csv, to_markdown
from edgetvm.paths import find_data_folders
from edgetvm.recipe import load_recipes


@click.command(short_help="List the models with their sizes, ours and published.")
@click.argument("prefixes", metavar="[MODEL]...", nargs=-1, type=ModelName())
@click.option("--names", is_flag=True, help="Only the names, without counting anything.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.version_option(__version__)
def models(prefixes: tuple[str, ...], names: bool, form: str) -> None:
    """List the models whose names begin with MODEL, or all: input, size, and what was published.

    Parameters and multiply-adds are counted from the network itself.

    \b
    Examples:
      python -m edgetvm.models
      python -m edgetvm.models mobilenet_v2 shufflenet_g3
    """
    recipes = load_recipes(find_data_folders().recipes)
    chosen: list[str] = []
    for prefix in prefixes or ("",):
        matching = [name for name in recipes if name.startswith(prefix)]
        if not matching:
            raise UsageError(f"No model begins with {prefix!r}: {did_you_mean(prefix, recipes)}")
        chosen += matching
    chosen = list(dict.fromkeys(chosen))
    if names:
        if form == "json":
            print_json(chosen)
        else:
            click.echo("\n".join(chosen))
        return
    require_host_packages()
    from edgetvm.models.listing import listing_row, measure_model

    papers = load_papers()
    sizes = [
        measure_model(name, recipes[name], papers)
        for name in track(chosen, "counting", console=notes, transient=True)
    ]
    if form == "json":
        print_json(sizes)
        return
    rows = [listing_row(size) for size in sizes]
    if form == "text":
        print_table(
            results, "Parameters and multiply-adds, ours and published", rows, list(rows[0])
        )
    else:
        click.echo((to_markdown if form == "markdown" else to_csv)(rows), nl=False)


if __name__ == "__main__":
    run_command(models)
