"""Looking at the host: a fake sysfs, a fake NVML, drivers and mounts that hang."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.bot.core.health.host import GpuFact
from trainmaster.bot.drivers.gpu import nvidia as gpu_nvidia
from trainmaster.bot.drivers.gpu.amd import AmdProbe
from trainmaster.bot.drivers.gpu.nvidia import NvidiaProbe
from trainmaster.bot.drivers.host import GPU_CHECKS, HostProbe
from trainmaster.bot.drivers.patience import Patient

GIB = 2**30


@pytest.fixture
def drm(tmp_path: Path) -> Path:
    """Two cards: an AMD one with all its files, and one of somebody else; and a connector of the first."""
    for name in ("card0", "card0-DP-1", "card1"):
        (tmp_path / name / "device").mkdir(parents=True)
    device = tmp_path / "card0" / "device"
    files = {
        "vendor": "0x1002\n",
        "mem_info_vram_total": str(24 * GIB),
        "mem_info_vram_used": str(6 * GIB),
        "gpu_busy_percent": "97\n",
        "hwmon/hwmon3/temp1_input": "61000",
        "hwmon/hwmon3/temp1_crit": "100000",
        "hwmon/hwmon3/temp2_input": "88000",
        "hwmon/hwmon3/temp2_crit": "110000",
        "hwmon/hwmon3/power1_average": "303000000",
        "ras/umc_err_count": "ue: 0\nce: 12\n",
    }
    for name, text in files.items():
        path = device / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "card1" / "device" / "vendor").write_text("0x8086\n")
    return tmp_path


def test_an_amd_card_is_read_from_sysfs(drm: Path) -> None:
    (card,) = AmdProbe(drm).look()
    assert (card.memory_used_gib, card.memory_total_gib, card.busy_pct) == (6.0, 24.0, 97.0)
    assert (card.temperature_c, card.temperature_limit_c) == (88.0, 110.0)  # the junction is nearest to its limit
    assert card.power_w == 303.0
    assert (card.num_uncorrected, card.num_new_uncorrected) == (0, 0)


def test_uncorrected_errors_of_an_amd_card_that_come_later_are_new(drm: Path) -> None:
    probe = AmdProbe(drm)
    probe.look()
    (drm / "card0/device/ras/umc_err_count").write_text("ue: 2\nce: 12\n")
    (card,) = probe.look()
    assert (card.num_uncorrected, card.num_new_uncorrected) == (2, 2)


def test_an_amd_card_that_tells_little_is_still_visible(drm: Path) -> None:
    for name in ("gpu_busy_percent", "mem_info_vram_used", "ras/umc_err_count"):
        (drm / "card0/device" / name).unlink()
    (drm / "card0/device/hwmon/hwmon3/temp2_input").write_text("not a number")
    (card,) = AmdProbe(drm).look()
    assert card.busy_pct is card.memory_used_gib is card.num_uncorrected is None
    assert card.temperature_c == 61.0


def test_no_card_is_an_answer(tmp_path: Path) -> None:
    assert AmdProbe(tmp_path / "missing").look() == ()


class NvmlError(Exception):
    pass


class GpuIsLostError(NvmlError):
    pass


class DriverNotLoadedError(NvmlError):
    pass


class FakeNvml:
    """One card, with the names and units of the real binding."""

    NVMLError = NvmlError
    NVMLError_GpuIsLost = GpuIsLostError
    NVMLError_LibraryNotFound = NVMLError_DriverNotLoaded = DriverNotLoadedError
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = NVML_VOLATILE_ECC = NVML_TEMPERATURE_GPU = 0
    NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 1
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - as the binding names it
    nvmlClocksThrottleReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksThrottleReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40  # noqa: N815
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815

    def __init__(self) -> None:
        self.loaded = True
        self.lost = False
        self.reasons = 0
        self.errors: int | None = 0
        self.xids: list[int] = []
        self.unsupported: set[str] = set()
        self.count = 1
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *arguments: self._answer(name, arguments)

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if not self.loaded:
            raise DriverNotLoadedError(name)
        if self.fault is not None and name != "nvmlShutdown":
            raise self.fault
        if name in self.unsupported:
            raise NvmlError(name)
        if name == "nvmlDeviceGetMemoryInfo" and self.lost:
            raise GpuIsLostError
        if name == "nvmlEventSetWait_v2":
            if not self.xids:
                raise NvmlError("time-out")
            return SimpleNamespace(device="card", eventData=self.xids.pop(0))
        return {
            "nvmlEventSetCreate": "events",
            "nvmlDeviceGetCount": self.count,
            "nvmlDeviceGetHandleByIndex": "card",
            "nvmlDeviceGetIndex": 0,
            "nvmlDeviceGetName": "NVIDIA Card",
            "nvmlDeviceGetUUID": b"GPU-0a77",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=20 * GIB, total=80 * GIB),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=99, memory=60),
            "nvmlDeviceGetTemperature": 71,
            "nvmlDeviceGetTemperatureThreshold": 92,
            "nvmlDeviceGetPowerUsage": 312_000,
            "nvmlDeviceGetTotalEccErrors": self.errors,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self.reasons,
        }.get(name)


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


def _nvidia(nvml: FakeNvml) -> NvidiaProbe:
    return NvidiaProbe(load=lambda: nvml, clock=lambda: 5.0)


def test_an_nvidia_card_is_read_by_nvml(nvml: FakeNvml) -> None:
    (card,) = _nvidia(nvml).look()
    assert card == GpuFact(
        key="GPU 0",
        name="NVIDIA Card",
        uuid="GPU-0a77",
        memory_used_gib=20.0,
        memory_total_gib=80.0,
        busy_pct=99,
        temperature_c=71,
        temperature_limit_c=92,
        power_w=312.0,
        num_uncorrected=0,
    )


def test_what_a_consumer_card_does_not_support_is_unknown(nvml: FakeNvml) -> None:
    nvml.unsupported = {"nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetPowerUsage", "nvmlEventSetCreate"}
    (card,) = _nvidia(nvml).look()
    assert card.num_uncorrected is card.power_w is None
    assert card.temperature_c == 71


@pytest.mark.parametrize(
    ("reasons", "slowed_by"),
    [
        pytest.param(0x4, (), id="the power cap of a busy card is no fault"),
        pytest.param(0x8 | 0x40, ("heat (hardware)",), id="the particular reason hides the general one"),
        pytest.param(0x8, ("a hardware slow-down",), id="the general reason alone"),
        pytest.param(0x80 | 0x20, ("heat (driver)", "an external power brake"), id="two at once"),
    ],
)
def test_reasons_of_a_slower_clock(nvml: FakeNvml, reasons: int, slowed_by: tuple[str, ...]) -> None:
    nvml.reasons = reasons
    (card,) = _nvidia(nvml).look()
    assert card.slowed_by == slowed_by


def test_errors_and_xids_that_come_later_are_new(nvml: FakeNvml) -> None:
    nvml.errors = 3
    probe = _nvidia(nvml)
    assert probe.look()[0].num_new_uncorrected == 0
    nvml.errors, nvml.xids = 4, [79, 48]
    (card,) = probe.look()
    assert card.num_new_uncorrected == 1
    assert [xid.code for xid in card.xids] == [79, 48]
    assert [xid.code for xid in probe.look()[0].xids] == [79, 48]


def test_a_card_that_falls_off_its_bus_keeps_its_name(nvml: FakeNvml) -> None:
    probe = _nvidia(nvml)
    probe.look()
    nvml.lost = True
    (card,) = probe.look()
    assert (card.name, card.lost) == ("NVIDIA Card", "lost from its bus")


def test_a_card_that_was_reset_is_found_again_and_one_that_is_taken_out_stays_lost(nvml: FakeNvml) -> None:
    probe = _nvidia(nvml)
    probe.look()
    nvml.lost = True
    assert [card.lost for card in probe.look()] == ["lost from its bus"]
    nvml.count = 0
    assert [(card.lost, card.name) for card in probe.look()] == [("lost from its bus", "NVIDIA Card")]
    nvml.count, nvml.lost = 1, False
    assert [card.lost for card in probe.look()] == [""]


def test_a_card_that_was_lost_before_the_first_look_hides_no_other(nvml: FakeNvml) -> None:
    nvml.unsupported = {"nvmlDeviceGetHandleByIndex"}
    assert [card.lost for card in _nvidia(nvml).look()] == ["lost from its bus"]


@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_driver_that_answers_nothing_is_unknown_and_asked_anew(nvml: FakeNvml, when: str) -> None:
    """As after an update of the driver, or while it is loaded anew: nothing that it shows is a card that is well."""
    probe = _nvidia(nvml)
    if when == "later":
        probe.look()
    nvml.fault = NvmlError("Driver/library version mismatch")
    for _ in range(2):
        with pytest.raises(NvmlError, match="mismatch"):
            probe.look()
    nvml.fault = None
    assert len(probe.look()) == 1


def test_a_driver_that_is_loaded_later_is_found(nvml: FakeNvml) -> None:
    nvml.loaded = False
    probe = _nvidia(nvml)
    assert probe.look() == ()
    nvml.loaded = True
    assert len(probe.look()) == 1


def test_the_binding_has_every_name_that_is_used() -> None:
    nvml = pytest.importorskip("pynvml")
    source = Path(gpu_nvidia.__file__).read_text()
    used = set(re.findall(r"nvml\.((?:nvml|NVML)\w+)", source)) | set(re.findall(r'"(nvmlClocks\w+)"', source))
    assert {name for name in used if not hasattr(nvml, name)} == set()
    assert len(used) > 15


def test_without_the_package_no_nvidia_card_is_visible() -> None:
    def missing() -> Any:
        raise ImportError("no module named pynvml")

    assert NvidiaProbe(load=missing).look() == ()


class Hanging:
    """A driver that does not answer before it is let go."""

    name = "NVIDIA GPUs"

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.num_asked = 0

    def look(self) -> tuple[GpuFact, ...]:
        self.num_asked += 1
        self.let_go.wait(30)
        return ()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    probe = Hanging()
    yield probe
    probe.let_go.set()


async def test_a_hung_driver_keeps_nothing_waiting_and_costs_one_thread(tmp_path: Path, hanging: Hanging) -> None:
    host = HostProbe(lambda: {"RUNS_DIR": tmp_path}, gpus=(hanging,), timeout_s=0.05)
    for _ in range(3):
        fact = await asyncio.wait_for(host.look(1.0), 5)
    assert hanging.num_asked == 1
    assert fact.memory is not None
    assert [one.what for one in fact.unseen] == ["NVIDIA GPUs"]
    assert fact.unseen[0].checks == GPU_CHECKS
    assert len(fact.disks) == 1


async def test_a_driver_that_comes_back_is_asked_again(hanging: Hanging) -> None:
    patient = Patient(hanging.name, hanging.look, timeout_s=0.05)
    with pytest.raises(TimeoutError):
        await patient.look()
    hanging.let_go.set()
    while True:
        try:
            assert await patient.look() == ()
            break
        except TimeoutError:
            await asyncio.sleep(0)
    assert hanging.num_asked == 2


async def test_a_driver_that_raises_is_told_with_its_words(tmp_path: Path) -> None:
    def broken() -> tuple[GpuFact, ...]:
        raise RuntimeError("driver/library version mismatch")

    host = HostProbe(lambda: {"RUNS_DIR": tmp_path}, gpus=(SimpleNamespace(name="NVIDIA GPUs", look=broken),))
    fact = await host.look(1.0)
    assert fact.unseen[0].why == "driver/library version mismatch"


async def test_directories_on_one_disk_are_one_disk(tmp_path: Path) -> None:
    places = {"RUNS_DIR": tmp_path, "STATE_DIR": tmp_path / "not" / "made yet"}
    fact = await HostProbe(lambda: places, gpus=()).look(1.0)
    assert [disk.holds for disk in fact.disks] == [("RUNS_DIR", "STATE_DIR")]
    assert 0 < fact.disks[0].free_gib <= fact.disks[0].total_gib
