"""What all commands share: options, the console, and errors turned into exit codes."""

import errno
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem
from rich.console import Console

from edgetvm.errors import INTERRUPTED_EXIT_CODE, EdgetvmError, UsageError
from edgetvm.paths import find_data_folders
from edgetvm.recipe import list_recipes
from edgetvm.target_profile import HOST, list_target_profiles

_HOST_PACKAGES = (
    "jinja2",
    "llvm",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "torch",
    "xgboost",
    "ziglang",
)

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)

# Results go to standard output, progress and everything else to standard error.
results = Console(highlight=False)
notes = Console(stderr=True, highlight=False)
for console in (results, notes):
    if not console.is_terminal:
        console.width = 200  # in a file or a pipe nothing is gained by narrow lines


def run_command(command: click.Command, name: str = "") -> NoReturn:
    """Run a command of edgetvm and exit: with 0, or with the code of the error's kind.

    An error that a user can cause is one line on standard error; a defect keeps its traceback.

    Parameters
    ----------
    name : by which it was called; empty for ``python -m``.
    """
    name = name or f"python -m edgetvm.{command.name}"
    try:
        command.main(prog_name=name, standalone_mode=False)
    except EdgetvmError as err:
        _fail(str(err), err.exit_code)
    except click.UsageError as err:
        called = err.ctx.command_path if err.ctx else name
        _fail(f"{err.format_message()} See {called} --help.", UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted.", INTERRUPTED_EXIT_CODE)
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(
            f"No space is left where {err.filename or 'a file'} is written: make some and run the "
            "command again; what was written before is whole.",
            EdgetvmError.exit_code,
        )
    sys.exit(0)


def _fail(message: str, exit_code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - one line, never wrapped
    sys.exit(exit_code)


@contextmanager
def first_interrupt_calls(stop: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C end the run after the trial at hand, by `stop`; the next aborts."""
    ordinary: Callable[..., object] | int | None = signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: object) -> None:
        notes.print("ending after the trial at hand; Ctrl-C again aborts")
        signal.signal(signal.SIGINT, ordinary)
        stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ordinary)


def require_host_packages() -> None:
    """Make sure that the packages of the extra `host` are installed.

    Raises
    ------
    UsageError
        One is missing: this is a board's installation, which serves but does not compile.
    """
    for package in _HOST_PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"The package {package} is not installed, which this needs: "
                "pip install 'edgetvm[host]'."
            )


def device_options(command: Decorated) -> Decorated:
    """Add the options that say which device a command uses: --rpc, --token and --cores."""
    for option in (
        click.option("--cores", default="", help="Kind of cores to use, such as big or LITTLE."),
        click.option("--token", help="Token that the device's server printed; it is kept."),
        click.option(
            "--rpc", metavar="HOST[:PORT]", help="Device, or emulated; without it this machine."
        ),
    ):
        command = option(command)
    return command


def json_option(command: Decorated) -> Decorated:
    """Add --json, with which standard output has one JSON value and nothing else."""
    return click.option("--json", is_flag=True, help="Print the result as JSON.")(command)


def print_json(value: object) -> None:
    """Print a result as indented JSON on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


class ModelName(click.ParamType[str]):
    """A model; shells complete the recipes' names, and files where none begins so."""

    name = "model"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin as typed."""
        names = list_recipes(find_data_folders().recipes)
        return _beginning(incomplete, names) or [CompletionItem(incomplete, type="file")]


class TargetName(click.ParamType[str]):
    """A target; shells complete the profiles' names."""

    name = "target"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin as typed."""
        return _beginning(incomplete, [HOST, *list_target_profiles(find_data_folders().profiles)])


def _beginning(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class Shape(click.ParamType[tuple[int, ...]]):
    """Two to four comma-separated positive numbers; N,C,H,W for images."""

    name = "n,c,h,w"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Parse the option's text; click reports what `fail` says."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not 2 <= len(parts) <= 4 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            self.fail(f"{value!r} is no shape: give numbers such as 1,3,224,224.", param, ctx)
        return tuple(int(part) for part in parts)


class Duration(click.ParamType[float]):
    """A duration such as 90s, 30m or 2h; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Parse the option's text; click reports what `fail` says."""
        if isinstance(value, float):
            return value
        unit_s = {"s": 1, "m": 60, "h": 3600}.get(str(value)[-1:])
        number = str(value)[:-1] if unit_s else str(value)
        if not number.isdecimal() or int(number) == 0:
            self.fail(f"{value!r} is no duration: give for instance 90s, 30m or 2h.", param, ctx)
        return float(int(number) * (unit_s or 1))
