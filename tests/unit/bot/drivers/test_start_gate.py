"""The gate before a start, asked on this host: a real directory, a real data set, stand-ins for what only a GPU has."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trainmaster.bot.core.decisions.gate import GateCheck, GateFact, GateOutcome, closed
from trainmaster.bot.core.health.host import GpuFact, HostFact, MemoryFact, Unseen, XidFact
from trainmaster.bot.core.run.facts import CopiesFact, ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers import start_gate
from trainmaster.bot.drivers.same_data import data_difference
from trainmaster.bot.drivers.start_gate import LocalStartGate
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.inventory import DataFiles, take_inventory

MEMORY = MemoryFact(total_gib=64, available_gib=60, swap_total_gib=0, swap_used_gib=0, swap_in_mib_s=None)


class FakeHolders:
    def __init__(self, users: dict[str, frozenset[int] | None] | None) -> None:
        self.users = users

    def by_gpu(self) -> dict[str, frozenset[int] | None] | None:
        return self.users


class Place:
    """A run of ``data`` in ``folder``, its gate, and the host that it sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "digits"
        (self.run / "guard" / "states").mkdir(parents=True)
        (folder / "dev").mkdir()
        for part in ("train", "val"):
            (folder / "digits" / "images" / part).mkdir(parents=True)
            (folder / "digits" / "images" / part / "1.png").touch()
        self.data = folder / "digits" / "data.yaml"
        self.data.write_text("path: .  # here\ntrain: ../images/train\nval: 'images/val'\nnames: [a, b]\n")
        self.host = HostFact(ts=1.0, name="h", memory=MEMORY)
        self.holders = FakeHolders({})
        self.environment: dict[str, str] = {}
        self.record: dict[str, Any] = {}
        self.gate = LocalStartGate(
            host=self._look,
            environment=lambda _: self.environment,
            holders=self.holders,  # type: ignore[arg-type]
            timeout_s=1.0,
            devices=folder / "dev",
        )

    async def _look(self) -> HostFact:
        return self.host

    def view(self, *, device: str = "cpu", rss_gib: float | None = None, job: bool = False) -> RunView:
        record = {
            "run": "r",
            "attempt": 1,
            "pid": 7,
            "state": "running",
            "cwd": str(self.folder),
            "data": str(self.data),
            "argv": ["trainmaster", "train", "model=a.yaml", f"device={device}", "amp=False", "workers=0"],
            "started_ts": 100.0,
            "job": {"id": "3"} if job else None,
            **self.record,
        }
        return RunView(
            directory=self.run,
            name="digits",
            ts=1.0,
            first_seen_ts=0.0,
            record=RunRecord.parse(record),
            heartbeat=heartbeat_of({"ts": 1.0, "attempt": 1, "phase": "training", "memory_gib": 3.0}),
            process=ProcessFact(status=ProcessStatus.GONE, ts=1.0, rss_gib=rss_gib, orphans=(71,)),
        )

    async def against(self, **view: Any) -> dict[GateCheck, GateFact]:
        return {fact.check: fact for fact in closed(await self.gate.look(self.view(**view)))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """What never answers until the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def test_nothing_stands_against_a_run_whose_place_is_whole(place: Place) -> None:
    facts = await place.gate.look(place.view())
    assert [fact.check for fact in facts] == ["run directory", "disk", "data set", "memory"]
    assert closed(facts) == ()


async def test_directory_that_is_gone_is_named(place: Place) -> None:
    place.run.rename(place.folder / "elsewhere")
    assert "can't be used" in (await place.against())[GateCheck.DIRECTORY].text


COPIES = CopiesFact(
    place="/mnt/other/digits", num_files=4, epoch=12, ts=1.0, command="trainmaster resume /mnt/other/digits into=/r"
)


class FakeCopies:
    """What lies at the place of copies, or why that can't be told; counts who asks."""

    def __init__(self, answer: CopiesFact | Exception) -> None:
        self.answer = answer
        self.asked = 0

    async def look(self, _view: RunView) -> CopiesFact:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def with_copies(place: Place, answer: CopiesFact | Exception, *, timeout_s: float = 5.0) -> FakeCopies:
    copies = FakeCopies(answer)
    place.gate = LocalStartGate(host=place._look, timeout_s=timeout_s, devices=place.folder / "dev", copies=copies.look)
    return copies


async def test_run_that_is_gone_and_has_copies_is_told_with_the_way_back(place: Place) -> None:
    copies = with_copies(place, COPIES)
    assert await place.against() == {}
    assert copies.asked == 0, "nobody asks a bucket for a run that is there"
    shutil.rmtree(place.run)
    fact = (await place.against())[GateCheck.DIRECTORY]
    assert fact.outcome is GateOutcome.FAIL
    assert "its copies at /mnt/other/digits hold clean states up to epoch 12" in fact.text
    assert f"Resume anyway takes them back and goes on, as does: {COPIES.command}" in fact.text


async def test_run_whose_disk_is_not_mounted_is_not_offered_to_be_resumed_there(place: Place) -> None:
    with_copies(place, COPIES)
    shutil.rmtree(place.run.parent)
    text = (await place.against())[GateCheck.DIRECTORY].text
    assert "is not there either, is its disk mounted?" in text
    assert "Resume anyway" not in text
    assert COPIES.command in text


async def test_mount_that_dies_while_the_folder_above_a_lost_run_is_asked_for_keeps_nobody_waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch, hung: threading.Event
) -> None:
    above = place.run.parent
    with_copies(place, COPIES, timeout_s=0.2)
    shutil.rmtree(place.run)
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: hung.wait() if path == above else is_dir(path))
    for _ in range(2):
        fact = (await place.against())[GateCheck.DIRECTORY]
        assert fact.outcome is GateOutcome.FAIL
        assert "is its mount alive?" in fact.text
        assert "Resume anyway" not in fact.text
        assert COPIES.command in fact.text


