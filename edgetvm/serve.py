"""``python -m edgetvm.serve``: let other machines run libraries on this one."""

import logging
import platform
import sys
import threading
from collections.abc import Callable

import click

from edgetvm import __version__
from edgetvm.access import ServerIdentity
from edgetvm.cli import notes, run_command
from edgetvm.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes any free one.  [default: 9090]",
)
@click.option("--open", "is_open", is_flag=True, help="Ask nobody for a token, encrypt nothing.")
@click.option("--tracker", metavar="HOST[:PORT]", help="Register with TVM's tracker there.")
@click.option("--key", help="Kind of device to register as, such as rasp4b.")
@click.option("--until-stdin-closes", is_flag=True, help="Stop when standard input closes.")
@click.version_option(__version__)
def serve(
    host: str,
    port: int | None,
    is_open: bool,
    tracker: str | None,
    key: str | None,
    until_stdin_closes: bool,
) -> None:
    """Serve this machine as a device for tune and deploy.

    It listens on loopback unless --host says otherwise. On a network it asks clients for a token,
    which it prints: whoever may open a session can run code on this machine.

    \b
    Examples:
      python -m edgetvm.serve
      python -m edgetvm.serve --host 0.0.0.0
      python -m edgetvm.serve --host 0.0.0.0 --tracker 192.168.1.5 --key rasp4b
    """
    from edgetvm.stages.device.connection import DEFAULT_PORT
    from edgetvm.stages.device.server import DeviceServer
    from edgetvm.stages.device.tracker import Registration, Tracker

    if (tracker is None) != (key is None):
        raise UsageError("--tracker and --key belong together: give both or none.")
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    is_local = host in LOOPBACK
    identity = None if is_local or is_open else ServerIdentity.of_this_machine()
    registration = None
    if tracker is not None and key is not None:
        where = Tracker.parse(tracker)
        own_host = None if host in EVERYWHERE else host
        registration = Registration(where.host, where.port, key, own_host)
    server = DeviceServer(host, DEFAULT_PORT if port is None else port, identity, registration)
    if until_stdin_closes:
        threading.Thread(target=_close_with_stdin, args=(server.close,), daemon=True).start()
    address = f"{server.address[0]}:{server.address[1]}"
    click.echo(f"listening on {address}")
    sys.stdout.flush()
    if is_local:
        notes.print(f"use it on this machine: python -m edgetvm.deploy --rpc {address}")
    else:
        where_from = f"{platform.node()}:{server.address[1]}"
        token = "" if identity is None else f" --token {identity.token}"
        notes.print(f"use it: python -m edgetvm.deploy --rpc {where_from}{token}")
        if is_open:
            notes.print("Warning: anyone who reaches this port can run code on this machine.")
    server.serve_forever()


def _close_with_stdin(close: Callable[[], None]) -> None:
    sys.stdin.read()
    close()


if __name__ == "__main__":
    run_command(serve)
