"""``python -m edgetvm.serve``: let other machines run libraries on this one."""

import logging
import platform
import sys
import threading
from collections.abc import Callable

import click

from edgetvm import __version__
from edgetvm.cli import notes, run_command


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes any free one.  [default: 9090]",
)
@click.option("--until-stdin-closes", is_flag=True, help="Stop when standard input closes.")
@click.version_option(__version__)
def serve(host: str, port: int | None, until_stdin_closes: bool) -> None:
    """Serve this machine as a device for tune and deploy.

    It listens on loopback unless --host says otherwise. Whoever can reach the port can run code
    on this machine: open it to networks that you trust only.

    \b
    Examples:
      python -m edgetvm.serve
      python -m edgetvm.serve --host 0.0.0.0 --port 9090
    """
    from edgetvm.stages.device.server import DEFAULT_PORT, DeviceServer

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    server = DeviceServer(host, DEFAULT_PORT if port is None else port)
    if until_stdin_closes:
        threading.Thread(target=_close_with_stdin, args=(server.close,), daemon=True).start()
    address = f"{server.address[0]}:{server.address[1]}"
    click.echo(f"listening on {address}")
    sys.stdout.flush()
    if host in ("127.0.0.1", "localhost", "::1"):
        notes.print(f"use it on this machine: python -m edgetvm.deploy --rpc {address}")
    else:
        notes.print(f"use it: python -m edgetvm.deploy --rpc {platform.node()}:{server.address[1]}")
        notes.print("Warning: anyone who reaches this port can run code on this machine.")
    server.serve_forever()


def _close_with_stdin(close: Callable[[], None]) -> None:
    sys.stdin.read()
    close()


if __name__ == "__main__":
    run_command(serve)
