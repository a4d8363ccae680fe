"""``deploy --rpc modelled``: estimates of bundles from their code, layer by layer."""

import json
import lzma
from pathlib import Path

import msgspec
import pytest

from edgetvm.compare import compare
from edgetvm.deploy import deploy
from edgetvm.errors import UsageError
from edgetvm.layer_profile import Ceiling, LayerWork, MemoryCeiling, Roofline
from edgetvm.manifest import CODE, read_manifest
from edgetvm.modelled import ModelledLatency, ModelledLayer, latest_modelled, write_modelled
from edgetvm.modelling import model_bundle, profile_roofline
from edgetvm.paper.boards import load_board_latencies
from edgetvm.paper.devices import load_devices
from edgetvm.paper.evidence import read_evidence
from edgetvm.paper.figures import load_papers
from edgetvm.paper.gathering import gather
from edgetvm.paper.modelled_figures import compare_modelled, published_of
from edgetvm.paper.table import NOTHING, modelled_rows
from edgetvm.paths import DataFolders
from edgetvm.profile import profile
from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.cycles.network_code import split_kernels
from edgetvm.target_profile import TargetProfile, load_target_profile
from edgetvm.tune import tune
from edgetvm.tuning_options import TuneOptions, needs_model
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted_bundle import plant_bundle
from tests.test_comparison import make_run

TARGETS = Path(__file__).parent.parent / "targets"
GIGA = 1e9

CODE_OF_TWO = """\
target triple = "aarch64"
declare float @expf(float)
define dllexport i32 @net_add(ptr %args) {
  ret i32 0
}
define internal i32 @net_add_compute_(ptr %x) {
  %1 = call i32 @TVMBackendParallelLaunch(ptr @__tvm_parallel_lambda, ptr %x, i32 0)
  ret i32 %1
}
define private i32 @__tvm_parallel_lambda(i32 %task_id, ptr %0, ptr %1) {
  ret i32 0
}
define internal i32 @net_add_1_compute_(ptr %x) {
  %1 = call i32 @TVMBackendParallelLaunch(ptr @__tvm_parallel_lambda.3, ptr %x, i32 0)
  ret i32 %1
}
define private i32 @__tvm_parallel_lambda.3(i32 %task_id, ptr %0, ptr %1) {
  ret i32 1
}
"""

CODE_OF_A_SUM = """\
target triple = "aarch64"
define internal i32 @net_sum_compute_(ptr %weights, ptr %output) {{
entry:
  br label %loop
loop:
  %place = phi i64 [ 0, %entry ], [ %next, %loop ]
  %sum = phi <4 x float> [ zeroinitializer, %entry ], [ %added, %loop ]
  %from = getelementptr inbounds <4 x float>, ptr %weights, i64 %place
  %value = load <4 x float>, ptr %from, align 16
  %added = fadd <4 x float> %sum, %value
  %next = add nuw nsw i64 %place, 1
  %last = icmp eq i64 %next, {vectors}
  br i1 %last, label %end, label %loop
end:
  store <4 x float> %added, ptr %output, align 16
  ret i32 0
}}
"""


def modelled_layer(seconds: float, flop: int, moved_bytes: int = 1000) -> ModelledLayer:
    return ModelledLayer(
        name="conv",
        function="f",
        flop=flop,
        moved_bytes=moved_bytes,
        is_tuned=True,
        seconds=seconds,
        waiting_s=seconds / 4,
    )


def exactly(value: float) -> Ceiling:
    return Ceiling(value=value, low=value, high=value)


def latency(
    *layers: ModelledLayer, model: str = "mobilenet_v2", target: str = "pixel1", threads: int = 1
) -> ModelledLatency:
    return ModelledLatency(
        model=model,
        target=target,
        title="Pixel 1",
        core="Kryo",
        bundle_id="0",
        modelled_at="2026-01-02T03:04:05Z",
        threads=threads,
        clock_mhz=2150,
        layers=layers,
        seconds=0.08,
        low_s=0.06,
        high_s=0.1,
        roofline=Roofline(
            flop_per_s=exactly(10 * GIGA),
            one_thread_flop_per_s=exactly(10 * GIGA),
            bytes_per_s=(MemoryCeiling(value=GIGA, low=GIGA, high=GIGA, footprint_bytes=0),),
        ),
    )


def test_a_network_is_split_into_its_kernels_each_with_its_parallel_loop() -> None:
    kernels = split_kernels(CODE_OF_TWO)
    assert list(kernels) == ["net_add", "net_add_1"]
    assert "@__tvm_parallel_lambda.3(i32" in kernels["net_add_1"]
    assert "@__tvm_parallel_lambda(i32" not in kernels["net_add_1"]
    assert "@__tvm_parallel_lambda.3" not in kernels["net_add"]
    for text in kernels.values():
        assert text.startswith('target triple = "aarch64"\ndeclare float @expf')


