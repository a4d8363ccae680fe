"""All commands as one program: ``edgetvm tune`` is ``python -m edgetvm.tune``."""

from importlib import import_module
from typing import NoReturn

import click

from edgetvm import __version__
from edgetvm.cli import run_command

COMMANDS = {
    "tune": "edgetvm.tune",
    "deploy": "edgetvm.deploy",
    "compare": "edgetvm.compare",
    "report": "edgetvm.report",
    "profile": "edgetvm.profile",
    "models": "edgetvm.models.__main__",
    "targets": "edgetvm.targets",
    "records": "edgetvm.records.__main__",
    "doctor": "edgetvm.doctor",
    "serve": "edgetvm.serve",
    "board": "edgetvm.board",
    "runtime": "edgetvm.runtime",
    "compress": "edgetvm.compress",
}
"""The commands in the order in which the help lists them, and the modules that they are in."""


class Commands(click.Group):
    """The commands of `COMMANDS`; a module is loaded when its command is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, None if there is none of this name."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[name]), name)
        return command


@click.command(cls=Commands, name="edgetvm", no_args_is_help=False)
@click.version_option(__version__)
def program() -> None:
    """Tune, compile, deploy and time small networks on small machines, beside the papers' figures.

    \b
    Examples:
      edgetvm tune mobilenet_v2 --target host --budget 30m
      edgetvm deploy
    """


def main() -> NoReturn:
    """Run the program that is installed as ``edgetvm``."""
    run_command(program, "edgetvm")


if __name__ == "__main__":
    run_command(program, "python -m edgetvm")
