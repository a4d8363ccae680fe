"""The cycle model: what it counts is what the code does, and better schedules look better."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.stages.cycles.access_trace import footprint_lines, trace_accesses
from edgetvm.stages.cycles.cache_simulation import HIT, MISS, STREAM, simulate
from edgetvm.stages.cycles.core import load_core
from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.cycles.execution import execute
from edgetvm.stages.cycles.extra_cycles import extra_cycles
from edgetvm.stages.cycles.ir_function import parse_functions
from edgetvm.stages.cycles.kernel_code import combine
from edgetvm.stages.cycles.llvm_tools import run_llvm
from edgetvm.stages.cycles.loops import find_loops
from edgetvm.stages.cycles.machine_code import machine_blocks
from edgetvm.stages.cycles.regions import find_regions
from edgetvm.stages.cycles.throughput import Throughputs
from edgetvm.stages.tune.candidate_build import BuiltCandidate, build_candidate
from edgetvm.stages.tune.candidate_modelling import ModelTimer
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.target_profile import list_target_profiles, load_target_profile
from edgetvm.tuning_options import MODELLED_ARCHITECTURES
from tests.test_register_tiling import task, tiling_conv

TARGETS = Path(__file__).parents[1] / "targets"
X86 = "llvm -mcpu=znver4 -mattr=-prefer-256-bit"
ARM = "llvm -keys=cpu -mtriple=aarch64-linux-gnu -mcpu=cortex-a72"
LANES = {"x": 4, "y": 8, "z": 16}

PADDED = """
define void @kernel_0.padded_compute_(ptr %input, ptr %output) {
entry:
  br label %row
row:
  %y = phi i64 [ 0, %entry ], [ %y.next, %row.end ]
  br label %column
column:
  %x = phi i64 [ 0, %row ], [ %x.next, %column.end ]
  %first = icmp eq i64 %x, 0
  br i1 %first, label %column.end, label %inside
inside:
  %left = add nsw i64 %x, -1
  %line = mul nuw nsw i64 %y, 40
  %index = add nsw i64 %line, %left
  %from = getelementptr inbounds float, ptr %input, i64 %index
  %value = load float, ptr %from, align 4
  br label %column.end
column.end:
  %result = phi float [ %value, %inside ], [ 0.0, %column ]
  %place = mul nuw nsw i64 %y, 160
  %row.at = getelementptr inbounds i8, ptr %output, i64 %place
  %to = getelementptr inbounds [40 x float], ptr %row.at, i64 0, i64 %x
  store float %result, ptr %to, align 4
  %x.next = add nuw nsw i64 %x, 1
  %last.x = icmp eq i64 %x.next, 40
  br i1 %last.x, label %row.end, label %column
row.end:
  %y.next = add nuw nsw i64 %y, 1
  %last.y = icmp eq i64 %y.next, 25
  br i1 %last.y, label %end, label %row
end:
  ret void
}
"""


def kernel(target: str, size: int, inputs: int, outputs: int, place: int, folder: Path) -> str:
    """LLVM IR of a convolution's schedule, one of those that are laid out for it."""
    search_task = task(tiling_conv, size, inputs, outputs, 1, 1, target=target)
    states = list(tiled_states(search_task))
    return compiled(auto_scheduler.MeasureInput(search_task, states[place]), folder)


def compiled(candidate: auto_scheduler.MeasureInput, folder: Path) -> str:
    path = folder / "kernel.ll"
    error_no, error, _, _ = build_candidate((candidate.serialize(), str(path)))
    assert error_no == MeasureErrorNo.NO_ERROR, error
    return path.read_text()


def products(text: str, options: list[str], threads: int) -> float:
    """Multiply-adds that the regions of a kernel count."""
    module = combine([text])
    loops, functions = find_loops(module, threads), parse_functions(module)
    total = 0.0
    for name, blocks in machine_blocks(module, options).items():
        runs = execute(functions[name], loops[name], threads)
        for region in find_regions(blocks, runs, loops[name]):
            total += region.count * sum(map(lanes_of_product, region.instructions))
    return total


def lanes_of_product(instruction: str) -> int:
    if found := re.match(r"vfmadd\w+ps .*%([xyz])mm\d+$", instruction):
        return LANES[found[1]]
    return 4 if instruction.startswith("fmla v") else 0


