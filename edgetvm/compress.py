"""``python -m edgetvm.compress``: pack a model's weights by Deep Compression into a small file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edgetvm import __version__
from edgetvm.cli import (
    ModelName,
    json_option,
    notes,
    print_json,
    require_host_packages,
    results,
    run_command,
)
from edgetvm.errors import UsageError
from edgetvm.files import replacing
from edgetvm.measurement import relative_error
from edgetvm.paths import DataFolders, find_data_folders

if TYPE_CHECKING:
    from edgetvm.models.network import Network

SUFFIX = ".dcz"


class CompressOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run."""

    model: str
    weights: Path | None = None
    weights_from: str | None = None
    density: float = 0.33
    bits: int = 6
    output: Path | None = None
    json: bool = False


class PackedWeights(msgspec.Struct, frozen=True, kw_only=True):
    """A file of compressed weights.

    Attributes
    ----------
    title : of the model.
    weights : checkpoint that they come from; empty for random ones, from `seed`.
    parts_bytes : of `packed_bytes`, by what they hold.
    density : share of the weights that was kept.
    bits : of the index of a shared weight.
    output_difference : what compression changed in the output, relative to its magnitude.
    """

    title: str
    weights: str
    seed: int
    float32_bytes: int
    packed_bytes: int
    parts_bytes: dict[str, int]
    density: float
    bits: int
    output_difference: float
    file: str


@click.command(short_help="Pack a model's weights into a small file.")
@click.argument("model", type=ModelName())
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
@json_option
@click.version_option(__version__)
def compress(**options: Any) -> None:
    """Prune, share and Huffman-code the weights of MODEL, a recipe's name.

    What comes out is a file for --weights. Nothing is trained again, so the output of the
    network changes; how much is said.

    \b
    Examples:
      python -m edgetvm.compress squeezenet --weights squeezenet1_0.pth
      python -m edgetvm.compress squeezenet --density 0.5 --bits 8 --output half.dcz
    """
    asked = CompressOptions(**options)
    packed = run(asked, find_data_folders())
    if asked.json:
        print_json(packed)
    else:
        _print_sizes(packed)
    notes.print(f"next: python -m edgetvm.tune {asked.model} --target host --weights {packed.file}")


def run(options: CompressOptions, folders: DataFolders) -> PackedWeights:
    """Compress the weights, write the file, and return what it came to.

    Raises
    ------
    UsageError
        The model is no recipe's, or a file cannot be read or written.
    """
    output = options.output or Path(f"{options.model}{SUFFIX}")
    _require_usable(options.model, output, options.weights)
    require_host_packages()
    from edgetvm.models.resolve import resolve_network

    with notes.status("loading the network"):
        network = resolve_network(
            options.model, folders.recipes, None, options.weights, options.weights_from
        )
    with notes.status("compressing, running the compressed network"):
        content, difference = _compress(network, options.density, options.bits)
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(content)
    except OSError as err:
        raise UsageError(f"{output} cannot be written: {err.strerror}.") from err
    assert network.module is not None
    return PackedWeights(
        title=network.title,
        weights=str(options.weights or ""),
        seed=network.recipe.seed,
        float32_bytes=sum(tensor.nbytes for tensor in network.module.state_dict().values()),
        packed_bytes=len(content),
        parts_bytes=_parts_bytes(content),
        density=options.density,
        bits=options.bits,
        output_difference=difference,
        file=str(output),
    )


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


def _parts_bytes(content: bytes) -> dict[str, int]:
    from edgetvm.models.deep_compression import size_report

    report = size_report(content)
    return {
        name: sum(getattr(tensor, name) for tensor in report)
        for name in ("indices", "gaps", "codebook", "exact")
    }


def _print_sizes(packed: PackedWeights) -> None:
    origin = f"random, of the recipe's seed {packed.seed}; give --weights for real ones"
    shares = ", ".join(f"{name} {size:,}" for name, size in packed.parts_bytes.items())
    results.print(f"{packed.title}, weights: {packed.weights or origin}")
    results.print(f"float32:   {packed.float32_bytes:,} bytes")
    results.print(f"packed:    {packed.packed_bytes:,} bytes ({shares})")
    results.print(f"ratio:     {packed.float32_bytes / packed.packed_bytes:.1f}")
    results.print(f"density:   {packed.density:g}, {packed.bits} bits an index")
    results.print(
        f"output:    differs by {packed.output_difference:.1e} (relative) from the one before"
    )
    results.print(f"file:      {packed.file}")


if __name__ == "__main__":
    run_command(compress)
