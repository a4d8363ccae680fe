"""Published latencies of boards, and how near a published device is to ours."""

from pathlib import Path

import msgspec
import pytest

from edgetvm.device_info import DeviceInfo
from edgetvm.errors import UsageError
from edgetvm.host_cpu import Cluster
from edgetvm.measurement import Run
from edgetvm.opencl_device import OpenCLDevice
from edgetvm.paper.boards import BOARD_LATENCIES, compare_boards, load_board_latencies
from edgetvm.paper.comparison import Comparison
from edgetvm.paper.devices import load_devices, match_device
from edgetvm.paper.evidence import NetworkEvidence, TargetEvidence
from edgetvm.paper.figures import load_papers
from edgetvm.paper.table import board_rows
from edgetvm.recipe import Precision, load_recipes
from edgetvm.target_profile import load_target_profile
from tests.planted import device_info
from tests.test_comparison import make_run

ROOT = Path(__file__).parent.parent
ROWS = load_board_latencies()
DEVICES = load_devices()
PI_4 = "RPi 4 (BCM2711, Ubuntu64)"

CSV = """\
model,printed_as,input_resolution,precision,device,threads,runtime,version,latency_ms,source
net,Net,224,float32,A board,4,ncnn,1.0,12.5,a README
"""


def described(*clusters: tuple[str, tuple[int, ...]], board: str = "") -> DeviceInfo:
    kinds = tuple(
        Cluster(name=f"{core}{cpus}", core=core, cpus=cpus, max_clock_mhz=0)
        for core, cpus in clusters
    )
    return msgspec.structs.replace(device_info("A CPU"), clusters=kinds, board=board)


def run_on(target: str, device: DeviceInfo, model: str = "net", **changes: object) -> Run:
    return make_run(model, 0.0125, target=target, device=device, **changes)


def evidence(run: Run, precision: Precision = "float32") -> TargetEvidence:
    network = NetworkEvidence(
        model=run.model,
        parameters=1,
        multiply_adds=1,
        library_bytes=1,
        precision=precision,
        runs=(run,),
    )
    return TargetEvidence(target=run.target, argument=run.target, networks={run.model: network})


def test_every_row_is_of_a_network_that_we_build_at_nearly_its_input() -> None:
    recipes = load_recipes(ROOT / "compile")
    for row in ROWS:
        built = recipes[row.model].input_shape[-1]
        # The SqueezeNets are timed at 224 and 227, as their papers leave it open.
        assert abs(built - row.input_resolution) in {0, 3}, row
    assert len(ROWS) > 200


def test_every_device_is_printed_somewhere_and_has_profiles_of_its_core() -> None:
    figures = {row.device for paper in load_papers() for row in paper.figures}
    printed = figures | {row.device for row in ROWS}
    assert set(DEVICES) <= printed
    for device in DEVICES.values():
        for target in device.targets:
            profile = load_target_profile(target, ROOT / "targets")
            assert profile.gpu is not None or any(
                cluster.core == device.core for cluster in profile.clusters
            )


@pytest.mark.parametrize(
    ("target", "device", "match"),
    [
        ("rasp4b", described(("Cortex-A72", (0, 1, 2, 3))), "same board"),
        ("rasp4b", described(("", (0, 1, 2, 3))), "same board"),  # the kernel tells no core
        (
            "cortex_a72",
            described(("Cortex-A72", (0,)), board="Raspberry Pi 4 Model B Rev 1.4"),
            "same board",
        ),
        ("cortex_a72", described(("Cortex-A72", (0,))), "same core"),
        ("rk3399", described(("Cortex-A72", (4, 5)), ("Cortex-A53", (0,))), "same core"),
        ("cortex_a53", described(("Cortex-A53", (0,))), "other device"),
        ("znver4", described(("", (0,))), "other device"),
    ],
)
def test_a_device_is_the_same_board_or_core_or_another(target, device, match) -> None:
    assert match_device(PI_4, run_on(target, device)) == match


def test_the_cores_are_those_that_ran_it() -> None:
    device = described(("Cortex-A72", (4, 5)), ("Cortex-A53", (0, 1, 2, 3)))
    assert match_device(PI_4, run_on("rk3399", device, cpus="4,5")) == "same core"
    assert match_device(PI_4, run_on("rk3399", device, cpus="0,1")) == "other device"


def test_an_x86_core_is_known_by_its_target_and_an_unknown_device_is_another() -> None:
    assert match_device("AMD Ryzen V1605B", run_on("znver1", described(("", (0,))))) == "same core"
    assert match_device("An abacus", run_on("rasp4b", described())) == "other device"