@pytest.mark.parametrize(
    ("target", "options"),
    [(X86, ["-mcpu=znver4", "-mattr=-prefer-256-bit"]), (ARM, ["-mcpu=cortex-a72"])],
)
@pytest.mark.parametrize("place", [0, 7])
def test_the_code_of_a_convolution_counts_each_of_its_multiply_adds(
    target: str, options: list[str], place: int, tmp_path: Path
) -> None:
    text = kernel(target, 14, 32, 64, place, tmp_path)
    assert products(text, options, threads=1) == 14 * 14 * 32 * 64


def test_the_busiest_of_two_threads_has_half_of_the_work(tmp_path: Path) -> None:
    text = kernel(X86, 14, 32, 64, 0, tmp_path)
    alone, busiest = (products(text, ["-mcpu=znver4"], threads) for threads in (1, 2))
    assert alone / 2 <= busiest < alone


def test_blocks_under_conditions_count_as_often_as_the_condition_holds() -> None:
    loops = find_loops(PADDED, threads=1)["kernel_0.padded_compute_"]
    runs = execute(parse_functions(PADDED)["kernel_0.padded_compute_"], loops, threads=1)
    assert [loop.trips for loop in loops] == [25, 40]
    assert runs["column"].count == runs["column.end"].count == 1000
    assert runs["row.end"].count == 25
    assert runs["end"].count == 1
    assert runs["inside"].count == pytest.approx(975, rel=0.01)


def test_the_trace_is_the_accesses_in_their_order() -> None:
    loops = find_loops(PADDED, threads=1)["kernel_0.padded_compute_"]
    runs = execute(parse_functions(PADDED)["kernel_0.padded_compute_"], loops, threads=1)
    trace = trace_accesses(runs, loops, 64)
    reads, writes = trace.addresses[::2], trace.addresses[1::2]
    assert list(reads) == [4 * (40 * y + x - 1) for y in range(25) for x in range(40)]
    assert list(writes - writes[0]) == [4 * place for place in range(1000)]
    assert set(trace.weights) == {1.0}
    assert footprint_lines(runs, loops, 64) == 2 * 4000 / 64


COPIED = """
define void @kernel_0.copied_compute_(ptr %input, ptr %output) {
entry:
  call void @llvm.memset.p0.i64(ptr align 64 %output, i8 0, i64 640, i1 false)
  %rest = getelementptr inbounds i8, ptr %output, i64 640
  call void @llvm.memcpy.p0.p0.i64(ptr nonnull align 4 %rest, ptr %input, i64 1280, i1 false)
  ret void
}
"""


def test_what_is_copied_is_read_and_written() -> None:
    (function,) = parse_functions(COPIED).values()
    accesses = execute(function, [], threads=1)["entry"].accesses
    assert [(one.base, one.offset, one.size_bytes) for one in accesses] == [
        ("%output", 0, 640),
        ("%output", 640, 1280),
        ("%input", 0, 1280),
    ]


def test_threads_share_the_second_level_cache_where_the_cores_do() -> None:
    def bytes_per_s(target: str, threads: int) -> float:
        return CycleModel(load_target_profile(target, TARGETS), threads).cache_bytes_per_s

    assert bytes_per_s("rasp4b", 4) == bytes_per_s("rasp4b", 1) == 64 * 1.5e9 / 4
    assert bytes_per_s("rasp5", 4) == 4 * bytes_per_s("rasp5", 1)


def test_a_simulated_cache_evicts_what_was_not_used_for_longest() -> None:
    draw = random.Random(0)
    lines = [draw.choice([draw.randrange(60), draw.randrange(600)]) for _ in range(5000)]
    sets: list[list[int]] = [[] for _ in range(8)]
    expected = []
    for line in lines:
        own, before = sets[line % 8], sets[(line - 1) % 8]
        expected.append(HIT if line in own else STREAM if line - 1 in before else MISS)
        if line in own:
            own.remove(line)
        own.append(line)
        del own[:-4]
    assert list(simulate(np.array(lines), 8, 4)) == expected
    assert set(expected) == {HIT, STREAM, MISS}


def test_a_region_is_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    region = ("vaddps %ymm1, %ymm2, %ymm2", "jne .LBB0_1")
    throughputs = Throughputs(["-mcpu=znver4"])
    throughputs.simulate([region])
    monkeypatch.delattr("edgetvm.stages.cycles.throughput.run_llvm")
    throughputs.simulate([region])
    # Each addition waits three cycles for the one before; the unit could begin one each cycle.
    assert throughputs.of(region).repeated == pytest.approx(3, abs=0.2)
    assert throughputs.of(region).busiest <= 1


