"""Clocks, temperatures, throttling and load, from recorded trees of /proc and /sys."""

from pathlib import Path

import pytest

from edgetvm.device_state import DeviceState


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
