"""``python -m edgetvm.models``: the models that can be compiled, and their sizes."""

import click
from rich.progress import track

from edgetvm import __version__
from edgetvm.cli import notes, require_host_packages, results, run_command
from edgetvm.comparison_display import print_table
from edgetvm.errors import UsageError, did_you_mean
from edgetvm.paper.figures import load_papers
from edgetvm.paper.table import to_csv, to_markdown
from edgetvm.paths import find_data_folders
from edgetvm.recipe import load_recipes


@click.command()
@click.argument("prefixes", metavar="[MODEL]...", nargs=-1)
@click.option("--names", is_flag=True, help="Only the names, without counting anything.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv"]),
    default="text",
    show_default=True,
)
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
    if names:
        click.echo("\n".join(dict.fromkeys(chosen)))
        return
    require_host_packages()
    from edgetvm.models.listing import listing_row

    papers = load_papers()
    rows = [
        listing_row(name, recipes[name], papers)
        for name in track(dict.fromkeys(chosen), "counting", console=notes, transient=True)
    ]
    if form == "text":
        print_table(
            results, "Parameters and multiply-adds, ours and published", rows, list(rows[0])
        )
    else:
        click.echo((to_markdown if form == "markdown" else to_csv)(rows), nl=False)


if __name__ == "__main__":
    run_command(models)
