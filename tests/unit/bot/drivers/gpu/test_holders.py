"""Who holds a GPU, as the drivers of this host tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.bot.drivers.gpu.holders import LocalGpuHolders


class FakeNvml:
    """Two cards, as ``nvidia-ml-py`` shows them."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        if self.broken:
            raise self.NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=100 + device)]


def missing() -> Any:
    raise ImportError


@pytest.mark.parametrize(
    ("node", "load", "kfd", "held"),
    [
        pytest.param(None, missing, (), frozenset(), id="no GPU at all"),
        pytest.param("nvidiactl", missing, None, None, id="a GPU and nothing that tells"),
        pytest.param("nvidiactl", FakeNvml, None, frozenset({100, 101}), id="NVIDIA"),
        pytest.param("nvidiactl", lambda: FakeNvml(broken=True), None, None, id="a driver that fails"),
        pytest.param("kfd", missing, (7, 8), frozenset({7, 8}), id="AMD"),
        pytest.param("kfd", FakeNvml, (7,), frozenset({7, 100, 101}), id="both"),
    ],
)
def test_holders_are_told_or_unknown(
    tmp_path: Path,
    node: str | None,
    load: Callable[[], Any],
    kfd: tuple[int, ...] | None,
    held: frozenset[int] | None,
) -> None:
    devices, processes = tmp_path / "dev", tmp_path / "proc"
    devices.mkdir()
    if node:
        (devices / node).touch()
    for pid in kfd or ():
        (processes / str(pid)).mkdir(parents=True)
    assert LocalGpuHolders(load, processes, devices).look() == held


def test_library_is_let_go_after_each_look(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    nvml = FakeNvml()
    LocalGpuHolders(lambda: nvml, tmp_path / "none", tmp_path).look()
    assert nvml.open == 0
