"""Several boards on TVM's own tracker: found, used at once, lost, and found again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.access import ServerIdentity
from edgetvm.errors import DeviceError, UsageError
from edgetvm.stages.device import fleet as fleet_module
from edgetvm.stages.device.fleet import Fleet
from edgetvm.stages.device.tracker import Tracker
from edgetvm.stages.tune.parallel_timing import ParallelTimer
from edgetvm.tune import tune
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted_candidates import BUFFER, CRASHING_EXTENT, built_candidate

pytestmark = pytest.mark.slow
KEY = "testboard"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    port = free_port()
    command = [sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--port-end", str(port + 1)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        found = Tracker("127.0.0.1", port)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield found
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()  # TVM's tracker leaves its own process behind
        process.kill()


@contextmanager
def board(
    tracker: Tracker, *options: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A server for this machine that registers with the tracker."""
    command = [sys.executable, "-m", "edgetvm.serve", "--port", "0", "--until-stdin-closes"]
    with subprocess.Popen(
        [*command, "--tracker", str(tracker), "--key", KEY, *options],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().startswith("listening on ")
        yield process
        process.kill()


def wait_for(tracker: Tracker, count: int) -> None:
    for _ in range(100):
        try:
            if len(tracker.servers(KEY)) == count:
                return
        except DeviceError:
            if count == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"the tracker never had {count} boards")


@pytest.mark.parametrize("text", ["", ":9190", "host:port"])
def test_what_is_no_tracker_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give HOST or HOST:PORT"):
        Tracker.parse(text)


def test_no_tracker_is_said_with_the_remedy() -> None:
    with pytest.raises(DeviceError, match=r"cannot be reached: .*python -m tvm\.exec\.rpc_tracker"):
        Tracker("127.0.0.1", free_port()).servers(KEY)


def test_something_else_than_a_tracker_is_recognised(device: object) -> None:
    with pytest.raises(DeviceError, match="cannot be reached"):
        Tracker("127.0.0.1", device.port).servers(KEY)  # type: ignore[attr-defined]


def test_an_unknown_kind_of_board_is_said(tracker: Tracker) -> None:
    with board(tracker):
        wait_for(tracker, 1)
        with pytest.raises(DeviceError, match=f"no 'testbord': did you mean {KEY}"):
            tracker.servers("testbord")


def test_a_board_is_offered_again_after_each_session(tracker: Tracker) -> None:
    with board(tracker):
        wait_for(tracker, 1)
        boards = Fleet(tracker, KEY)
        for _ in range(3):
            _, session = boards.open(1, timeout_s=20)
            assert session.threads == 1
            del session
        assert len(boards.boards) == 1


def test_a_board_that_was_handed_out_to_nobody_is_offered_again(tracker: Tracker) -> None:
    with board(tracker):
        wait_for(tracker, 1)
        tracker.request(KEY, timeout_s=10)  # takes it and never comes
        assert tracker.request(KEY, timeout_s=30)


def test_a_restarted_tracker_finds_its_boards(tracker: Tracker) -> None:
    with board(tracker) as first, board(tracker):
        wait_for(tracker, 2)
        first.kill()
        wait_for(tracker, 1)


def test_a_board_that_asks_for_a_token_is_reached_with_the_one_that_is_kept(
    tracker: Tracker, tmp_path: Path
) -> None:
    config = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    with board(tracker, "--host", "0.0.0.0", environment=config):
        wait_for(tracker, 1)
        with pytest.raises(DeviceError, match="asks for a token"):
            Fleet(tracker, KEY).open(1, timeout_s=20)
        token = ServerIdentity.of_this_machine(tmp_path / "edgetvm").token
        _, session = Fleet(tracker, KEY, {"127.0.0.1": token}.get).open(1, timeout_s=20)
        assert session.threads == 1


def test_two_boards_measure_all_candidates_in_order(tracker: Tracker, tmp_path: Path) -> None:
    candidates = [built_candidate(tmp_path, f"good_{place}") for place in range(8)]
    with board(tracker), board(tracker):
        wait_for(tracker, 2)
        boards = Fleet(tracker, KEY)
        outcomes = list(ParallelTimer(boards, 1).time(candidates, None))
    assert [outcome[1] for outcome in outcomes] == [MeasureErrorNo.NO_ERROR] * 8
    assert sum(one.trials for one in boards.boards.values()) == 8
    assert len(boards.boards) == 2


def test_a_candidate_that_loses_two_boards_has_failed(tracker: Tracker, tmp_path: Path) -> None:
    names = ("good", "crashes", "good_again", "good_still")
    candidates = [
        built_candidate(tmp_path, name, CRASHING_EXTENT if name == "crashes" else BUFFER)
        for name in names
    ]
    with board(tracker), board(tracker):
        wait_for(tracker, 2)
        boards = Fleet(tracker, KEY)
        outcomes = list(ParallelTimer(boards, 1).time(candidates, None))
    assert [bool(outcome[0]) for outcome in outcomes] == [True, False, True, True]


def test_tuning_goes_on_when_a_board_dies(
    tracker: Tracker, project: object, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "FREE_WITHIN_S", 20.0)
    with ExitStack() as stack:
        boards = [stack.enter_context(board(tracker)) for _ in range(3)]
        wait_for(tracker, 3)
        killer = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; time.sleep(12); os.kill({boards[0].pid}, 9)"]
        )
        outcome = invoke(
            tune, TINY, "--target", "host", "--input-shape", TINY_SHAPE, "--trials", "24",
            "--threads", "1", "--tracker", str(tracker), "--key", KEY,
        )  # fmt: skip
        assert killer.wait() == 0
        assert boards[0].wait(10) == -signal.SIGKILL
    assert outcome.exit_code == 0, outcome.stderr
    assert "24 trials" in outcome.stdout
