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

    class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818 - the library's name
        pass

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.lost: int | None = None
        self.odd: int | None = None
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
        if index == self.lost:
            raise self.NVMLError_GpuIsLost
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:  # noqa: N802
        if device == self.odd:
            raise self.NVMLError
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


@pytest.mark.parametrize(
    ("vram", "held"),
    [
        pytest.param({"vram_51": "4096", "vram_52": "0"}, {"GPU card1": {7}, "GPU card2": set()}, id="one of two"),
        pytest.param({"vram_51": "0", "vram_52": "0"}, {"GPU card1": set(), "GPU card2": set()}, id="none"),
        pytest.param({}, {"GPU card1": {7}, "GPU card2": {7}}, id="an old kernel that does not say"),
        pytest.param({"vram_99": "1"}, {"GPU card1": {7}, "GPU card2": {7}}, id="a card that nobody knows"),
        pytest.param(None, {"GPU card1": set(), "GPU card2": set()}, id="nobody"),
    ],
)
def test_users_of_amd_cards_are_told_by_card(
    tmp_path: Path, vram: dict[str, str] | None, held: dict[str, set[int]]
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kfd").touch()
    files = {
        "kfd/topology/nodes/0/gpu_id": "0\n",
        "kfd/topology/nodes/0/properties": "cpu_cores_count 8\ndrm_render_minor 0\n",
        **{f"kfd/topology/nodes/{number}/gpu_id": f"{50 + number}\n" for number in (1, 2)},
        **{
            f"kfd/topology/nodes/{number}/properties": f"simd_count 8\ndrm_render_minor {127 + number}\n"
            for number in (1, 2)
        },
        **{f"drm/card{number}/device/drm/renderD{127 + number}/dev": "" for number in (1, 2)},
        "drm/card0/device/drm/renderD140/dev": "",
        **{f"kfd/proc/7/{name}": f"{text}\n" for name, text in (vram or {}).items()},
    }
    (tmp_path / "kfd" / "proc").mkdir(parents=True)
    if vram is not None:
        (tmp_path / "kfd" / "proc" / "7").mkdir()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    holders = LocalGpuHolders(missing, tmp_path / "kfd" / "proc", tmp_path / "dev", tmp_path / "drm")
    assert holders.by_gpu() == held


def test_a_card_that_is_lost_does_not_hide_who_holds_another(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    nvml = FakeNvml()
    nvml.lost = 0
    holders = LocalGpuHolders(lambda: nvml, tmp_path / "none", tmp_path)
    assert holders.by_gpu() == {"GPU 0": frozenset(), "GPU 1": frozenset({101})}


def test_card_of_which_the_driver_does_not_tell_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    nvml = FakeNvml()
    nvml.odd = 0
    holders = LocalGpuHolders(lambda: nvml, tmp_path / "none", tmp_path)
    assert holders.by_gpu() == {"GPU 0": None, "GPU 1": frozenset({101})}
    assert holders.look() is None, "of all of them it is not known"
    assert nvml.open == 0
