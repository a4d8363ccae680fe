"""`benchmarks/peers.py` without the peers' packages: protocol, rounds, table, errors."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from edgetvm.golden import GOLDEN, write_golden
from edgetvm.measurement import Measurement
from edgetvm.models.resolve import resolve_network

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from peers.contender import ContenderError, Worker  # noqa: E402
from peers.messages import Converted, Loaded  # noqa: E402
from peers.report import OURS, ModelResult, Outcome, Report, table_lines  # noqa: E402
from peers.rounds import time_in_rounds  # noqa: E402

SMALL = "mobilenet_v3_small_96"
ANSWERS = """
import json, sys
print(json.dumps({"type": "Loaded", "runtime": "tiny 1.0", "relative_error": 0.0}), flush=True)
for line in sys.stdin:
    number = json.loads(line)["number"]
    if number == 13: os.kill(os.getpid(), signal.SIGSEGV)
    print(json.dumps({"type": "Sampled", "sample_s": 0.1 / number}), flush=True)
"""


@pytest.fixture
def command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_command", ROOT / "benchmarks" / "peers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(script: str, folder: Path) -> Worker:
    script = "import os, signal, time\n" + script
    return Worker([sys.executable, "-c", script], {}, folder / "worker.log")


def state(worker: Worker) -> str:
    stat = Path(f"/proc/{worker._process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_worker_answers_and_is_stopped_in_between(tmp_path: Path) -> None:
    worker = start(ANSWERS, tmp_path)
    try:
        assert worker.load(tuple(range(4096))) == Loaded("tiny 1.0", 0.0)
        for number in (1, 4):
            assert worker.sample_s(number) == 0.1 / number
            assert state(worker) == "T"
    finally:
        worker.close()


def test_worker_that_leaves_its_cores_is_refused(tmp_path: Path) -> None:
    worker = start(ANSWERS, tmp_path)
    with pytest.raises(ContenderError, match="left the cores"):
        worker.load(())
    worker.close()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "it died of SIGSEGV"),
        ("raise SystemExit('no such CPU')", "it ended with 1: no such CPU"),
        ("time.sleep(60)", "no answer within 0.5 s"),
        ('print(\'{"type": "Failed", "reason": "no operator Foo"}\')', "no operator Foo"),
    ],
)
def test_worker_that_fails_has_a_reason(script: str, reason: str, tmp_path: Path) -> None:
    worker = start(script, tmp_path)
    with pytest.raises(ContenderError, match=reason):
        worker.expect(Converted, timeout_s=10 if "sleep" not in script else 0.5)
    worker.close()


def test_worker_that_dies_between_rounds_does_not_stop_the_others(tmp_path: Path) -> None:
    mortal = ANSWERS.replace("number == 13", "number == 1")
    workers = {name: start(mortal if name == "b" else ANSWERS, tmp_path) for name in "abc"}
    try:
        for worker in workers.values():
            worker.expect(Loaded, 10)
        timed, reasons = time_in_rounds(workers, rounds=2)
    finally:
        for worker in workers.values():
            worker.close()
    assert reasons == {"b": "it died of SIGSEGV"}
    assert {name: one.samples_s for name, one in timed.items()} == {
        "a": (0.1, 0.1),
        "c": (0.1, 0.1),
    }


class Fake:
    def __init__(self, name: str, asked: list[tuple[str, int]]) -> None:
        self.name, self.asked = name, asked

    def sample_s(self, number: int) -> float:
        self.asked.append((self.name, number))
        return {"a": 0.01, "b": 0.05, "c": 1.0}[self.name]


def test_contenders_take_turns_and_each_begins_a_round() -> None:
    asked: list[tuple[str, int]] = []
    timed, reasons = time_in_rounds({name: Fake(name, asked) for name in "abc"}, rounds=3)
    assert not reasons
    assert [name for name, _ in asked[3:]] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert {name: one.number for name, one in timed.items()} == {"a": 10, "b": 2, "c": 1}
    assert all(len(one.samples_s) == 3 for one in timed.values())


def outcome(median_ms: float, runtime: str, detail: str = "") -> Outcome:
    samples_s = tuple(median_ms * 1e-3 * factor for factor in (0.9, 1.0, 1.1))
    return Outcome(
        runtime=runtime,
        detail=detail,
        relative_error=1e-6,
        measurement=Measurement(samples_s=samples_s, number=1, threads=2, runtime=runtime),
    )


def report(*models: ModelResult) -> Report:
    return Report(
        measured_at="2026-01-02T03:04:05Z",
        cpu="A CPU",
        threads=2,
        cores=(0, 1),
        rounds=3,
        contenders=(OURS, "ncnn", "mnn"),
        models=models,
    )


def test_table_has_medians_ratios_means_and_reasons() -> None:
    ours = outcome(2, "edgetvm 1", "1 of 3 tasks tuned")
    first = {OURS: ours, "ncnn": outcome(4, "ncnn 1"), "mnn": outcome(1, "MNN")}
    second = first | {"ncnn": outcome(1, "ncnn 1"), "mnn": Outcome(reason="no operator Foo")}
    lines = list(table_lines(report(ModelResult("one", first), ModelResult("two", second))))
    assert lines[0] == "| model | edgetvm | ncnn | MNN |"
    assert lines[2].startswith("| `one` | 2.00 [1.80, 2.20] | 4.00 [3.60, 4.40] (2.00) | 1.00 ")
    assert lines[3].endswith("| 1.00 [0.90, 1.10] (0.50) | failed |")
    assert lines[4] == "| peer / edgetvm, geometric mean | | 1.00 | 0.50 |"
    assert lines[5] == "| **best peer / edgetvm, geometric mean** | **0.50** | | |"
    assert "Versions: edgetvm 1; ncnn 1; MNN." in lines
    assert "- edgetvm, `one`: 1 of 3 tasks tuned" in lines
    assert lines[-1] == "- MNN failed on `two`: no operator Foo"


def test_table_without_ours_has_no_ratio() -> None:
    outcomes = {OURS: Outcome(reason="wrong"), "ncnn": outcome(4, "ncnn 1"), "mnn": Outcome()}
    lines = list(table_lines(report(ModelResult("one", outcomes))))
    assert lines[2] == "| `one` | failed | 4.00 [3.60, 4.40] | failed |"
    assert lines[4] == "| **best peer / edgetvm, geometric mean** | **none** | | |"


@pytest.mark.slow
def test_peer_that_is_not_installed_is_listed_and_the_others_are_timed(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = resolve_network(SMALL, ROOT / "compile")
    data = network.golden_input()
    write_golden(tmp_path / GOLDEN, data, network.reference_outputs(data))
    monkeypatch.setattr(command, "WORK", tmp_path / "work")
    monkeypatch.setattr(command, "PEERS_PYTHON", Path(sys.executable))
    monkeypatch.setattr(command, "build_bundle", lambda *_: tmp_path)
    core = min(os.sched_getaffinity(0))
    plan = msgspec.structs.replace(
        report(), contenders=(OURS, "torch_eager", "litert"), threads=1, cores=(core,)
    )
    result = command.measure(SMALL, plan)
    assert "ModuleNotFoundError" in result.outcomes["litert"].reason
    assert "is no bundle" in result.outcomes[OURS].reason
    eager = result.outcomes["torch_eager"]
    assert eager.reason == ""
    assert len(eager.measurement.samples_s) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilenet_v22"], "mobilenet_v2"),
        (["--only", "nccn"], "did you mean ncnn"),
        (["--threads", "two"], "'two' is not a valid integer"),
        (["--threads", "100000"], "--threads 100000 are more than"),
        ([], "run make bench"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str],
    message: str,
    command: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "PEERS_PYTHON", ROOT / "nowhere")
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