def test_an_instruction_that_llvm_has_wrong_is_simulated_as_another() -> None:
    region = tuple(f"vbroadcastss {4 * i}(%rax), %zmm{i}" for i in range(12))
    rewrites = [(one.pattern, one.simulated_as) for one in load_core("znver4").rewrites]
    plain, corrected = Throughputs(["-mcpu=znver4"]), Throughputs(["-mcpu=znver4"], rewrites)
    for one in (plain, corrected):
        one.simulate([region])
    assert corrected.of(region).busiest < plain.of(region).busiest


def test_gathers_scatters_and_calls_cost_besides() -> None:
    core = load_core("znver4")
    for instruction, cycles in {
        "vgatherqps (%r12,%zmm20,4), %ymm23 {%k1}": 8 * core.gathered,
        "vscatterdps %zmm23, (%r12,%zmm21,4) {%k1}": 16 * core.scattered,
        "callq expf@PLT": core.call,
        "bl expf": core.call,
        "b memcpy": core.call,
        "b .LBB0_3": 0,
        "vmovups (%r10), %zmm7 {%k1} {z}": 0,
        "vaddps %zmm1, %zmm2, %zmm3": 0,
    }.items():
        assert extra_cycles((instruction,), core) == cycles, instruction


def test_a_core_without_numbers_of_its_own_takes_the_usual_ones() -> None:
    assert load_core("cortex-x99") == load_core("generic") != load_core("cortex-a72")


@pytest.mark.parametrize("name", ["rasp4b", "rasp3b", "pixel1", "rasp5", "x86_64_avx512"])
def test_a_laid_out_schedule_is_estimated_faster_than_the_plain_one(
    name: str, tmp_path: Path
) -> None:
    profile = load_target_profile(name, TARGETS)
    search_task = task(tiling_conv, 14, 32, 64, 1, 1, target=profile.tvm_target)
    plain = auto_scheduler.MeasureInput(search_task, search_task.compute_dag.init_state)
    laid_out = auto_scheduler.MeasureInput(search_task, next(iter(tiled_states(search_task))))
    texts = [compiled(one, tmp_path) for one in (plain, laid_out)]
    slow, fast = CycleModel(profile, 1).estimate(texts)
    assert fast.seconds < slow.seconds
    peak_s = (
        2 * 14 * 14 * 32 * 64 / (profile.cluster.peak_flop_per_s / profile.cluster.count or 1e15)
    )
    assert fast.seconds > peak_s


@pytest.mark.parametrize("name", list_target_profiles(TARGETS))
def test_llvm_describes_the_pipeline_of_every_64_bit_core(name: str) -> None:
    profile = load_target_profile(name, TARGETS)
    if profile.gpu is not None or profile.arch not in MODELLED_ARCHITECTURES:
        pytest.skip("has no cycle model")
    addition = "addq %rax, %rax" if profile.arch == "x86_64" else "add x0, x0, x0"
    throughputs = CycleModel(profile, 1).throughputs
    throughputs.simulate([(addition,)])
    assert 1 <= throughputs.of((addition,)).repeated < 2.1  # Kryo takes two cycles, others one


def test_a_kernel_that_the_tools_refuse_fails_alone(tmp_path: Path) -> None:
    texts = [
        kernel(X86, 7, 16, 32, 0, tmp_path),
        "; no kernel",
        "define void @f_compute_() {\nx\n}\n",
    ]
    paths = [tmp_path / f"{place}.ll" for place in range(3)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    failed = BuiltCandidate(None, error_no=MeasureErrorNo.BUILD_TIMEOUT, error="too long")
    model = CycleModel(load_target_profile("x86_64_avx512", TARGETS), 1)
    built = [failed, *map(BuiltCandidate, paths)]
    outcomes = list(ModelTimer(model).time(built, None))
    assert outcomes[0] == ([], MeasureErrorNo.BUILD_TIMEOUT, "too long")
    assert outcomes[1][0][0] > 0
    for costs, error_no, error in outcomes[2:]:
        assert (costs, error_no) == ([], MeasureErrorNo.COMPILE_DEVICE)
        assert error
    assert not any(path.exists() for path in paths)


def test_what_a_tool_refuses_is_quoted() -> None:
    with pytest.raises(CompileError, match=r"LLVM's opt failed: .*expected top-level entity"):
        run_llvm("opt", ["-S"], "nonsense")
