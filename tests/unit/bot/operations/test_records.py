"""Archive listing and its way back, and the audit log as people read it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.audit import AuditReport
from trainmaster.bot.core.decisions.order import BringBack, ShowArchives, ShowAudit, ShowCheckpoints, StopNow
from trainmaster.bot.core.run.facts import CheckpointFact
from trainmaster.bot.errors import CommandError, OperationError, StoreError
from trainmaster.bot.operations import listings
from trainmaster.bot.storage.audit import AuditLog


async def test_archive_lists_what_rollbacks_put_aside(world: PaperWorld) -> None:
    assert "no rollback" in (await world.operations.perform(ShowArchives(run=RUN, user=BOB))).message.title
    await world.approve(await world.ask())
    message = (await world.operations.perform(ShowArchives(run=RUN, user=BOB))).message
    assert message.title == "digits: 1 archive"
    assert message.items[0].text.endswith(": what came after epoch 3")
    assert message.items[0].detail == "1 file, 0 MiB; to have it back: /train bring back after3"


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


async def test_a_long_audit_log_is_checked_beside_everything_else(
    world: PaperWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, threads = AuditLog(tmp_path / "audit.jsonl"), set[int]()

    def verify() -> AuditReport:
        threads.add(threading.get_ident())
        return AuditLog.verify(log)

    monkeypatch.setattr(log, "verify", verify)
    world.audit = log  # type: ignore[assignment]
    world.operations = world.new_operations()
    reply = await world.operations.perform(ShowAudit())
    assert reply.message.title == "Audit log: 0 entries, intact"
    assert threads
    assert threading.get_ident() not in threads


def test_odd_archive_row_is_passed_over() -> None:
    assert ArchiveFact.parse({"name": "a"}) is None
    assert ArchiveFact.parse({"name": "a", "folder": "/a", "after_epoch": 1, "moved": None, "bytes": "x"}) is not None


async def test_checkpoints_say_which_a_rollback_can_go_to_and_why_others_can_not(world: PaperWorld) -> None:
    message = (await world.operations.perform(ShowCheckpoints(run=RUN, user=BOB))).message
    assert message.title == "digits: a rollback can go to epochs 1 to 3"
    assert message.body == ("It goes to epoch 3 unless you name another.", "Each that says nothing else is clean.")
    assert message.items[0].text == "Epoch 4: contaminated: saved after 3 unskipped NaN batches"
    assert message.items[0].detail.startswith("saved ")
    assert message.items[1].text == "Epoch 3"
    assert "MiB" in message.items[1].detail
    assert message.context[-1] == "/train execute rollback to epoch 3"


async def test_checkpoints_of_a_run_with_no_clean_one_say_so(world: PaperWorld) -> None:
    world.forensics.contaminated = {1, 2, 3, 4}
    message = (await world.operations.perform(ShowCheckpoints(run=RUN, user=BOB))).message
    assert message.title == "digits: no checkpoint that a rollback can go to"
    assert message.tone is Tone.WARNING


async def test_checkpoints_of_a_watched_run_are_told_without_starting_its_python(world: PaperWorld) -> None:
    view = replace(world.runs.all()[0], watched_only="owned by uid 7")
    message = (await world.operations._records.checkpoints(view)).message
    assert message.title == "digits: no checkpoint is saved yet"


def _saved(epoch: int) -> CheckpointFact:
    row = {"epoch": epoch, "file": f"guard/states/epoch{epoch:04d}.pt", "verdict": "clean", "bytes": 3 * 2**30}
    fact = CheckpointFact.parse(row)
    assert fact is not None
    return fact


@pytest.mark.parametrize(
    ("usable", "words"),
    [((7,), "epoch 7"), ((3, 7), "epochs 3 and 7"), ((1, 3, 5, 8, 9), "epoch 9 and 4 earlier ones")],
)
def test_four_hundred_checkpoints_are_told_in_one_message(
    world: PaperWorld, usable: tuple[int, ...], words: str
) -> None:
    facts = [_saved(epoch) for epoch in range(1, 401)]
    message = listings.checkpoints(world.runs.all()[0], facts, usable, told_by="judged now")
    assert message.title == f"digits: a rollback can go to {words}"
    assert len(message.items) == 20
    assert "3 GiB" in message.items[0].detail
    assert "380 older epochs not shown" in message.context


async def test_an_archive_that_was_being_brought_back_when_the_bot_was_killed_has_an_outcome_once(
    world: PaperWorld, tmp_path: Path
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append(BOB, "archive.bring_back", "digits", {"archive": "after3"}, 1.0)
    log.append(BOB, "archive.brought_back", "digits", {"archive": "after3"}, 2.0)
    log.append(BOB, "archive.bring_back", "digits", {"archive": "after2"}, 3.0)
    world.audit = log  # type: ignore[assignment]
    world.operations = world.new_operations()
    for _ in range(2):
        await world.operations.reconcile()
    cut_off = [entry for entry in log.entries() if entry.action == "archive.bring_back_cut_off"]
    assert [(entry.subject, entry.detail["archive"]) for entry in cut_off] == [("digits", "after2")]
