"""What stands against a start of a run on this host: asked in threads, each question with a time-out of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from trainmaster.bot.core.decisions.gate import GateCheck, GateFact, GateSight, judge_gate
from trainmaster.bot.core.health.host import GpuFact, HostFact
from trainmaster.bot.core.run.facts import CopiesFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.gpu.holders import LocalGpuHolders
from trainmaster.bot.drivers.patience import Patient
from trainmaster.bot.drivers.same_data import data_difference
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import RunLayout

TIMEOUT_S: Final = 5.0
"""A disk that answers later is no disk to start on."""
_COMPARED_AT_ONCE: Final = 4
"""Data sets, each in a process of its own: when hundreds of runs are to be started in one moment, all of them together
would take longer than each one may."""
_MIN_FREE_BYTES: Final = 512 * 2**20
"""Beside three of the newest state: one is written while two stand."""
_MIN_FREE_FILES: Final = 100
"""Inodes: a start writes some dozens. File systems that have as many as they like say that they have none at all."""
_DEAD_DISK: Final = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN, errno.EUCLEAN})
"""What a disk answers that will not come back by itself."""
_MIN_MEMORY_GIB: Final = 0.5
"""Python, torch and a small model, where the run's own need was never seen."""
_MAX_YAML_BYTES: Final = 1_000_000
_KEY: Final = re.compile(r"(?m)^(path|train|val)[ \t]*:[ \t]*([^\[{\n#][^\n#]*)")
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Ultralytics fetches it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _DiskSeen:
    """What the run's disk says."""

    free_bytes: int
    state_bytes: int


async def _no_copies(_view: RunView) -> CopiesFact | None:
    """Where nothing tells of copies."""
    return None


