"""Archive listing and its way back, and the audit log as people read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.order import BringBack, ShowArchives, StopNow
from trainmaster.bot.errors import CommandError, OperationError, StoreError
from trainmaster.bot.operations import listings
from trainmaster.bot.storage.audit import AuditLog


async def test_archive_lists_what_rollbacks_put_aside(world: PaperWorld) -> None:
    assert "no rollback" in (await world.operations.perform(ShowArchives(run=RUN, user=BOB))).message.title
    await world.approve(await world.ask())
    message = (await world.operations.perform(ShowArchives(run=RUN, user=BOB))).message
    assert message.title == "digits: 1 archive"
    assert "after epoch 3: 1 file, " in message.items[0].detail


async def test_archive_is_brought_back_into_a_stopped_run(world: PaperWorld) -> None:
    await world.approve(await world.ask())
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    await world.operations.perform(BringBack(run=RUN, user=BOB, folder="after3"))
    assert world.run.files()["weights of epoch 4"].startswith("runs/digits/")
    acts = [act for _, act in world.audit.entries if act.startswith("archive.")]
    assert acts == ["archive.bring_back", "archive.brought_back"]


async def test_an_archive_that_could_not_be_brought_back_is_audited_as_such(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.approve(await world.ask())
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()

    async def refuse(view: object, folder: Path) -> None:
        raise OperationError("unarchive", "the run has gone on since.")

    monkeypatch.setattr(world.operations.world.forensics, "unarchive", refuse)
    with pytest.raises(OperationError):
        await world.operations.perform(BringBack(run=RUN, user=BOB, folder="after3"))
    acts = [act for _, act in world.audit.entries if act.startswith("archive.")]
    assert acts == ["archive.bring_back", "archive.bring_back_failed"]


async def test_a_yes_that_was_never_counted_is_told_as_such_at_the_next_start(
    world: PaperWorld, tmp_path: Path
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    world.audit = log  # type: ignore[assignment]
    world.operations = world.new_operations()
    approval = await world.ask()
    log.append(BOB, "approval.yes", RUN, {"approval": approval}, 1.0)  # and then the process was killed
    for _ in range(2):
        await world.operations.reconcile()
    assert [one.action for one in log.entries()] == ["approval.asked", "approval.yes", "approval.not_counted"]
    await world.approve(approval)
    await world.operations.reconcile()
    assert [one.action for one in log.entries()].count("approval.not_counted") == 1


@pytest.mark.parametrize(
    ("user", "name", "fault"),
    [
        pytest.param(MALLORY, "after3", "only people on call", id="not on call"),
        pytest.param(BOB, "after3", "still runs", id="trainer at work"),
    ],
)
async def test_archive_is_not_brought_back_when_it_must_not_be(
    world: PaperWorld, user: str, name: str, fault: str
) -> None:
    await world.approve(await world.ask())
    with pytest.raises(CommandError, match=fault):
        await world.operations.perform(BringBack(run=RUN, user=user, folder=name))
    assert "archive" in world.run.files()["weights of epoch 4"]


@pytest.mark.parametrize("name", ["after9", "../../etc", ""])
async def test_unknown_archive_is_refused_with_those_there_are(world: PaperWorld, name: str) -> None:
    await world.approve(await world.ask())
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    with pytest.raises(CommandError, match="after3"):
        await world.operations.perform(BringBack(run=RUN, user=BOB, folder=name))


async def test_archive_is_not_brought_back_without_a_record(world: PaperWorld) -> None:
    await world.approve(await world.ask())
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    world.audit.full = True
    with pytest.raises(StoreError):
        await world.operations.perform(BringBack(run=RUN, user=BOB, folder="after3"))
    assert "archive" in world.run.files()["weights of epoch 4"]


def test_audit_trail_names_people_and_its_own_state(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append("U0BOB", "approval.yes", "run-1", {}, 100.0)
    message = listings.audit_trail(log.entries(), log.verify())
    assert message.title == "Audit log: 1 entry, intact"
    assert message.body == (f"{moment(100)} {person('U0BOB')}: approval.yes on run-1",)
    (tmp_path / "audit.jsonl").write_text("")
    broken = listings.audit_trail(log.entries(), log.verify())
    assert broken.tone is Tone.CRITICAL
    assert "cut off" in broken.body[0]


def test_odd_archive_row_is_passed_over() -> None:
    assert ArchiveFact.parse({"name": "a"}) is None
    assert ArchiveFact.parse({"name": "a", "folder": "/a", "after_epoch": 1, "moved": None, "bytes": "x"}) is not None
