"""Several processes on one store, and processes that are killed in the middle of a write."""

import multiprocessing
import random
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from edgetvm.records import RecordStore
from edgetvm.records.compaction import compact
from tests.planted_records import TARGET, VERSION, line

KILLS = 50
WRITERS = 2
"""Processes that write at the same time; both are killed."""

CONTEXT = multiprocessing.get_context("forkserver")


def append(folder: Path, serials: range, written: Connection) -> None:
    """Append records, and say of each that it is written only when it is."""
    store = RecordStore(folder, threads=2)
    for serial in serials:
        store.append(line(serial))
        written.send(serial)


def keep_compacting(folder: Path, over: Path) -> None:
    store = RecordStore(folder, threads=2)
    while not over.exists():
        store.edit(compact)
        store.open(TARGET, VERSION)


def start_writer(store: RecordStore, serials: range) -> tuple[BaseProcess, Connection]:
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=append, args=(store.path.parent, serials, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def received(connection: Connection) -> Iterator[int]:
    """What the writer has said until it ended; its last word may be cut short."""
    try:
        while True:
            yield connection.recv()
    except (EOFError, OSError):
        return


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    CONTEXT.set_forkserver_preload([__name__])
    return RecordStore(tmp_path / "board", threads=2)


def test_nothing_is_lost_when_two_append_and_one_compacts(
    store: RecordStore, tmp_path: Path
) -> None:
    store.append(line(0, 0.5))
    over = tmp_path / "over"
    compacting = CONTEXT.Process(target=keep_compacting, args=(store.path.parent, over))
    compacting.start()
    writers = [start_writer(store, serials) for serials in (range(300), range(200, 500))]
    for writer, connection in writers:
        list(received(connection))
        writer.join()
        assert writer.exitcode == 0
    over.touch()
    compacting.join()
    assert compacting.exitcode == 0
    assert set(store.open(TARGET, VERSION)) == {line(serial) for serial in range(500)}
    assert not store.rejected_path.exists()


def test_a_kill_at_any_instant_loses_at_most_the_trial_in_flight(store: RecordStore) -> None:
    instants = random.Random(0)
    written: set[int] = set()
    unsaid: set[str] = set()
    for kill in range(0, KILLS, WRITERS):
        starts = [(kill + place) * 100_000 for place in range(WRITERS)]
        writers = [start_writer(store, range(first, first + 100_000)) for first in starts]
        written |= {connection.recv() for _, connection in writers}
        for writer, _ in writers:
            time.sleep(instants.uniform(0, 0.02))
            writer.kill()
            writer.join()
        for _, connection in writers:
            written |= set(received(connection))
        lines = store.open(TARGET, VERSION)
        said = {line(serial) for serial in written}
        assert said <= set(lines)
        assert len(lines) == len(set(lines))
        # A record may be there although its writer was killed before it could say so.
        assert len(set(lines) - said - unsaid) <= WRITERS
        unsaid |= set(lines) - said


def test_a_piece_that_a_killed_writer_left_is_moved_away_while_others_write(
    store: RecordStore,
) -> None:
    store.append(line(0))
    with store.path.open("a") as file:
        file.write(line(1)[:50])
    writers = [start_writer(store, range(first, first + 20)) for first in (100, 200, 300)]
    for writer, connection in writers:
        assert len(list(received(connection))) == 20
        writer.join()
    assert len(store.open(TARGET, VERSION)) == 61
    assert store.rejected_path.read_text() == line(1)[:50] + "\n"