class LocalStartGate:
    """Implements :class:`trainmaster.bot.operations.ports.StartGate`. ``host`` is a look at the host that began after
    it was asked for; ``environment`` what the run's newest trainer was started with; ``difference`` what is not as it
    was in the data of the run in a directory, empty where everything is; ``copies`` what lies at the run's place of
    copies, asked only when its directory is gone; an OperationError where that can't be told. A question that hangs
    costs one thread until it is answered, however often it is asked."""

    def __init__(
        self,
        *,
        host: Callable[[], Awaitable[HostFact]],
        environment: Callable[[Path], Mapping[str, str] | None] = lambda _: None,
        holders: LocalGpuHolders | None = None,
        timeout_s: float = TIMEOUT_S,
        devices: Path = Path("/dev"),
        difference: Callable[[Path], Awaitable[str]] = data_difference,
        copies: Callable[[RunView], Awaitable[CopiesFact | None]] = _no_copies,
    ) -> None:
        self._host = host
        self._copies = copies
        self._difference = difference
        self._environment = environment
        self._timeout_s = timeout_s
        self._nodes = (devices / "nvidiactl", devices / "kfd")
        self._holders = Patient("GPU's users", (holders or LocalGpuHolders()).by_gpu, timeout_s=timeout_s)
        self._places: dict[Path, Patient[_DiskSeen]] = {}
        self._above: dict[Path, Patient[bool]] = {}
        self._data: dict[tuple[Path, str], Patient[str]] = {}
        self._comparing = asyncio.Semaphore(_COMPARED_AT_ONCE)

    async def look(self, view: RunView) -> tuple[GateFact, ...]:
        """Every check that applies to the run, judged. Never raises."""
        sight = await self._with_data(view, await self._with_place(view, GateSight()))
        if view.record is None or view.record.job is None:  # a cluster gives memory and device, on whichever node
            sight = await self._with_host(view, sight)
        return judge_gate(sight)

    async def _with_place(self, view: RunView, sight: GateSight) -> GateSight:
        place = view.directory
        patient = self._places.setdefault(
            place, Patient(f"{place}", lambda: _place_of(place), timeout_s=self._timeout_s)
        )
        try:
            found = await patient.look()
        except TimeoutError as error:
            why = f"{error}; is its mount alive?"
            return replace(sight, silent={**sight.silent, GateCheck.DIRECTORY: why, GateCheck.DISK: why})
        except OSError as error:
            fault = f"{place} can't be used: {error.strerror or error}"
            if isinstance(error, FileNotFoundError):
                fault += await self._way_back(view)
            elif error.errno in _DEAD_DISK:
                fault += await self._held(view, "once its disk is well, or into=another folder, to take them back")
            return replace(sight, directory_fault=fault)
        return replace(sight, free_bytes=found.free_bytes, needed_bytes=_MIN_FREE_BYTES + 3 * found.state_bytes)

    async def _way_back(self, view: RunView) -> str:
        """Whether the run lies elsewhere, too, and how it comes back."""
        parent = view.directory.parent
        patient = self._above.setdefault(parent, Patient(f"{parent}", parent.is_dir, timeout_s=self._timeout_s))
        try:
            lost = "" if await patient.look() else f"; {parent} is not there either, is its disk mounted?"
        except TimeoutError as error:  # it has just said that the directory is not there, and says nothing since
            lost = f"; {parent}: {error}, is its mount alive?"
        except OSError as error:
            lost = f"; {parent} can't be used either: {error.strerror or error}"
        by = "to take them back" if lost else "Resume anyway takes them back and goes on, as does"
        return lost + await self._held(view, by)

    async def _held(self, view: RunView, by: str) -> str:
        """What its copies hold, and the command that takes them back; empty where that can't be told."""
        try:
            copies = await self._copies(view)
        except OperationError:
            copies = None
        if copies is None:
            return ""
        epoch = "" if copies.epoch is None else f" up to epoch {copies.epoch}"
        return f"; its copies at {copies.place} hold clean states{epoch}; {by}: {copies.command}"

    async def _with_data(self, view: RunView, sight: GateSight) -> GateSight:
        record = view.record
        if record is None or not record.data or not record.cwd:
            return sight
        cwd, data = Path(record.cwd), record.data
        patient = self._data.setdefault(
            (cwd, data), Patient(f"{data}", lambda: _data_fault(cwd, data), timeout_s=self._timeout_s)
        )
        answers = not sight.directory_fault and GateCheck.DIRECTORY not in sight.silent
        try:
            fault = await patient.look()
            if not fault and answers and (other := await self._compared(view.directory)):
                fault = f"the data set {data} is not as it was when attempt {view.attempt} began: {other}"
            return replace(sight, data=data, data_fault=fault)
        except TimeoutError as error:
            return replace(sight, silent={**sight.silent, GateCheck.DATA: f"{error}; is its mount alive?"})
        except OSError as error:
            return replace(sight, silent={**sight.silent, GateCheck.DATA: str(error)})

    async def _compared(self, directory: Path) -> str:
        async with self._comparing:
            return await self._difference(directory)

    async def _with_host(self, view: RunView, sight: GateSight) -> GateSight:
        host = await self._host()
        silent = dict(sight.silent)
        process = view.process
        used_gib = process.rss_gib if process is not None else None
        if host.memory is None:
            silent[GateCheck.MEMORY] = _why_unseen(host, "memory")
        sight = replace(
            sight,
            memory_gib=host.memory.available_gib if host.memory is not None else None,
            memory_needed_gib=max(_MIN_MEMORY_GIB, used_gib or 0.0),
        )
        if not self._needs_gpu(view):
            return replace(sight, silent=silent)
        seen_nothing = not host.gpus
        unasked = _why_unseen(host, "GPU") if any("GPU" in one.what for one in host.unseen) else ""
        if seen_nothing and not unasked and any(node.exists() for node in self._nodes):
            unasked = "its driver is there, and nothing here can ask it: pip install nvidia-ml-py"
        if unasked:
            silent[GateCheck.GPU] = unasked
        users: Mapping[str, frozenset[int] | None] | None = None
        why = "the driver does not say"
        try:
            users = await self._holders.look()
        except Exception as error:  # noqa: BLE001 - a foreign driver may raise anything; told as unknown
            why = str(error) or type(error).__name__
        gpus = tuple(_since(gpu, view) for gpu in self._gpus_of(view, host.gpus))
        if users is not None and (untold := [gpu.key for gpu in gpus if users.get(gpu.key, ()) is None]):
            users, why = None, f"the driver does not say who holds {', '.join(untold)}"
        if users is None:
            silent[GateCheck.GPU_USERS] = why
        return replace(
            sight,
            silent=silent,
            needs_gpu=True,
            gpus=gpus,
            users=users or {},
            own=frozenset(process.orphans) if process is not None else frozenset(),
        )

    def _needs_gpu(self, view: RunView) -> bool:
        devices = _devices(view)
        if devices and devices[0] in {"cpu", "mps"}:
            return False
        used = view.beat.memory_gib if view.beat is not None else None
        return bool(devices) or bool(used) or (used is None and any(node.exists() for node in self._nodes))

    def _gpus_of(self, view: RunView, gpus: tuple[GpuFact, ...]) -> tuple[GpuFact, ...]:
        """Those that the run trains on, by its ``device`` and what its trainer was shown; all where that is unknown."""
        wanted = _devices(view) or ("0",)
        if "-1" in wanted:  # whichever Ultralytics takes for idle
            return gpus
        environment = self._environment(view.directory) or {}
        shown = environment.get("CUDA_VISIBLE_DEVICES") or environment.get("HIP_VISIBLE_DEVICES")
        order = [_numbered(one.strip(), gpus) for one in shown.split(",")] if shown else None
        if not gpus or not all(one.isdecimal() for one in (*wanted, *(order or ()))):
            return gpus
        if order is not None:
            wanted = tuple(order[int(one)] for one in wanted if int(one) < len(order))
        if not all(gpu.key.removeprefix("GPU ").isdigit() for gpu in gpus):
            return gpus  # AMD's cards have other numbers than its devices
        seen = {gpu.key: gpu for gpu in gpus}
        unseen = "not visible: the driver does not show it"
        return tuple(
            seen.get(f"GPU {one}", GpuFact(key=f"GPU {one}", name="", lost=unseen)) for one in dict.fromkeys(wanted)
        )


