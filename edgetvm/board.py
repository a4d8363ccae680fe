"""``python -m edgetvm.board``: boards for those who have none on the desk."""

import sys

import click

from edgetvm import __version__
from edgetvm.cli import json_option, notes, print_json, run_command


@click.group(no_args_is_help=False)
@click.version_option(__version__)
def board() -> None:
    """Prepare and start emulated boards.

    \b
    Examples:
      python -m edgetvm.board emulate
      python -m edgetvm.board emulate --arch aarch64 --json
    """


@board.command()
@click.option("--arch", default="aarch64", show_default=True, help="Architecture of the board.")
@json_option
def emulate(arch: str, json: bool) -> None:
    """Start an emulated board and serve it until Ctrl-C; the first time it is prepared.

    tune and deploy start one by themselves with --rpc emulated. What is timed there says nothing of
    a real board and is marked so.
    """
    from edgetvm.stages.device.emulated_board import emulated_server, find_architecture, prepare

    emulated = find_architecture(arch)
    prepare(emulated, notes.print)
    with emulated_server(emulated) as address:
        if json:
            print_json({"address": str(address), "arch": arch})
        else:
            click.echo(f"listening on {address}")
        sys.stdout.flush()
        notes.print(f"use it: python -m edgetvm.deploy --rpc {address}")
        click.pause("") if sys.stdin.isatty() else sys.stdin.read()


if __name__ == "__main__":
    run_command(board)
