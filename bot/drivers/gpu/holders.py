"""Which processes of this host hold a GPU: a trainer that ended must have let go of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainmaster.bot.drivers.gpu.nvidia import load_nvml


class LocalGpuHolders:
    """Implements :class:`ports.GpuHolders` by NVIDIA's library and by AMD's compute driver (``kfd``)."""

    def __init__(
        self,
        load: Callable[[], Any] = load_nvml,
        kfd_processes: Path = Path("/sys/class/kfd/kfd/proc"),
        devices: Path = Path("/dev"),
    ) -> None:
        self._load = load
        self._kfd_processes = kfd_processes
        self._nodes = (devices / "nvidiactl", devices / "kfd")

    def by_gpu(self) -> dict[str, frozenset[int]] | None:
        """Their pids by the name that the probes give a GPU, as far as the driver of each maker tells them apart; None
        where there is a GPU and no driver tells. May hang with its driver."""
        if not any(node.exists() for node in self._nodes):
            return {}
        told = self._nvidia()
        return told if told is not None else ({} if self._nodes[1].exists() else None)

    def look(self) -> frozenset[int] | None:
        """Their pids; None where there is a GPU and no driver tells. May hang with its driver."""
        if not any(node.exists() for node in self._nodes):
            return frozenset()
        nvidia = self._nvidia()
        by_maker = (frozenset().union(*nvidia.values()) if nvidia is not None else None, self._amd())
        told = [pids for pids in by_maker if pids is not None]
        return frozenset().union(*told) if told else None

    def _nvidia(self) -> dict[str, frozenset[int]] | None:
        try:
            nvml = self._load()
        except ImportError:
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return None
        try:
            devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            found = {
                f"GPU {index}": frozenset(int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(device))
                for index, device in enumerate(devices)
            }
        except nvml.NVMLError:
            return None
        finally:
            nvml.nvmlShutdown()
        return found

    def _amd(self) -> frozenset[int] | None:
        """One folder a process (Documentation/ABI/testing/sysfs-class-kfd of the Linux kernel's amdkfd driver)."""
        try:
            return frozenset(int(path.name) for path in self._kfd_processes.iterdir() if path.name.isdigit())
        except OSError:
            return None
