"""``python -m edgetvm.tune``: a network and a target in, a tuned and checked bundle out."""

from pathlib import Path
from typing import Any, get_args

import click

from edgetvm import __version__
from edgetvm.cli import (
    Duration,
    ModelName,
    Shape,
    TargetName,
    device_options,
    json_option,
    print_json,
    require_host_packages,
    results,
    run_command,
)
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.paths import find_data_folders
from edgetvm.recipe import Precision, list_recipes
from edgetvm.target_profile import HOST, list_target_profiles
from edgetvm.tuning_options import BEST, TuneOptions
from edgetvm.tuning_run import run


@click.command()
@click.argument("model", required=False, type=ModelName())
@click.option("--target", type=TargetName(), help="Target profile, or host for this machine's CPU.")
@click.option("--trials", type=click.IntRange(min=0), help="Candidates to measure in this run.")
@click.option(
    "--budget", "budget_s", type=Duration(), help="Time for tuning, such as 90s, 30m or 2h."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one inference.")
@device_options
@click.option("--tracker", metavar="HOST[:PORT]", help="TVM's tracker, for several boards at once.")
@click.option("--key", help="Kind of boards that the tracker gives; without it the target's name.")
@click.option(
    "--tuner",
    type=click.Choice([AUTO_SCHEDULER, METASCHEDULE, BEST]),
    default=AUTO_SCHEDULER,
    show_default=True,
    help="Whose search; best uses both and takes the faster schedule of each task.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Checkpoint: .pth, .safetensors, .dcz."
)
@click.option("--weights-from", metavar="SOURCE", help="Whose keys it has, such as torchvision.")
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="Of weights and activations; float16 needs a GPU with cl_khr_fp16.",
)
@click.option("--input-shape", type=Shape(), help="Input of a network of your own.")
@click.option(
    "--flush-cache", is_flag=True, help="Measure candidates with weights from memory, apart."
)
@click.option("--drop-bad-records", is_flag=True, help="Move unreadable record lines away.")
@click.option("--list", "list_only", is_flag=True, help="List models and targets, and stop.")
@json_option
@click.version_option(__version__)
def tune(model: str | None, target: str | None, list_only: bool, **options: Any) -> None:
    """Tune MODEL for a target and build its bundle below build/.

    MODEL is a recipe's name, the path of an ONNX file, or my_package.my_model:build.
    Records of earlier runs are taken up; Ctrl-C ends a run and keeps what it found.
    Without a device a cycle model stands for a board, and so it does with --rpc modelled.

    \b
    Examples:
      python -m edgetvm.tune mobilenet_v2 --target host --budget 30m
      python -m edgetvm.tune squeezenet --target rasp4b --rpc 192.168.1.20
    """
    folders = find_data_folders()
    if list_only:
        models = list_recipes(folders.recipes)
        targets = [HOST, *list_target_profiles(folders.profiles)]
        if options["json"]:
            print_json({"models": models, "targets": targets})
            return
        results.print("models:  " + "  ".join(models))
        results.print("targets: " + "  ".join(targets))
        return
    if model is None or target is None:
        raise click.UsageError("MODEL and --target are needed; --list shows what there is.")
    require_host_packages()
    run(TuneOptions(model=model, target=target, **options), folders)


if __name__ == "__main__":
    run_command(tune)
