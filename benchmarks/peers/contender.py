"""A contender's worker, seen from the parent."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from peers.messages import Failed, Loaded, Reply, Sample, Sampled

PREPARE_TIMEOUT_S = 1200.0
SAMPLE_TIMEOUT_S = 120.0

ReplyT = TypeVar("ReplyT", bound=Reply)


class ContenderError(Exception):
    """A contender cannot take part, or not any longer; the message is the reason."""


class Worker:
    """A process that answers in JSON lines and is stopped whenever it is not asked.

    Stopped, because threads that spin after the last inference would slow the next contender.

    Parameters
    ----------
    log : takes what the process writes to standard error.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # a process group, to be stopped as one
            )

    def expect(self, kind: type[ReplyT], timeout_s: float) -> ReplyT:
        """Return the next reply, which must be of `kind`, and stop the process.

        Raises
        ------
        ContenderError
            The process failed, died or said nothing for `timeout_s`.
        """
        killer = threading.Timer(timeout_s, self._signal, [signal.SIGKILL])
        killer.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        killer.cancel()
        if not line:
            raise ContenderError(self._end(timeout_s))
        reply = msgspec.json.decode(line, type=Reply)
        if isinstance(reply, Failed):
            raise ContenderError(reply.reason)
        assert isinstance(reply, kind)
        self._stop()
        return reply

    def load(self, cores: tuple[int, ...]) -> Loaded:
        """Wait for the network to be loaded and checked; raises as :meth:`expect`."""
        loaded = self.expect(Loaded, PREPARE_TIMEOUT_S)
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            if not os.sched_getaffinity(int(thread.name)) <= set(cores):
                raise ContenderError(f"a thread of it left the cores {cores}")
        return loaded

    def sample_s(self, number: int) -> float:
        """Return the seconds of one inference as the mean of `number`; raises as `expect`."""
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(Sample(number)) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as err:
            raise ContenderError(self._end(SAMPLE_TIMEOUT_S)) from err
        return self.expect(Sampled, SAMPLE_TIMEOUT_S).sample_s

    def close(self) -> None:
        """End the process, whatever its state."""
        self._signal(signal.SIGKILL)
        self._process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _stop(self) -> None:
        """Stop the process, and wait until its last thread stands still."""
        if self._process.poll() is None:
            pid = self._process.pid
            os.killpg(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _end(self, timeout_s: float) -> str:
        """Say how the process ended, with its last words."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return f"it was killed: no answer within {timeout_s:g} s, or out of memory"
        how = f"it died of {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
        said = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"{how}: {said[:200]}" if said else how