def test_a_layer_far_from_both_ceilings_is_bound_by_latency() -> None:
    computing = modelled_layer(1e-3, flop=10**7 // 2)
    moving = modelled_layer(1e-3, flop=0, moved_bytes=10**6 // 2)
    waiting = modelled_layer(1e-3, flop=10**6)
    found = latency(computing, moving, waiting)
    assert [found.bound_by(one) for one in found.layers] == ["compute", "memory", "latency"]
    without = msgspec.structs.replace(found, roofline=None)
    assert without.bound_by(computing) is None


def test_the_roofline_follows_from_the_profile() -> None:
    profile = load_target_profile("rasp4b", TARGETS)
    roofline = profile_roofline(profile, 2, cache_bytes_per_s=64e9)
    assert roofline is not None
    assert roofline.flop_per_s.value == 2 * 1.5e9 * 8
    assert roofline.one_thread_flop_per_s.value == 1.5e9 * 8
    assert roofline.memory_ceiling(10**6).value == 64e9
    assert roofline.memory_ceiling(10**7).value == profile.memory_bytes_per_s
    unknown = msgspec.structs.replace(profile, memory_bytes_per_s=0)
    assert profile_roofline(unknown, 2, cache_bytes_per_s=64e9) is None


def test_an_estimate_stands_beside_what_was_published_of_that_very_board() -> None:
    papers, boards = load_papers(), load_board_latencies()
    found = published_of(latency(), papers, boards)
    latencies = {round(one.latency_s * 1e3) for one in found}
    assert {75, 49} <= latencies  # the paper's TF-Lite of 2018, and XNNPACK of 2020
    assert {one.threads for one in found} == {1}
    devices = load_devices()
    assert {target for one in found for target in devices[one.device].targets} == {"pixel1"}
    two = published_of(latency(threads=2), papers, boards)
    assert {round(one.latency_s * 1e3) for one in two} == {26}
    rasp4b = msgspec.structs.replace(latency(target="rasp4b", threads=4), core="Cortex-A72")
    ncnn = [one for one in published_of(rasp4b, papers, boards) if one.runtime.startswith("ncnn")]
    assert 0.07262 in {one.latency_s for one in ncnn}  # of cores without half precision
    newer = msgspec.structs.replace(rasp4b, core="Cortex-A76")
    assert not [one for one in published_of(newer, papers, boards) if "ncnn" in one.runtime]
    assert published_of(latency(target="hikey960"), papers, boards) == []


def test_the_comparison_says_whether_the_published_latency_lies_within_the_band(
    project: DataFolders, invoke: Invoke
) -> None:
    for model, target in (("mobilenet_v2", "pixel1"), ("alexnet", "hikey960")):
        plant_bundle(project, make_run(model, 0.01, target=f"{target}.modelled"))
        bundle = project.bundles / f"{target}.modelled" / model
        for run in (bundle / "runs").iterdir():
            run.unlink()
        write_modelled(latency(model=model, target=target), bundle)
    found = [(one.published, one.is_within_band) for one in gather(project, "pixel1").modelled]
    within_band = {published.latency_s: within for published, within in found if published}
    assert within_band[0.075]
    assert not within_band[0.049]
    rows = modelled_rows(gather(project))
    assert [row["Within band"] for row in rows if row["Model"] == "alexnet"] == [NOTHING]
    outcome = invoke(compare, "--target", "pixel1")
    assert outcome.exit_code == 0, outcome.stderr
    assert "80.0 ms [60.0, 100]" in outcome.stdout
    assert "Modelled, not measured" in outcome.stdout


def test_a_measured_bundle_comes_before_a_modelled_one(project: DataFolders) -> None:
    for target in ("rasp4b", "rasp4b.modelled"):
        plant_bundle(project, make_run("net", 0.01, target=target))
    plant_bundle(project, make_run("other", 0.01, target="rasp4b.modelled"))
    (evidence,) = read_evidence(project, "rasp4b")
    networks = evidence.networks
    assert {name: len(one.runs) for name, one in networks.items()} == {"net": 1, "other": 1}
    assert networks["net"].runs[0].target == "rasp4b"
    assert compare_modelled([evidence], [], []) == ()


def test_the_newest_estimate_counts_and_one_of_another_version_is_refused(tmp_path: Path) -> None:
    assert latest_modelled(tmp_path) is None
    older, newer = latency(), msgspec.structs.replace(latency(), modelled_at="2026-01-03T00:00:00Z")
    for one in (newer, older):
        path = write_modelled(one, tmp_path)
    assert latest_modelled(tmp_path) == newer
    path.with_name("20270101T000000Z.json").write_text('{"cycles": 1}')
    with pytest.raises(UsageError, match="is no estimate of this edgetvm"):
        latest_modelled(tmp_path)


def test_a_bundle_without_code_is_refused(project: DataFolders) -> None:
    manifest = plant_bundle(project, make_run("net", 0.01, target="rasp4b"))
    profile = load_target_profile("rasp4b", TARGETS)
    bundle = project.bundles / "rasp4b" / "net"
    with pytest.raises(UsageError, match=f"{CODE} is missing: build the bundle again"):
        model_bundle(bundle, manifest, profile)
    gpu = msgspec.structs.replace(manifest, tvm_target="opencl -device=mali")
    with pytest.raises(UsageError, match="a cycle model knows CPUs only"):
        model_bundle(bundle, gpu, profile)


@pytest.mark.parametrize("of_cache", [0.5, 1.5, 4])
def test_weights_come_from_memory_once(of_cache: float, project: DataFolders) -> None:
    """Whether the cache could hold them all between two runs, a part or none."""
    profile = load_target_profile("rasp4b", TARGETS)
    weight_bytes = int(of_cache * profile.cluster.l2_bytes)
    code = CODE_OF_A_SUM.format(vectors=weight_bytes // 16)
    layer = LayerWork(
        name="sum",
        function="net_sum",
        flop=weight_bytes // 4,
        moved_bytes=weight_bytes,
        weight_bytes=weight_bytes,
        is_tuned=True,
    )
    other = msgspec.structs.replace(layer, weight_bytes=profile.cluster.l2_bytes)
    alone, in_network = (
        estimate_bundle(project, code, profile, *layers) for layers in ((layer,), (layer, other))
    )
    model = CycleModel(profile, threads=1)
    (kernel,) = model.estimate([split_kernels(code)["net_sum"]])
    hz = kernel.clock_mhz * 1e6
    cached_s = (kernel.cycles - kernel.memory) / hz
    fetched_s = weight_bytes / profile.cache_line_bytes * model.core.memory_line / hz
    assert in_network.layers[0].seconds == pytest.approx(cached_s + fetched_s, rel=1e-3)
    kept_s = cached_s if of_cache < 1 else cached_s + fetched_s
    assert alone.layers[0].seconds == pytest.approx(kept_s, rel=1e-3)


def estimate_bundle(
    project: DataFolders, code: str, profile: TargetProfile, *layers: LayerWork
) -> ModelledLatency:
    manifest = plant_bundle(project, make_run("net", 0.01, target="rasp4b"), layers=layers)
    bundle = project.bundles / "rasp4b" / "net"
    (bundle / CODE).write_bytes(lzma.compress(code.encode()))
    return model_bundle(bundle, manifest, profile, threads=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "is no device that tells what it is: give --target"),
        (("--target", "rasp4b", "--together"), "leave out --token and --together"),
        (("--target", "rasp4b", "--token", "x"), "leave out --token and --together"),
        (("--target", "pixel1"), "No bundle for the target 'pixel1'"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    arguments: tuple[str, ...], said: str, project: DataFolders, invoke: Invoke
) -> None:
    plant_bundle(project, make_run("net", 0.01, target="rasp4b"))
    outcome = invoke(deploy, "net", "--rpc", "modelled", *arguments)
    assert outcome.exit_code == 2
    assert said in outcome.error


def test_only_tune_and_deploy_take_a_model(project: DataFolders, invoke: Invoke) -> None:
    outcome = invoke(profile, "net", "--rpc", "modelled")
    assert outcome.exit_code == 2
    assert "only tune and deploy take it" in outcome.error


def test_the_model_goes_by_the_cores_that_are_named() -> None:
    profile = load_target_profile("pixel1", TARGETS)
    assert profile.on_cores("").cluster.name == "big"
    assert profile.on_cores("LITTLE").cluster.clock_mhz == 1600
    with pytest.raises(UsageError, match="pixel1 has no cores 'small'"):
        profile.on_cores("small")


def test_a_model_stands_for_a_board_that_nobody_named() -> None:
    board = load_target_profile("rasp4b", TARGETS)
    asked = TuneOptions(model="net", target="rasp4b")
    assert needs_model(asked, board, "x86_64")
    assert not needs_model(asked, board, "aarch64")
    assert not needs_model(msgspec.structs.replace(asked, rpc="192.168.1.20"), board, "x86_64")
    assert not needs_model(msgspec.structs.replace(asked, tracker="host:9190"), board, "x86_64")
    for other in ("mali_g610", "rasp3b_32"):
        assert not needs_model(asked, load_target_profile(other, TARGETS), "x86_64")


@pytest.mark.slow
def test_a_bundle_is_estimated_layer_by_layer(project: DataFolders, invoke: Invoke) -> None:
    built = invoke(
        tune,
        TINY,
        "--input-shape",
        TINY_SHAPE,
        "--target",
        "host",
        "--trials",
        "0",
        "--threads",
        "1",
    )
    assert built.exit_code == 0, built.stderr
    asked = ("--target", "host", "--rpc", "modelled")
    outcome = invoke(deploy, *asked, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    (found,) = json.loads(outcome.stdout)
    (bundle,) = next(project.bundles.iterdir()).iterdir()
    manifest = read_manifest(bundle)
    assert [one["function"] for one in found["layers"]] == [one.function for one in manifest.layers]
    assert all(one["seconds"] > 0 for one in found["layers"])
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in found["layers"]))
    assert found["low_s"] < found["seconds"] < found["high_s"]
    kept = latest_modelled(bundle)
    assert kept is not None
    assert kept.seconds == found["seconds"]
    shown = invoke(deploy, *asked)
    assert "nothing was measured" in shown.stdout
    assert manifest.layers[0].name.partition("+")[0] in shown.stdout