def test_a_gpu_is_the_same_only_as_the_target_of_its_board() -> None:
    gpu = OpenCLDevice(
        platform="ARM Platform",
        name="Mali-T860",
        driver="1",
        version="OpenCL 1.2",
        extensions=(),
        is_gpu=True,
        clock_mhz=0,
        memory_bytes=0,
        compute_units=4,
        max_threads=256,
        local_memory_bytes=32768,
    )
    device = described(("Cortex-A72", (4, 5)), board="Radxa ROCK 5B").with_opencl(gpu)
    run = run_on("mali_t860", device, "mobilenet_v1")
    assert match_device("Firefly RK3399 Mali-T860MP4", run) == "same board"
    assert match_device("Firefly RK3399 (2xA72 1.8GHz)", run) == "other device"
    assert match_device("Rock 5B RK3588 (4xA76)", run) == "other device"
    assert {one.published.device for one in compare_boards([evidence(run)], ROWS)} == {
        "Firefly RK3399 Mali-T860MP4"
    }


def test_rows_join_with_as_many_threads_in_float32_the_nearest_first() -> None:
    device = described(("Cortex-A72", (0, 1, 2, 3)))
    run = run_on("rasp4b", device, "mobilenet_v1", threads=4)
    joined = compare_boards([evidence(run)], ROWS)
    assert {one.published.threads for one in joined} == {4}
    assert {one.published.precision for one in joined} == {"float32"}
    assert {one.published.model for one in joined} == {"mobilenet_v1"}
    matches = [one.match for one in joined]
    assert matches == sorted(matches, key=["same board", "same core", "other device"].index)
    assert joined[0].published.device == PI_4
    assert joined[0].ours.value == pytest.approx(0.0125)
    assert (
        compare_boards([evidence(run_on("rasp4b", device, "mobilenet_v1", threads=3))], ROWS) == ()
    )


def test_rows_of_another_precision_do_not_join() -> None:
    published = msgspec.structs.replace(ROWS[0], model="net", precision="float16", threads=1)
    run = run_on("rasp4b", described())
    assert compare_boards([evidence(run)], [published]) == ()
    [joined] = compare_boards([evidence(run, "float16")], [published])
    assert joined.published == published


def test_board_rows_show_both_latencies_and_the_source() -> None:
    run = run_on("rasp4b", described(("Cortex-A72", (0,))), "mobilenet_v1", threads=4)
    rows = board_rows(Comparison(models=(), pairs=(), boards=compare_boards([evidence(run)], ROWS)))
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["Beside ours"] == "same board"
    assert rows[0]["Latency"].endswith(" ms")
    assert rows[0]["Our latency"].startswith("12.5 ms (")
    assert rows[0]["Our device"] == "A CPU (rasp4b)"
    assert all(row["Source"] for row in rows)


def test_rows_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "latencies.csv"
    path.write_text(CSV.replace(",4,", ",,"))
    [row] = load_board_latencies(path)
    assert (row.model, row.threads, row.latency_ms, row.version) == ("net", None, 12.5, "1.0")


@pytest.mark.parametrize(
    ("sound", "faulty", "reason"),
    [
        ("12.5", "fast", "latency_ms"),
        ("12.5", "-1", "latency_ms"),
        ("float32", "fp32", "precision"),
        (",4,", ",0,", "threads"),
        ("a README", "", "source"),
        ("a README", "a README,more", "Columns: model"),
        ("printed_as", "printed", "printed"),
    ],
)
def test_faulty_row_is_refused_with_its_line(tmp_path: Path, sound, faulty, reason) -> None:
    path = tmp_path / "latencies.csv"
    assert sound in CSV
    path.write_text(CSV.replace(sound, faulty))
    with pytest.raises(UsageError, match=reason) as caught:
        load_board_latencies(path)
    assert f"{path}, line 2" in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.csv cannot be read"):
        load_board_latencies(tmp_path / "absent.csv")


def test_devices_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text('[[device]]\nprinted = ["A"]\n\n[[device]]\nprinted = ["A"]\n')
    with pytest.raises(UsageError, match=r"devices\.toml: 'A' stands twice"):
        load_devices(path)
    path.write_text('[[device]]\nprinted = ["A"]\ncores = "B"\n')
    with pytest.raises(UsageError, match="cores"):
        load_devices(path)


def test_board_latencies_are_not_those_of_the_figures() -> None:
    assert BOARD_LATENCIES.is_file()
    assert not [row for row in ROWS if "research/slim" in row.source]
