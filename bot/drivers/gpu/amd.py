"""AMD GPUs by sysfs, which needs no library and no root.

Sources: Linux ``Documentation/gpu/amdgpu/thermal.rst`` and ``driver-misc.rst`` (mem_info_vram_*, gpu_busy_percent,
hwmon), ``ras.rst`` (ras/*_err_count). Temperatures are in 1/1000 degree, power in microwatt, memory in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.bot.core.health.host import GpuFact

_AMD: Final = "0x1002"
_GIB: Final = 2**30
_TOTAL: Final = "mem_info_vram_total"


class AmdProbe:
    """Implements :class:`trainmaster.bot.drivers.gpu.probe.GpuProbe`. ``drm`` is the folder of the cards."""

    name = "AMD GPUs"

    def __init__(self, drm: Path = Path("/sys/class/drm")) -> None:
        self._drm = drm
        self._first_errors: dict[str, int] = {}

    def look(self) -> tuple[GpuFact, ...]:
        """Every AMD card that the kernel's driver shows; a value that it does not tell is None."""
        found = []
        for card in sorted(self._drm.glob("card[0-9]*")):
            device = card / "device"
            if card.name[4:].isdigit() and _text(device / "vendor") == _AMD and _number(device / _TOTAL) is not None:
                found.append(self._fact(card.name, device))
        return tuple(found)

    def _fact(self, card: str, device: Path) -> GpuFact:
        key = f"GPU {card}"
        used, total = _number(device / "mem_info_vram_used"), _number(device / _TOTAL)
        sensor = _hottest(device)
        power = _sensor(device, "power1_average") or _sensor(device, "power1_input")
        errors = _uncorrected(device)
        first = self._first_errors.setdefault(key, errors) if errors is not None else 0
        return GpuFact(
            key=key,
            name=_text(device / "product_name") or "AMD",
            memory_used_gib=None if used is None else used / _GIB,
            memory_total_gib=None if total is None else total / _GIB,
            busy_pct=_number(device / "gpu_busy_percent"),
            temperature_c=sensor.value_c if sensor else None,
            temperature_limit_c=sensor.limit_c if sensor else None,
            power_w=None if power is None else power / 1e6,
            num_uncorrected=errors,
            num_new_uncorrected=max(0, (errors or 0) - first),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sensor:
    value_c: float
    limit_c: float | None

    @property
    def margin_c(self) -> float:
        """What is left to the limit; a sensor without one comes last."""
        return float("inf") if self.limit_c is None else self.limit_c - self.value_c


def _hottest(device: Path) -> _Sensor | None:
    """The sensor (edge, junction, memory) that is nearest to its own critical value."""
    sensors = []
    for source in sorted(device.glob("hwmon/hwmon*/temp*_input")):
        value = _number(source)
        limit = _number(source.with_name(source.name.replace("_input", "_crit")))
        if value is not None:
            sensors.append(_Sensor(value_c=value / 1000, limit_c=limit / 1000 if limit else None))
    return min(sensors, key=lambda sensor: (sensor.margin_c, -sensor.value_c), default=None)


def _sensor(device: Path, name: str) -> float | None:
    found = (_number(source) for source in sorted(device.glob(f"hwmon/hwmon*/{name}")))
    return next((value for value in found if value is not None), None)


def _uncorrected(device: Path) -> int | None:
    """Of all blocks; each file says ``ue: N`` and ``ce: N``. None on cards without RAS."""
    total: int | None = None
    for source in sorted(device.glob("ras/*_err_count")):
        for line in (_text(source) or "").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "ue" and value.strip().isdigit():
                total = (total or 0) + int(value)
    return total


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # a card that sleeps answers EPERM or EBUSY: unknown
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        return float(text) if text else None
    except ValueError:
        return None
