"""A server that is killed, whatever it does: nothing hangs, nothing stays, no record is lost."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import tvm

from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.stages.host_target import detect_host_profile
from edgetvm.tune import tune
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted_candidates import HANGING_REPEATS, built_candidate

pytestmark = pytest.mark.slow
GIVEN_UP_S = 30.0


@contextmanager
def killable_server() -> Iterator[tuple[psutil.Popen, Address]]:
    command = [sys.executable, "-m", "edgetvm.serve", "--port", "0", "--until-stdin-closes"]
    with psutil.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process, Address.parse(process.stdout.readline().split()[-1])
        process.kill()


def idle(_session: DeviceSession, _folder: Path) -> None:
    time.sleep(2.0)


def upload(session: DeviceSession, folder: Path) -> None:
    library = folder / "large.so"
    library.write_bytes(bytes(1 << 26))
    for _ in range(1000):
        session.remote.upload(str(library))


def time_a_kernel_that_never_ends(session: DeviceSession, folder: Path) -> None:
    candidate = built_candidate(folder, "hangs", repeats=HANGING_REPEATS)
    assert candidate.library is not None
    module = session.load_library(candidate.library)
    arguments = [tvm.nd.empty(shape, dtype, session.cpu) for shape, dtype in candidate.arguments]
    module.time_evaluator(module.entry_name, session.cpu, number=1)(*arguments)


@pytest.mark.parametrize("work", [idle, upload, time_a_kernel_that_never_ends])
def test_the_client_is_told_and_no_process_stays(
    work: Callable[[DeviceSession, Path], None], tmp_path: Path
) -> None:
    with killable_server() as (server, address):
        session = DeviceSession(address, 1, timeout_s=600)
        processes = server.children(recursive=True)
        threading.Timer(1.0, server.kill).start()
        started_s = time.monotonic()
        with pytest.raises(tvm.TVMError):
            work_and_ask(work, session, tmp_path)
        assert time.monotonic() - started_s < GIVEN_UP_S
        _, alive = psutil.wait_procs(processes, timeout=GIVEN_UP_S)
        assert not alive


def work_and_ask(
    work: Callable[[DeviceSession, Path], None], session: DeviceSession, folder: Path
) -> None:
    work(session, folder)
    session.remote.get_function("runtime.NumThreads")()


def test_tuning_ends_in_one_sentence_and_keeps_its_records(
    project: DataFolders, invoke: Invoke
) -> None:
    store = RecordStore(project.tuning_logs / detect_host_profile().name, 1)

    def kill_after_some_trials(server: psutil.Popen) -> None:
        while not store.path.exists() or len(store.path.read_text().splitlines()) < 8:
            time.sleep(0.05)
        server.kill()

    with killable_server() as (server, address):
        killer = threading.Thread(target=kill_after_some_trials, args=(server,), daemon=True)
        killer.start()
        outcome = invoke(
            tune, TINY, "--target", "host", "--input-shape", TINY_SHAPE, "--trials", "200",
            "--threads", "1", "--rpc", str(address),
        )  # fmt: skip
    assert outcome.exit_code == 3
    assert "cannot be reached" in outcome.error
    assert 8 <= len(store.read_lines()) < 200
