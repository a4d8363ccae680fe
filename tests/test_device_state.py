"""Clocks, temperatures, throttling and load, from recorded trees of /proc and /sys."""

import os
from pathlib import Path

import msgspec
import pytest

from edgetvm.device_state import DeviceState, others_busy


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


RASPBERRY_PI_4 = {
    **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": "1500000\n" for n in range(4)},
    **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "ondemand\n" for n in range(4)},
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "56478\n",
    "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
    "proc/meminfo": "MemTotal: 3884360 kB\nMemFree: 2000000 kB\nMemAvailable:    3300000 kB\n",
}
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def test_a_raspberry_pi_at_rest(tmp_path: Path) -> None:
    state = DeviceState.read(plant(tmp_path, {**RASPBERRY_PI_4, FIRMWARE: "0\n"}))
    assert state == DeviceState(
        clocks_mhz=dict.fromkeys(range(4), 1500),
        governors=("ondemand",),
        temperatures_c={"cpu-thermal": 56.478},
        throttled=(),
        load=0.52,
        available_memory_bytes=3300000 * 1024,
    )


@pytest.mark.parametrize(
    ("flags", "reasons"),
    [
        ("0x50005", ("under-voltage", "throttled")),
        ("50000", ()),  # it was so since boot, and is not now
        ("8", ("soft temperature limit",)),
        ("not a number", ()),
    ],
)
def test_what_a_raspberry_pis_firmware_says(
    tmp_path: Path, flags: str, reasons: tuple[str, ...]
) -> None:
    assert DeviceState.read(plant(tmp_path, {FIRMWARE: flags})).throttled == reasons


def test_it_is_said_in_a_line(tmp_path: Path) -> None:
    assert str(DeviceState.read(tmp_path)) == ""
    plant(tmp_path, {**RASPBERRY_PI_4, FIRMWARE: "0x50005\n"})
    slow = {"sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "600000\n"}
    assert str(DeviceState.read(plant(tmp_path, slow))) == (
        "600 to 1500 MHz, governor ondemand, 56 °C, load 0.52, "
        "slowed down: under-voltage, throttled"
    )


def test_a_board_whose_kernel_cools_its_big_cores(tmp_path: Path) -> None:
    files = {
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device0/cur_state": "0\n",
        "sys/class/thermal/cooling_device1/type": "cpufreq-cpu4\n",
        "sys/class/thermal/cooling_device1/cur_state": "3\n",
        "sys/class/thermal/cooling_device2/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device2/cur_state": "2\n",
        "sys/class/thermal/thermal_zone0/temp": "-273\n",
        "sys/class/thermal/thermal_zone1/temp": "\n",
    }
    state = DeviceState.read(plant(tmp_path, files))
    assert state.throttled == ("cpufreq-cpu4 cooled by 3 steps",)
    assert state.temperatures_c == {"thermal_zone0": -0.273}


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert DeviceState.read(tmp_path) == DeviceState(
        clocks_mhz={},
        governors=(),
        temperatures_c={},
        throttled=(),
        load=None,
        available_memory_bytes=None,
    )


def test_this_machine_tells_at_least_its_load() -> None:
    state = DeviceState.read()
    assert state.load is not None
    assert state.available_memory_bytes


PROCESS = {
    "proc/self/status": "Name:\tpython\nVmHWM:\t  204800 kB\nCpus_allowed_list:\t0,2-3\n",
    "proc/self/stat": "1 (a name) with ) S " + " ".join(["0"] * 10) + " 250 50 0 0\n",
}


def stat(busy: int) -> dict[str, str]:
    """Four CPUs' times; CPU 1 is not ours, and idling and waiting are no work."""
    lines = [f"cpu{n} {busy} 0 0 9999 777 0 0 0 0 0" for n in (0, 2, 3)]
    return {"proc/stat": "\n".join(["cpu 1 2 3", lines[0], "cpu1 8888 0 0 0 0 0 0 0", *lines[1:]])}


def test_what_the_asking_process_used(tmp_path: Path) -> None:
    files = {**PROCESS, **stat(100), "proc/uptime": "5000.25 9000.00\n"}
    state = DeviceState.read(plant(tmp_path, files))
    ticks = os.sysconf("SC_CLK_TCK")
    assert (state.uptime_s, state.process_peak_bytes) == (5000.25, 204800 * 1024)
    assert (state.busy_s, state.process_s) == (300 / ticks, 300 / ticks)


def test_x86_cores_that_slowed_themselves_down_are_counted(tmp_path: Path) -> None:
    path = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    state = DeviceState.read(plant(tmp_path, {path.format(0): "3\n", path.format(1): "4\n"}))
    assert state.throttle_events == 7


@pytest.mark.parametrize("content", ["", "cpu0 1 2 3", "cpu7 1 1 1 1 1 1 1 1"])
def test_a_kernel_that_counts_otherwise_tells_nothing(tmp_path: Path, content: str) -> None:
    state = DeviceState.read(plant(tmp_path, {**PROCESS, "proc/stat": content}))
    assert state.busy_s is None
    assert others_busy(state, state) is None


def test_others_are_all_that_is_neither_this_process_nor_its_client(tmp_path: Path) -> None:
    def after(seconds: float, busy_s: float, process_s: float) -> DeviceState:
        return msgspec.structs.replace(
            DeviceState.read(tmp_path), uptime_s=seconds, busy_s=busy_s, process_s=process_s
        )

    begin = after(100.0, 50.0, 5.0)
    assert others_busy(begin, after(110.0, 65.0, 10.0)) == pytest.approx(1.0)
    assert others_busy(begin, after(110.0, 65.0, 10.0), own_s=9.0) == pytest.approx(0.1)
    assert others_busy(begin, after(110.0, 54.9, 10.0)) == 0.0
    assert others_busy(begin, begin) is None
