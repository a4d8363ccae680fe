"""tune, deploy, compare and serve as a user runs them, on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch

from edgetvm.compare import compare
from edgetvm.compress import compress
from edgetvm.deploy import deploy
from edgetvm.errors import NumericsError
from edgetvm.manifest import read_manifest, write_manifest
from edgetvm.models.__main__ import models
from edgetvm.paths import DataFolders
from edgetvm.records import MetaScheduleStore, RecordStore
from edgetvm.records.__main__ import records
from edgetvm.serve import serve
from edgetvm.stages.device import lowering
from edgetvm.tune import tune
from tests.conftest import ROOT, TINY, TINY_SHAPE, Invoke, Outcome
from tests.tiny_network import build

TUNE_TINY = (TINY, "--input-shape", TINY_SHAPE, "--target", "host", "--threads", "1")


def the_bundle(project: DataFolders) -> Path:
    (bundle,) = project.bundles.glob("*/build")
    return bundle


def the_store(project: DataFolders) -> RecordStore:
    (folder,) = project.tuning_logs.glob("*")
    return RecordStore(folder, threads=1)


def start_tuning(trials: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edgetvm.tune", *TUNE_TINY, "--trials", str(trials)]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_for_records(project: DataFolders, process: "subprocess.Popen[str]", count: int) -> None:
    while (
        sum(len(p.read_text().splitlines()) for p in project.tuning_logs.glob("*/threads_1.json"))
        < count
    ):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("trials", ["0", "4"])
def test_nothing_is_searched_or_handed_out_where_the_untuned_library_is_wrong(
    trials: str, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_arguments: object) -> float:
        raise NumericsError("planted")

    monkeypatch.setattr(lowering, "check_on_device", check)
    outcome = invoke(tune, *TUNE_TINY, "--trials", trials)
    assert (outcome.exit_code, outcome.error) == (5, "planted")
    assert not list(project.bundles.rglob("manifest.json"))
    assert not list(project.tuning_logs.glob("*/threads_1.json"))


@pytest.mark.slow
def test_candidates_measured_with_a_flushed_cache_have_a_store_of_their_own(
    project: DataFolders, invoke: Invoke
) -> None:
    tuned = invoke(tune, *TUNE_TINY, "--trials", "12", "--flush-cache")
    assert tuned.exit_code == 0, tuned.stderr
    assert "alone and with a flushed cache" in tuned.stdout
    assert the_store(project).path.parent.name.endswith(".flushed")
    assert "GFLOP/s" in invoke(records, "best", "--target", "host.flushed").stdout
    verified = invoke(records, "verify", "--target", "host.flushed")
    assert verified.exit_code == 0, verified.stderr
    assert invoke(records, "best", "--target", "host").exit_code == 2


@pytest.mark.slow
def test_tune_deploy_compare(project: DataFolders, invoke: Invoke) -> None:
    tuned = invoke(tune, *TUNE_TINY, "--trials", "12")
    assert tuned.exit_code == 0, tuned.stderr
    assert "estimate: the tasks' best times" in tuned.stdout
    assert "relative error" in tuned.stdout
    manifest = read_manifest(the_bundle(project))
    assert manifest.latency is not None
    kept = manifest.latency.is_faster_tuned
    assert manifest.tuned_tasks == (len(manifest.tasks) if kept else 0)
    assert ("5 of 5 tasks are tuned" if kept else "the bundle holds these") in tuned.stdout

    deployed = invoke(deploy)
    assert deployed.exit_code == 0, deployed.stderr
    assert "Tuned" in deployed.stdout
    assert "build" in deployed.stdout

    compared = invoke(compare, "--format", "json")
    (model,) = json.loads(compared.stdout)["models"]
    assert model["relative_error"] < 1e-4
    assert model["tuned"]["value"] > 0
    assert "PyTorch" in model["reference_runtime"]
    for form in ("text", "markdown", "csv"):
        assert "build" in invoke(compare, "--format", form).stdout


@pytest.mark.slow
def test_two_searches_make_one_bundle(project: DataFolders, invoke: Invoke) -> None:
    both = invoke(tune, *TUNE_TINY, "--trials", "40", "--tuner", "best")
    assert both.exit_code == 0, both.stderr
    lines = the_store(project).read_lines()
    others = MetaScheduleStore(the_store(project).path.parent, threads=1).read()
    assert len(lines) + len(others) == 40
    assert min(len(lines), len(others)) > 0

    theirs = invoke(tune, *TUNE_TINY, "--trials", "20", "--tuner", "metaschedule")
    assert theirs.exit_code == 0, theirs.stderr
    assert f"took up {len(others)} records of earlier runs" in theirs.stderr
    assert set(read_manifest(the_bundle(project)).tasks_by_tuner) <= {"metaschedule"}
    assert the_store(project).read_lines() == lines

    assert invoke(tune, *TUNE_TINY, "--trials", "0").exit_code == 0
    assert set(read_manifest(the_bundle(project)).tasks_by_tuner) <= {"auto_scheduler"}


@pytest.mark.slow
def test_a_killed_run_loses_nothing_and_is_taken_up(project: DataFolders, invoke: Invoke) -> None:
    process = start_tuning(trials=5000)
    wait_for_records(project, process, 10)
    process.kill()
    process.wait()
    store = the_store(project)
    store.reject_interrupted_write()
    before = store.read_lines()
    again = invoke(tune, *TUNE_TINY, "--trials", "4")
    assert again.exit_code == 0, again.stderr
    assert f"took up {len(before)} records of earlier runs" in again.stderr
    assert store.read_lines()[: len(before)] == before
    assert len(store.read_lines()) == len(before) + 4


@pytest.mark.slow
def test_ctrl_c_ends_tidily_with_what_was_found(project: DataFolders) -> None:
    process = start_tuning(trials=5000)
    wait_for_records(project, process, 8)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    tried = {line.split(", ")[0] for line in the_store(project).read_lines()}
    assert process.returncode == (0 if len(tried) == 5 else 6), stderr
    assert "bundle: " in stdout
    assert "Traceback" not in stderr
    assert len(the_store(project).read_lines()) >= 8
    read_manifest(the_bundle(project))


@pytest.mark.slow
def test_a_budget_that_does_not_reach_every_task_is_no_success(
    project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(tune, *TUNE_TINY, "--trials", "3")
    assert outcome.exit_code == 6
    assert "2 of 5 tasks were not tried" in outcome.error
    read_manifest(the_bundle(project))
    assert invoke(tune, *TUNE_TINY, "--trials", "2").exit_code == 0


@pytest.mark.slow
def test_without_trials_the_bundle_is_untuned_and_says_so(
    project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(tune, *TUNE_TINY, "--trials", "0")
    assert outcome.exit_code == 0, outcome.stderr
    assert "0 of 5 tasks are tuned" in outcome.stdout
    assert "untuned: conv2d 3x3/2 3->16x16x16+add+clip (1 times)" in outcome.stdout
    assert not list(project.tuning_logs.glob("*/*"))
    deployed = invoke(deploy, "build", "--repeat", "2")
    assert deployed.exit_code == 0, deployed.stderr
    compared = invoke(compare, "--target", "host", "--json")
    assert compared.exit_code == 0, compared.stderr
    (model,) = json.loads(compared.stdout)["models"]
    assert model["model"] == "build"


@pytest.mark.slow
def test_an_interrupted_record_is_mended_and_a_broken_one_is_an_error(
    project: DataFolders, invoke: Invoke
) -> None:
    assert invoke(tune, *TUNE_TINY, "--trials", "5").exit_code == 0
    store = the_store(project)
    good = store.path.read_text()
    store.path.write_text(good + good[:50])
    assert invoke(tune, *TUNE_TINY, "--trials", "0").exit_code == 0
    assert store.path.read_text() == good

    broken = good[:50] + "\n" + good
    store.path.write_text(broken)
    outcome = invoke(tune, *TUNE_TINY, "--trials", "0")
    assert outcome.exit_code == 6
    assert "line 1 is not a whole tuning record" in outcome.error
    assert store.path.read_text() == broken
    assert invoke(tune, *TUNE_TINY, "--trials", "0", "--drop-bad-records").exit_code == 0
    assert store.path.read_text() == good


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["mobilnet_v2", "--target", "host"], 2, "did you mean mobilenet_v2"),
        (["mobilenet_v2", "--target", "rasp4"], 2, "did you mean rasp4b"),
        (["mobilenet_v2", "--target", "host", "--trials", "-3"], 2, "-3 is not in the range x>=0"),
        (["mobilenet_v2", "--target", "host", "--budget", "soon"], 2, "give for instance 90s"),
        (["mobilenet_v2", "--target", "host", "--tuner", "grid"], 2, "'grid' is not one of"),
        (["mobilenet_v2", "--target", "host", "--input-shape", "3"], 2, "such as 1,3,224,224"),
        (["mobilenet_v2"], 2, "--target are needed"),
        (["no.onnx", "--target", "host"], 2, "no.onnx"),
        (["squeezenet", "--target", "rasp3b_32"], 3, "the target rasp3b_32 is armv7l"),
        (["squeezenet", "--target", "host", "--threads", "999"], 3, "give --threads"),
        (["squeezenet", "--target", "host", "--rpc", "127.0.0.1:1"], 3, "python -m edgetvm.serve"),
    ],
)
def test_a_wrong_argument_ends_in_one_sentence(
    project: DataFolders, invoke: Invoke, arguments: list[str], exit_code: int, said: str
) -> None:
    outcome = invoke(tune, *arguments)
    assert outcome.exit_code == exit_code
    assert said in outcome.error
    assert outcome.stdout == ""


def test_a_checkpoint_of_another_net_is_named(project: DataFolders, invoke: Invoke) -> None:
    checkpoint = project.recipes.parent / "other.pth"
    torch.save(build().state_dict(), checkpoint)
    outcome = invoke(tune, "squeezenet", "--target", "host", "--weights", str(checkpoint))
    assert outcome.exit_code == 2
    assert "stem.0.weight" in outcome.error


@pytest.mark.slow
def test_a_network_that_cannot_be_compiled_is_a_compile_error(
    project: DataFolders, invoke: Invoke
) -> None:
    model = "tests.tiny_network:build_unknown_operation"
    outcome = invoke(tune, model, "--input-shape", "1,3,8,8", "--target", "host")
    assert outcome.exit_code == 4
    assert "bessel_j0" in outcome.error


def test_tune_lists_models_and_targets(project: DataFolders, invoke: Invoke) -> None:
    listing = invoke(tune, "--list").stdout
    assert "mobilenet_v2" in listing
    assert "rasp4b" in listing


@pytest.mark.slow
class TestDeploy:
    """deploy on a bundle that was built without tuning."""

    @pytest.fixture
    def bundle(self, project: DataFolders, invoke: Invoke) -> Path:
        assert invoke(tune, *TUNE_TINY, "--trials", "0").exit_code == 0
        return the_bundle(project)

    def fails(self, outcome: Outcome, exit_code: int, said: str) -> None:
        assert outcome.exit_code == exit_code
        assert said in outcome.error

    def test_nothing_built(self, project: DataFolders, invoke: Invoke) -> None:
        self.fails(invoke(deploy), 2, "Build one: python -m edgetvm.tune")
        self.fails(invoke(deploy, "--target", "rasp4b"), 2, "No bundle for the target 'rasp4b'")
        self.fails(invoke(deploy, "--target", "host"), 2, "Build one: python -m edgetvm.tune")

    def test_nothing_deployed(self, project: DataFolders, invoke: Invoke, bundle: Path) -> None:
        self.fails(invoke(compare), 2, "python -m edgetvm.deploy")
        self.fails(invoke(compare, "--target", "zn"), 2, "Nothing was built for the target 'zn'")

    def test_unknown_model(self, project: DataFolders, invoke: Invoke, bundle: Path) -> None:
        self.fails(invoke(deploy, "buildd"), 2, "did you mean build?")

    def test_changed_library(self, project: DataFolders, invoke: Invoke, bundle: Path) -> None:
        (bundle / "library.so").write_bytes(b"changed")
        self.fails(invoke(deploy), 2, "not the file that was built")

    def test_bundle_of_another_architecture(
        self, project: DataFolders, invoke: Invoke, bundle: Path
    ) -> None:
        manifest = read_manifest(bundle)
        library = msgspec.structs.replace(manifest.tuned, arch="aarch64")
        write_manifest(bundle, msgspec.structs.replace(manifest, tuned=library))
        self.fails(invoke(deploy), 3, "is 64-bit aarch64 code")
        self.fails(invoke(deploy, "--target", bundle.parent.name), 3, "is 64-bit aarch64 code")

    def test_bundle_for_a_newer_libc(
        self, project: DataFolders, invoke: Invoke, bundle: Path
    ) -> None:
        manifest = read_manifest(bundle)
        library = msgspec.structs.replace(manifest.tuned, glibc="9.9")
        write_manifest(bundle, msgspec.structs.replace(manifest, tuned=library))
        self.fails(invoke(deploy), 3, "needs glibc 9.9")

    def test_several_targets_that_fit_a_remote_device(
        self, project: DataFolders, invoke: Invoke, bundle: Path, device: object
    ) -> None:
        bundle.parent.rename(project.bundles / "one")
        (project.bundles / "two").symlink_to(project.bundles / "one")
        outcome = invoke(deploy, "--rpc", str(device))
        self.fails(outcome, 2, "one, two all run on")

    def test_a_wrong_result(self, project: DataFolders, invoke: Invoke, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        write_manifest(bundle, msgspec.structs.replace(manifest, tolerance=1e-12))
        self.fails(invoke(deploy), 5, "differs from the reference")

    def test_a_reference_that_is_gone_is_noted_only(
        self, project: DataFolders, invoke: Invoke, bundle: Path
    ) -> None:
        manifest = read_manifest(bundle)
        source = msgspec.structs.replace(manifest.source, reference="gone.module:build")
        write_manifest(bundle, msgspec.structs.replace(manifest, source=source))
        outcome = invoke(deploy, "--repeat", "2")
        assert outcome.exit_code == 0, outcome.stderr
        assert "the reference is not timed" in outcome.stderr

    def test_on_a_remote_device_the_reference_is_not_timed(
        self, project: DataFolders, invoke: Invoke, bundle: Path, device: object
    ) -> None:
        outcome = invoke(deploy, "--rpc", str(device), "--repeat", "2")
        assert outcome.exit_code == 0, outcome.stderr
        (run,) = (bundle / "runs").iterdir()
        assert json.loads(run.read_text())["reference"] is None


def test_serve_refuses_a_taken_port(project: DataFolders, invoke: Invoke, device: object) -> None:
    _, _, port = str(device).rpartition(":")
    outcome = invoke(serve, "--port", port)
    assert outcome.exit_code == 3
    assert f"Cannot listen on 127.0.0.1:{port}" in outcome.error


def test_serve_asks_strangers_for_a_token(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetvm.serve", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(
        [*command, "--until-stdin-closes"],
        input="",
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert done.stdout.startswith("listening on 0.0.0.0:")
    assert re.search(r"--rpc \S+ --token [a-z2-7-]{53}\n", done.stderr)


@pytest.mark.parametrize(
    "command", [tune, deploy, compare, serve, compress, models, records], ids=lambda c: str(c.name)
)
def test_help_ends_with_examples(command: object, invoke: Invoke) -> None:
    text = invoke(command, "--help").stdout  # type: ignore[arg-type]
    assert text.count("python -m edgetvm.") >= 3
