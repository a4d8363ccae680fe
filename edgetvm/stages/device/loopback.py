"""The machine at hand as a device: `edgetvm.serve` in a process of its own, on loopback."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from edgetvm.errors import DeviceError
from edgetvm.stages.device.session import Address


@contextmanager
def loopback_server(
    python: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Address]:
    """Run a server for this machine while the block lasts, and yield its address.

    The server ends when its standard input closes, so also when this process is killed.

    Parameters
    ----------
    python : that runs it; None is the one that runs this process.
    environment : of the server; None is this process's.

    Raises
    ------
    DeviceError
        The server does not come up.
    """
    command = [
        python or sys.executable,
        "-m",
        "edgetvm.serve",
        "--port",
        "0",
        "--until-stdin-closes",
    ]
    with (
        # A file, because a pipe that nobody reads would fill up and block the server.
        tempfile.TemporaryFile() as log,
        # A session of its own keeps Ctrl-C from ending the server in the middle of a trial.
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env=environment,
        ) as server,
    ):
        assert server.stdin
        assert server.stdout
        try:
            line = server.stdout.readline()
            if not line.startswith("listening on "):
                log.seek(0)
                reason = (log.read().decode().strip().splitlines() or ["no message"])[-1]
                raise DeviceError(f"This machine's own server did not start: {reason}")
            yield Address.parse(line.removeprefix("listening on ").split()[0])
        finally:
            server.stdin.close()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