def _since(gpu: GpuFact, view: RunView) -> GpuFact:
    """Without what its driver reported before the newest attempt began: that start went well."""
    began_ts = (view.record.started_ts if view.record is not None else None) or 0.0
    return replace(gpu, xids=tuple(xid for xid in gpu.xids if xid.ts >= began_ts))


def _numbered(shown: str, gpus: tuple[GpuFact, ...]) -> str:
    """The number of the card that CUDA_VISIBLE_DEVICES names by its UUID, or by the beginning of one; else as told."""
    named = [gpu.key.removeprefix("GPU ") for gpu in gpus if shown and gpu.uuid.lower().startswith(shown.lower())]
    return named[0] if len(named) == 1 else shown


def _devices(view: RunView) -> tuple[str, ...]:
    return view.record.devices if view.record is not None else ()


def _why_unseen(host: HostFact, what: str) -> str:
    return next((one.why for one in host.unseen if what in one.what), "no answer")


def _place_of(directory: Path) -> _DiskSeen:
    """Raises:
    OSError: the directory is gone, or can't be written.
    """
    if not (directory / "guard").is_dir():
        directory.stat()
    if not os.access(directory, os.W_OK):
        raise PermissionError(None, "it can't be written by the bot's user")
    usage = os.statvfs(directory)
    if usage.f_files and usage.f_favail < _MIN_FREE_FILES:
        raise OSError(None, f"its file system has room for {usage.f_favail} more files, limit {_MIN_FREE_FILES}")
    sizes = [0]
    states = RunLayout(directory).states
    with suppress(FileNotFoundError), os.scandir(states) as entries:
        sizes += [entry.stat().st_size for entry in entries if entry.name.endswith(".pt")]
    return _DiskSeen(free_bytes=usage.f_bavail * usage.f_frsize, state_bytes=max(sizes))


def _data_fault(cwd: Path, data: str) -> str:
    """Why the data set is not there; empty where it is, and where only Ultralytics knows (``coco8.yaml``)."""
    if _ADDRESS.match(data):
        return ""
    place = cwd / data
    if not place.exists():
        return f"the data set {data} is not there any more" if os.sep in data else ""
    if place.is_dir():
        return _folder_fault(place)
    if not place.is_file():
        return f"the data set {data} is no plain file"
    text = place.read_bytes()[:_MAX_YAML_BYTES].decode("utf-8", "replace")
    told = {key: value.strip().strip("\"'") for key, value in _KEY.findall(text)}
    root = Path(told.get("path") or place.parent)
    root = root if root.is_absolute() or not (place.parent / root).exists() else place.parent / root
    if not root.is_absolute():
        return ""  # below Ultralytics' own folder of data sets
    faults = [_folder_fault(_place_below(root, told[part])) for part in ("train", "val") if told.get(part)]
    return next((fault for fault in faults if fault), "")


def _place_below(root: Path, told: str) -> Path:
    """Roboflow exports say ``../train/images`` of what Ultralytics then finds beside their YAML."""
    place = root / told
    return place if place.exists() else root / told.removeprefix("../")


def _folder_fault(place: Path) -> str:
    if not place.exists():
        return f"the data set's {place} is not there any more"
    if place.is_dir():
        with os.scandir(place) as entries:
            if next(entries, None) is None:
                return f"the data set's {place} is empty"
    return ""