async def test_run_that_is_gone_without_copies_says_so_alone(place: Place) -> None:
    with_copies(place, OperationError("trainer-command", "/mnt/other/digits holds no copies of a run"))
    shutil.rmtree(place.run)
    text = (await place.against())[GateCheck.DIRECTORY].text
    assert text.endswith("can't be used: No such file or directory")


async def test_disk_needs_room_for_three_of_the_newest_state(place: Place) -> None:
    state = place.run / "guard" / "states" / "epoch0001.pt"
    with state.open("wb") as stream:
        stream.truncate(
            shutil.disk_usage(place.run).free // 2
        )  # a hole: it takes no space, and says that a state is that large
    assert "next states want" in (await place.against())[GateCheck.DISK].text


@pytest.mark.parametrize("gone", ["data.yaml", "images/train", "images/val"])
async def test_data_set_that_is_gone_is_named(place: Place, gone: str) -> None:
    lost = place.folder / "digits" / gone
    lost.rename(lost.with_name("moved"))
    fact = (await place.against())[GateCheck.DATA]
    assert fact.outcome is GateOutcome.FAIL
    assert "not there any more" in fact.text


async def test_folder_of_images_that_is_empty_is_named(place: Place) -> None:
    """As a mount that is not mounted leaves it."""
    (place.folder / "digits" / "images" / "train" / "1.png").unlink()
    assert "is empty" in (await place.against())[GateCheck.DATA].text


def keep_record(place: Place) -> Path:
    """The trainer of the run has written down what it trains on; its folder of images."""
    images = place.folder / "digits" / "images" / "train"
    files = DataFiles(images=[str(images / "1.png")], settings=(str(place.data),), suffixes=frozenset({"png"}))
    assert take_inventory(RunLayout(place.run), files)
    return images


