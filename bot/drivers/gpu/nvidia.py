"""NVIDIA GPUs by NVML (package ``nvidia-ml-py``, the optional extra ``gpu``). Without it, or without a driver, none is
visible.

Source: NVML API reference, "Device Queries", "Event Handling Methods" and "Clock Event Reasons".
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from trainmaster.bot.core.health.host import GpuFact, XidFact

_GIB: Final = 2**30
_MAX_XIDS_KEPT: Final = 20
_SLOWED_BY: Final = (
    ("nvmlClocksThrottleReasonHwThermalSlowdown", "heat (hardware)"),
    ("nvmlClocksThrottleReasonSwThermalSlowdown", "heat (driver)"),
    ("nvmlClocksThrottleReasonHwPowerBrakeSlowdown", "an external power brake"),
    ("nvmlClocksThrottleReasonHwSlowdown", "a hardware slow-down"),
)
"""Only faults. The power cap (``SwPowerCap``) is what a busy card runs at."""

_RECOVERY: Final = {
    1: "a reset",
    2: "a reboot of the host",
    3: "its peers to be drained",
    4: "to be drained and reset",
    5: "its IMEX domain to be recovered",
    6: "a reset of its bus",
    7: "a reboot of the system",
}
"""``nvmlDeviceGpuRecoveryAction_t`` (nvml.h of driver 570 and later)."""


def load_nvml() -> Any:
    """The module.

    Raises:
        ImportError: ``nvidia-ml-py`` is not installed.
    """
    return importlib.import_module("pynvml")


class NvidiaProbe:
    """Implements :class:`trainmaster.bot.drivers.gpu.probe.GpuProbe`. The library is asked for at each look until it is
    there: a driver may be loaded later."""

    name = "NVIDIA GPUs"

    def __init__(self, load: Callable[[], Any] = load_nvml, clock: Callable[[], float] = time.time) -> None:
        self._load = load
        self._clock = clock
        self._nvml: Any = None
        self._devices: list[Any] = []
        self._events: Any = None
        self._xids: dict[int, tuple[XidFact, ...]] = {}
        self._first_errors: dict[int, int] = {}
        self._known: dict[int, str] = {}

    def look(self) -> tuple[GpuFact, ...]:
        """Every card that the driver shows. A card that fell off its bus is told as lost.

        Raises:
            NVMLError: there is a driver, and it answers nothing: another version than its library, as after an update.
        """
        if self._nvml is None and not self._start():
            return ()
        self._take_events()
        try:
            found = tuple(self._fact(index, device) for index, device in enumerate(self._devices))
        except self._nvml.NVMLError:
            self._let_go()
            raise
        if any(card.lost for card in found):
            self._let_go()
        return found

    def _start(self) -> bool:
        try:
            nvml = self._load()
        except ImportError:
            return False
        try:
            nvml.nvmlInit()
        except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
            return False
        self._nvml = nvml
        try:
            number = max((nvml.nvmlDeviceGetCount(), *(index + 1 for index in self._known)))
            self._devices = [self._handle(index) for index in range(number)]
        except nvml.NVMLError:
            self._let_go()
            raise
        self._watch_events()
        return True

    def _let_go(self) -> None:
        """The next look asks for all cards anew: one that was reset has another handle."""
        nvml, self._nvml = self._nvml, None
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()

    def _handle(self, index: int) -> Any:
        """None for a card that is there, or was, and can't be asked."""
        return self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)

    def _watch_events(self) -> None:
        nvml = self._nvml
        try:
            self._events = nvml.nvmlEventSetCreate()
            for device in filter(None, self._devices):
                nvml.nvmlDeviceRegisterEvents(device, nvml.nvmlEventTypeXidCriticalError, self._events)
        except nvml.NVMLError:  # not on this card or system: Xids are unknown then
            self._events = None

    def _take_events(self) -> None:
        nvml = self._nvml
        for _ in range(_MAX_XIDS_KEPT if self._events is not None else 0):
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
                index = int(nvml.nvmlDeviceGetIndex(event.device))
            except nvml.NVMLError:  # the time-out: nothing is waiting
                return
            xid = XidFact(ts=self._clock(), code=int(event.eventData))
            self._xids[index] = (*self._xids.get(index, ()), xid)[-_MAX_XIDS_KEPT:]

    def _fact(self, index: int, device: Any) -> GpuFact:
        nvml = self._nvml
        key = f"GPU {index}"
        lost = GpuFact(
            key=key,
            name=self._known.get(index, "NVIDIA"),
            lost="lost from its bus",
            xids=self._xids.get(index, ()),
        )
        if device is None:
            return lost
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
        except nvml.NVMLError_GpuIsLost:
            return lost
        except nvml.NVMLError:  # a name is what every card tells
            nvml.nvmlDeviceGetName(device)
            memory = None
        name = self._ask(nvml.nvmlDeviceGetName, device) or "NVIDIA"
        self._known[index] = _text(name)
        busy = self._ask(nvml.nvmlDeviceGetUtilizationRates, device)
        errors = self._ask(
            nvml.nvmlDeviceGetTotalEccErrors, device, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        )
        first = self._first_errors.setdefault(index, errors) if errors is not None else 0
        return GpuFact(
            key=key,
            name=self._known[index],
            uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, device) or ""),
            memory_used_gib=memory.used / _GIB if memory else None,
            memory_total_gib=memory.total / _GIB if memory else None,
            busy_pct=busy.gpu if busy else None,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU),
            temperature_limit_c=self._ask(
                nvml.nvmlDeviceGetTemperatureThreshold, device, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
            ),
            power_w=_watts(self._ask(nvml.nvmlDeviceGetPowerUsage, device)),
            slowed_by=self._slowed_by(device),
            num_uncorrected=errors,
            num_new_uncorrected=max(0, (errors or 0) - first),
            xids=self._xids.get(index, ()),
            asks_for=self._asks_for(device),
        )

    def _asks_for(self, device: Any) -> str:
        """Of drivers from 570 on; others don't know the question."""
        field = getattr(self._nvml, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION", None)
        values = self._ask(self._nvml.nvmlDeviceGetFieldValues, device, [field]) if field is not None else None
        if not values or values[0].nvmlReturn != 0:
            return ""
        action = int(values[0].value.uiVal)
        return _RECOVERY.get(action, f"recovery action {action}") if action else ""

    def _slowed_by(self, device: Any) -> tuple[str, ...]:
        reasons = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, device) or 0
        named = [text for constant, text in _SLOWED_BY if reasons & getattr(self._nvml, constant)]
        # The general reason comes along with a particular one.
        return tuple(named[:-1] if len(named) > 1 and named[-1] == _SLOWED_BY[-1][1] else named)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:  # consumer cards answer many questions with "not supported"
            return None


def _text(told: str | bytes) -> str:
    """Older bindings tell bytes."""
    return told if isinstance(told, str) else told.decode("utf-8", "replace")


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
