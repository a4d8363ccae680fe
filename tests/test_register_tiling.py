"""Schedules laid out for the registers: which tiles, and of which tasks."""

import pytest
import tvm
from tvm import auto_scheduler, te, topi

from edgetvm.stages.tune.loop_nest import LoopNest
from edgetvm.stages.tune.register_tiling import VECTOR_REGISTERS, tiled_states, tilings
from edgetvm.stages.tune.tiling import schedule_tiling

AVX512 = auto_scheduler.HardwareParams(2, 64, 64, target=tvm.target.Target("llvm"))


@auto_scheduler.register_workload
def tiling_conv(size: int, inputs: int, outputs: int, kernel: int, groups: int):  # type: ignore[no-untyped-def]
    data = te.placeholder((1, size, size, inputs), name="data")
    weight = te.placeholder((kernel, kernel, inputs // groups, outputs), name="weight")
    padding = kernel // 2
    if groups == 1:
        conv = topi.nn.conv2d_nhwc(data, weight, 1, padding, 1)
    else:
        conv = topi.nn.group_conv2d_nhwc(data, weight, 1, padding, 1, groups)
    return [data, weight, topi.nn.relu(conv)]


@auto_scheduler.register_workload
def tiling_depthwise(size: int, channels: int):  # type: ignore[no-untyped-def]
    data = te.placeholder((1, size, size, channels), name="data")
    weight = te.placeholder((3, 3, channels, 1), name="weight")
    return [data, weight, topi.nn.depthwise_conv2d_nhwc(data, weight, 1, 1, 1)]


@auto_scheduler.register_workload
def tiling_softmax(size: int):  # type: ignore[no-untyped-def]
    data = te.placeholder((4, size), name="data")
    return [data, topi.nn.softmax(data)]


def task(function: object, *args: int, target: str = "llvm") -> auto_scheduler.SearchTask:
    return auto_scheduler.SearchTask(
        func=function, args=args, target=target, hardware_params=AVX512
    )


def nest_of(function: object, *args: int) -> LoopNest:
    nest = LoopNest.of(task(function, *args).compute_dag)
    assert nest is not None
    return nest


def test_a_pointwise_convolution_has_no_padding_and_sums_channels() -> None:
    nest = nest_of(tiling_conv, 14, 96, 64, 1, 1)
    assert nest.spatial_extents == (1, 14, 14, 64)
    assert nest.tap_extents == (1, 1, 96)
    assert nest.padding is None
    assert nest.sums_channels
    assert nest.channel_run == 64


def test_a_grouped_convolution_reads_the_same_inputs_within_a_group() -> None:
    nest = nest_of(tiling_conv, 14, 96, 60, 1, 3)
    assert nest.sums_channels
    assert nest.channel_run == 20


def test_a_depthwise_convolution_is_padded_and_keeps_channels_apart() -> None:
    nest = nest_of(tiling_depthwise, 14, 64)
    assert nest.padding is not None
    assert not nest.sums_channels
    assert nest.target == nest.reduction


def test_two_reductions_are_not_laid_out() -> None:
    assert LoopNest.of(task(tiling_softmax, 16).compute_dag) is None
    assert not list(tiled_states(task(tiling_softmax, 16)))


def test_only_cpus_get_register_tiles() -> None:
    assert not list(tiled_states(task(tiling_depthwise, 14, 64, target="opencl -device=mali")))


@pytest.mark.parametrize(
    "args", [(14, 96, 64, 1, 1), (13, 48, 24, 3, 1), (7, 96, 60, 1, 3), (1, 64, 1000, 1, 1)]
)
def test_tiles_divide_the_shape_and_fit_the_registers(args: tuple[int, ...]) -> None:
    nest = nest_of(tiling_conv, *args)
    found = tilings(nest, AVX512)
    assert found
    for tile in found:
        assert tile.accumulators < VECTOR_REGISTERS[64]
        assert nest.rows % (tile.rows * tile.row_blocks) == 0
        assert nest.columns % tile.columns == 0
        assert nest.channels % (tile.vectors * tile.lanes * tile.channel_blocks) == 0
        assert nest.channel_run % (tile.vectors * tile.lanes) == 0


def test_the_likely_best_tile_comes_first() -> None:
    (first, *_) = tilings(nest_of(tiling_conv, 14, 96, 576, 1, 1), AVX512)
    assert first.lanes == 16
    assert first.accumulators >= 14


def test_the_parallel_loop_shares_the_work_evenly() -> None:
    (first, *_) = tilings(nest_of(tiling_conv, 14, 96, 48, 1, 1), AVX512)
    assert first.row_blocks * first.channel_blocks % int(AVX512.num_cores) == 0


@pytest.mark.parametrize(("size", "threads", "expected"), [(7, 2, 3), (7, 1, 0), (112, 2, 0)])
def test_small_tasks_are_also_tried_on_one_thread(size: int, threads: int, expected: int) -> None:
    hardware = auto_scheduler.HardwareParams(threads, 64, 64, target=tvm.target.Target("llvm"))
    nest = nest_of(tiling_depthwise, size, 96)
    serial = [tiling for tiling in tilings(nest, hardware) if not tiling.is_parallel]
    assert len(serial) == expected
    assert not any("parallel" in str(schedule_tiling(nest, tiling)) for tiling in serial)


def test_every_schedule_says_where_the_padding_goes() -> None:
    states = [str(state) for state in tiled_states(task(tiling_conv, 14, 16, 32, 3, 1))]
    inlined = [state for state in states if "pad_temp" not in state.replace("pad_temp[", "")]
    assert 0 < len(inlined) < len(states)