async def test_data_that_is_as_the_trainer_found_it_passes(place: Place) -> None:
    keep_record(place)
    assert await place.against() == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda images: (images / "1.png").write_bytes(b"other"), "1 image is of another size"),
        (lambda images: (images / "1.png").rename(images / "2.png"), "1 image is gone"),
        (lambda images: (images / "2.png").touch(), "1 image joined"),
        (lambda images: (images.parents[1] / "data.yaml").write_text("train: images/train"), "1 settings file"),
    ],
    ids=["changed", "gone", "joined", "other settings"],
)
async def test_data_that_is_not_as_the_trainer_found_it_is_named(
    place: Place, change: Callable[[Path], object], text: str
) -> None:
    change(keep_record(place))
    fact = (await place.against())[GateCheck.DATA]
    assert fact.outcome is GateOutcome.FAIL
    assert "is not as it was when attempt 1 began: " in fact.text
    assert text in fact.text


async def test_record_of_the_data_that_nobody_can_read_is_unknown(place: Place) -> None:
    keep_record(place)
    (place.run / "guard" / "data.jsonl.gz").write_bytes(b"torn")
    assert (await place.against())[GateCheck.DATA].outcome is GateOutcome.UNKNOWN


async def test_data_that_can_not_be_looked_through_in_time_is_unknown(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        await data_difference(place.run, timeout_s=0.2)
    place.gate = LocalStartGate(
        host=place._look,
        timeout_s=5.0,
        devices=place.folder / "dev",
        difference=partial(data_difference, timeout_s=0.2),
    )
    assert (await place.against())[GateCheck.DATA].outcome is GateOutcome.UNKNOWN


async def test_data_is_not_compared_where_the_run_directory_gives_no_answer(place: Place) -> None:
    asked: list[Path] = []

    async def difference(directory: Path) -> str:
        asked.append(directory)
        return ""

    place.gate = LocalStartGate(host=place._look, devices=place.folder / "dev", difference=difference)
    await place.against()
    assert asked == [place.run]
    place.run.rename(place.folder / "elsewhere")
    assert set(await place.against()) == {GateCheck.DIRECTORY}
    assert asked == [place.run]


async def test_memory_must_hold_what_the_run_used(place: Place) -> None:
    assert "the run used 61.0 GiB" in (await place.against(rss_gib=61.0))[GateCheck.MEMORY].text


@pytest.mark.parametrize(
    ("name", "checks"),
    [("_place_of", {GateCheck.DIRECTORY, GateCheck.DISK}), ("_data_fault", {GateCheck.DATA})],
)
async def test_dead_mount_is_unknown_and_keeps_nobody_waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch, hung: threading.Event, name: str, checks: set[GateCheck]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(start_gate, name, lambda *_: (asked.append(name), hung.wait()))
    for _ in range(5):
        against = await place.against()
        assert set(against) == checks
        assert {fact.outcome for fact in against.values()} == {GateOutcome.UNKNOWN}
    assert asked == [name], "a question that hangs costs one thread"


async def test_job_is_asked_for_neither_memory_nor_gpu_of_this_host(place: Place) -> None:
    facts = await place.gate.look(place.view(job=True, device="0"))
    assert [fact.check for fact in facts] == ["run directory", "disk", "data set"]


async def test_gpu_without_anything_that_can_ask_it_is_unknown(place: Place) -> None:
    (place.folder / "dev" / "nvidiactl").touch()
    fact = (await place.against(device="0"))[GateCheck.GPU]
    assert fact.outcome is GateOutcome.UNKNOWN
    assert "pip install nvidia-ml-py" in fact.text


async def test_gpu_that_is_gone_is_named(place: Place) -> None:
    assert "no GPU is visible" in (await place.against(device="0"))[GateCheck.GPU].text


async def test_driver_that_hangs_is_unknown(place: Place) -> None:
    place.host = HostFact(
        ts=1.0, name="h", memory=MEMORY, unseen=(Unseen(what="NVIDIA GPUs", why="no answer", checks=frozenset()),)
    )
    place.holders.users = None
    assert (await place.against(device="0"))[GateCheck.GPU].outcome is GateOutcome.UNKNOWN


def cards(*changes: dict[str, Any]) -> HostFact:
    gpus = tuple(GpuFact(key=f"GPU {number}", name="H200", **one) for number, one in enumerate(changes))
    return HostFact(ts=1.0, name="h", memory=MEMORY, gpus=gpus)


@pytest.mark.parametrize(
    ("device", "shown", "against"),
    [
        ("0", None, True),
        ("1", None, False),
        ("0", "1,0", False),
        ("1", "1,0", True),
        ("0,1", None, True),
        ("[0, 1]", None, True),
        ("cuda:1", None, False),
        ("0", "GPU-6a1c", True),
        ("-1", None, True),
        ("²", "1,0", True),
    ],
)
async def test_only_the_cards_that_the_run_trains_on_count(
    place: Place, device: str, shown: str | None, against: bool
) -> None:
    place.host = cards({"asks_for": "a reset"}, {})
    place.environment = {"CUDA_VISIBLE_DEVICES": shown} if shown else {}
    assert (GateCheck.GPU in await place.against(device=device)) is against


@pytest.mark.parametrize("device", ["1", "cpu"])
async def test_run_that_was_resumed_is_on_the_device_that_it_began_on(place: Place, device: str) -> None:
    place.record = {"argv": ["trainmaster", "resume", "runs/digits"], "recipe": {"device": device}}
    place.host = cards({"asks_for": "a reset"}, {})
    assert await place.against() == {}


@pytest.mark.parametrize("device", ["2", "0,2"])
async def test_card_that_the_driver_does_not_show_any_more_is_named(place: Place, device: str) -> None:
    place.host = cards({}, {})
    text = (await place.against(device=device))[GateCheck.GPU].text
    assert text == "GPU 2 is not visible: the driver does not show it"


async def test_card_of_amd_is_told_by_its_own_name(place: Place) -> None:
    place.host = HostFact(ts=1.0, name="h", memory=MEMORY, gpus=(GpuFact(key="GPU card1", name="MI300"),))
    place.holders.users = {"GPU card1": frozenset({99})}
    assert list(await place.against(device="0")) == [GateCheck.GPU_USERS]


@pytest.mark.parametrize("data", ["https://ultralytics.com/assets/digits.zip", "ul://somebody/datasets/digits"])
async def test_data_that_ultralytics_fetches_is_not_looked_for_here(place: Place, data: str) -> None:
    place.data = data  # type: ignore[assignment] # as the trainer names it
    assert await place.against() == {}


async def test_what_the_card_reported_before_the_attempt_began_does_not_count(place: Place) -> None:
    place.host = cards({"xids": (XidFact(ts=99.0, code=79),)})
    assert await place.against(device="0") == {}
    place.host = cards({"xids": (XidFact(ts=101.0, code=79),)})
    assert GateCheck.GPU in await place.against(device="0")


async def test_left_over_of_the_run_itself_is_told_from_somebody_elses(place: Place) -> None:
    place.host = cards({})
    place.holders.users = {"GPU 0": frozenset({71, 99})}
    text = (await place.against(device="0"))[GateCheck.GPU_USERS].text
    assert "what the run itself left over (process 71; to end it: kill 71)" in text
    assert "somebody else (process 99; to see it: ps -f -p 99)" in text


async def test_card_of_which_the_driver_does_not_tell_counts_for_its_own_runs_alone(place: Place) -> None:
    place.host = cards({}, {})
    place.holders.users = {"GPU 0": None, "GPU 1": frozenset()}
    assert await place.against(device="1") == {}
    fact = (await place.against(device="0"))[GateCheck.GPU_USERS]
    assert (fact.outcome, "does not say who holds GPU 0" in fact.text) == (GateOutcome.UNKNOWN, True)
