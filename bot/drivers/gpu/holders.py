"""Which processes of this host hold a GPU: a trainer that ended must have let go of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainmaster.bot.drivers.gpu.nvidia import load_nvml


class LocalGpuHolders:
    """Implements :class:`operations.ports.GpuHolders` by NVIDIA's library and by AMD's compute driver (``kfd``)."""

    def __init__(
        self,
        load: Callable[[], Any] = load_nvml,
        kfd_processes: Path = Path("/sys/class/kfd/kfd/proc"),
        devices: Path = Path("/dev"),
        drm: Path = Path("/sys/class/drm"),
    ) -> None:
        self._load = load
        self._kfd_processes = kfd_processes
        self._kfd_nodes = kfd_processes.parent / "topology" / "nodes"
        self._drm = drm
        self._nodes = (devices / "nvidiactl", devices / "kfd")

    def by_gpu(self) -> dict[str, frozenset[int] | None] | None:
        """Their pids by the name that the probes give a GPU, as far as the driver of each maker tells them apart: None
        for a card of which it does not tell, and where there is a GPU and no driver tells. May hang with its driver."""
        if not any(node.exists() for node in self._nodes):
            return {}
        by_maker = [told for told in (self._nvidia(), self._amd_by_card()) if told is not None]
        return {card: pids for told in by_maker for card, pids in told.items()} if by_maker else None

    def look(self) -> frozenset[int] | None:
        """Their pids; None where there is a GPU and no driver tells. May hang with its driver."""
        if not any(node.exists() for node in self._nodes):
            return frozenset()
        nvidia = self._nvidia()
        cards = [pids for pids in (nvidia or {}).values() if pids is not None]
        unknown = nvidia is None or len(cards) < len(nvidia)
        by_maker = (None if unknown else frozenset[int]().union(*cards), self._amd())
        told = [pids for pids in by_maker if pids is not None]
        return frozenset().union(*told) if told else None

    def _nvidia(self) -> dict[str, frozenset[int] | None] | None:
        try:
            nvml = self._load()
        except ImportError:
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return None
        try:
            found = {f"GPU {index}": _pids_on(nvml, index) for index in range(nvml.nvmlDeviceGetCount())}
        except nvml.NVMLError:
            return None
        finally:
            nvml.nvmlShutdown()
        return found

    def _amd_by_card(self) -> dict[str, frozenset[int] | None] | None:
        """A process holds the cards in whose memory it has something, each told by ``vram_ID`` of its folder; where
        that is not told, or nobody knows whose ID that is, all of them."""
        pids = self._amd()
        if pids is None:
            return None
        cards = {_number(node / "gpu_id"): self._card_of(node) for node in self._kfd_nodes.glob("*")}
        cards.pop(0, None)  # a processor
        found: dict[str, set[int]] = {card: set() for card in cards.values()}
        for pid in pids:
            held = {path.name[5:]: _number(path) for path in (self._kfd_processes / str(pid)).glob("vram_*")}
            named = {cards.get(int(one), "") for one, size in held.items() if one.isdigit() and size != 0}
            for card in found if not held or "" in named else named:
                found[card].add(pid)
        return {card: frozenset(some) for card, some in found.items()}

    def _card_of(self, node: Path) -> str:
        """As :class:`amd.AmdProbe` calls the card of a node of the compute driver's topology."""
        minor = re.search(r"(?m)^drm_render_minor (\d+)$", _text(node / "properties"))
        found = self._drm.glob(f"card*/device/drm/renderD{minor[1]}") if minor is not None else ()
        return next((f"GPU {path.parents[2].name}" for path in found), "")

    def _amd(self) -> frozenset[int] | None:
        """One folder a process (Documentation/ABI/testing/sysfs-class-kfd of the Linux kernel's amdkfd driver)."""
        try:
            return frozenset(int(path.name) for path in self._kfd_processes.iterdir() if path.name.isdigit())
        except OSError:
            return None


def _pids_on(nvml: Any, index: int) -> frozenset[int] | None:
    """Nobody's, of a card that is lost; None where the driver does not tell of this one."""
    try:
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        return frozenset(int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(device))
    except nvml.NVMLError_GpuIsLost:
        return frozenset()
    except nvml.NVMLError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
