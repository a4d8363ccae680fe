"""``python -m edgetvm.compress``: pack a model's weights by Deep Compression into a small file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetvm import __version__
from edgetvm.cli import notes, require_host_packages, results, run_command
from edgetvm.errors import UsageError
from edgetvm.files import replacing
from edgetvm.measurement import relative_error
from edgetvm.paths import find_data_folders

if TYPE_CHECKING:
    from edgetvm.models.network import Network

SUFFIX = ".dcz"


@click.command()
@click.argument("model")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint: .pth, .safetensors; without it random weights.",
)
@click.option("--weights-from", metavar="SOURCE", help="Whose keys it has, such as torchvision.")
@click.option(
    "--density",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.33,
    show_default=True,
    help="Share of the weights that is kept.",
)
@click.option(
    "--bits",
    type=click.IntRange(1, 8),
    default=6,
    show_default=True,
    help="Width of the index of a shared weight.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.dcz]"
)
@click.version_option(__version__)
def compress(
    model: str,
    weights: Path | None,
    weights_from: str | None,
    density: float,
    bits: int,
    output: Path | None,
) -> None:
    """Prune, share and Huffman-code the weights of MODEL, a recipe's name.

    What comes out is a file for --weights. Nothing is trained again, so the output of the
    network changes; how much is said.

    \b
    Examples:
      python -m edgetvm.compress squeezenet --weights squeezenet1_0.pth
      python -m edgetvm.compress squeezenet --density 0.5 --bits 8 --output half.dcz
    """
    output = output or Path(f"{model}{SUFFIX}")
    _require_usable(model, output, weights)
    require_host_packages()
    from edgetvm.models.resolve import resolve_network

    with notes.status("loading the network"):
        network = resolve_network(model, find_data_folders().recipes, None, weights, weights_from)
    with notes.status("compressing, running the compressed network"):
        content, difference = _compress(network, density, bits)
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(content)
    except OSError as err:
        raise UsageError(f"{output} cannot be written: {err.strerror}.") from err
    _print_sizes(network, content, weights)
    results.print(f"density:   {density:g}, {bits} bits an index")
    results.print(f"output:    differs by {difference:.1e} (relative) from the one before")
    results.print(f"file:      {output}")
    notes.print(f"next: python -m edgetvm.tune {model} --target host --weights {output}")


def _require_usable(model: str, output: Path, weights: Path | None) -> None:
    if ":" in model or model.endswith(".onnx"):
        raise UsageError(
            f"{model} is not the name of a recipe, of which compress takes the network: "
            "python -m edgetvm.tune --list shows them."
        )
    if output.suffix != SUFFIX:
        raise UsageError(f"--output {output} must end in {SUFFIX}, by which it is recognised.")
    if weights is not None and output.resolve() == weights.resolve():
        raise UsageError(f"--output {output} is the file of --weights. Give it another name.")


def _compress(network: "Network", density: float, bits: int) -> tuple[bytes, float]:
    """Return the packed weights and the relative difference that they make in the output.

    The module of `network` has the compressed weights afterwards.
    """
    from edgetvm.models.deep_compression import pack, unpack

    assert network.module is not None
    data = network.golden_input()
    before = network.reference_outputs(data)
    content = pack(network.module.state_dict(), density, bits)
    network.module.load_state_dict(unpack(content))
    after = network.reference_outputs(data)
    return content, max(map(relative_error, after, before))


def _print_sizes(network: "Network", content: bytes, weights: Path | None) -> None:
    from edgetvm.models.deep_compression import size_report

    assert network.module is not None
    origin = f"random, of the recipe's seed {network.recipe.seed}; give --weights for real ones"
    results.print(f"{network.title}, weights: {weights or origin}")
    plain = sum(tensor.nbytes for tensor in network.module.state_dict().values())
    results.print(f"float32:   {plain:,} bytes")
    report = size_report(content)
    parts = {
        name: sum(getattr(tensor, name) for tensor in report)
        for name in ("indices", "gaps", "codebook", "exact")
    }
    shares = ", ".join(f"{name} {size:,}" for name, size in parts.items())
    results.print(f"packed:    {len(content):,} bytes ({shares})")
    results.print(f"ratio:     {plain / len(content):.1f}")


if __name__ == "__main__":
    run_command(compress)
