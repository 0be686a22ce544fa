"""Lists that people ask for: what was put aside, who did what. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainmaster.bot.core.conversation.message import Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment
from trainmaster.bot.core.conversation.words import counted, number_text
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport
from trainmaster.bot.core.run.facts import CheckpointFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import Verdict

_MAX_SHOWN = 20
_MAX_FAULTS = 5


def archives(name: str, facts: Sequence[ArchiveFact]) -> Message:
    """The archives of a run, newest first."""
    if not facts:
        return Message(title=f"{name}: no rollback has put anything aside")
    items = tuple(
        Item(
            mark=Mark.DONE if fact.state == "archived" else Mark.WARNING,
            text=f"{moment(fact.ts)}: what came after epoch {fact.after_epoch}",
            detail=f"{counted(fact.num_files, 'file')}, {_size_text(fact.size_bytes)}"
            + ("" if fact.state == "archived" else f", {fact.state}")
            + f"; to have it back: /train bring back {fact.name}",
        )
        for fact in reversed(facts[-_MAX_SHOWN:])
    )
    return Message(title=f"{name}: {counted(len(facts), 'archive')}", items=items)


def audit_trail(entries: Sequence[AuditEntry], report: AuditReport) -> Message:
    """The newest entries, oldest first, under the verdict on the whole log."""
    verdict = "intact" if report.intact else counted(len(report.faults), "fault")
    faults = tuple(f"Fault: {fault}." for fault in report.faults[:_MAX_FAULTS])
    lines = tuple(f"{moment(entry.ts)} {actor(entry.actor)}: {entry.action} on {entry.subject}" for entry in entries)
    return Message(
        title=f"Audit log: {counted(report.num_entries, 'entry', 'entries')}, {verdict}",
        tone=Tone.NEUTRAL if report.intact else Tone.CRITICAL,
        body=(*faults, "\n".join(lines)) if lines else faults,
        context=(f"head {report.head[:16]}",),
    )


_VERDICT_MARKS = {Verdict.CLEAN: Mark.DONE, Verdict.CONTAMINATED: Mark.FAILED, Verdict.UNKNOWN: Mark.UNKNOWN}
_BAD_FIRST = (Verdict.CONTAMINATED, Verdict.UNKNOWN, Verdict.CLEAN)
_MAX_REASONS = 2


def checkpoints(view: RunView, facts: Sequence[CheckpointFact], usable: Sequence[int], *, told_by: str) -> Message:
    """Every epoch that has a checkpoint, the newest first: whether it is clean and why not, how large, and whether a
    rollback can go to it. ``usable`` are the epochs that one can go to."""
    by_epoch: dict[int | None, list[CheckpointFact]] = {}
    for fact in facts:
        by_epoch.setdefault(fact.epoch, []).append(fact)
    if not by_epoch:
        return Message(title=f"{view.name}: no checkpoint is saved yet", context=("/train status",))
    numbers = sorted(by_epoch, key=lambda epoch: -1 if epoch is None else epoch, reverse=True)
    newest = max(usable, default=None)
    title = (
        f"{view.name}: a rollback can go to {_epochs_text(usable)}"
        if usable
        else (f"{view.name}: no checkpoint that a rollback can go to")
    )
    left_out = len(numbers) - _MAX_SHOWN
    body = (f"It goes to epoch {newest} unless you name another.",) if newest is not None and len(usable) > 1 else ()
    shown = {number: by_epoch[number] for number in numbers[:_MAX_SHOWN]}
    words = {number: _words(facts, number in usable) for number, facts in shown.items()}
    common = _common(list(words.values()))
    if common:
        which = "Each" if all(one == common for one in words.values()) else "Each that says nothing else"
        body = (*body, f"{which} {'was' if common.startswith('attested') else 'is'} {common}.")
    return Message(
        title=title,
        tone=Tone.GOOD if usable else Tone.WARNING,
        body=body,
        items=tuple(
            _checkpoint(number, facts, "" if words[number] == common else words[number])
            for number, facts in shown.items()
        ),
        context=(
            told_by,
            *((f"{left_out:,} older epochs not shown",) if left_out > 0 else ()),
            *((f"/train execute rollback to epoch {newest}",) if newest is not None else ()),
        ),
    )


def _verdict(facts: Sequence[CheckpointFact]) -> Verdict:
    return min((fact.verdict for fact in facts), key=_BAD_FIRST.index)


def _words(facts: Sequence[CheckpointFact], usable: bool) -> str:
    """The verdict with its reasons."""
    verdict = _verdict(facts)
    reasons = list(dict.fromkeys(reason for fact in facts for reason in fact.reasons))[:_MAX_REASONS]
    if verdict is Verdict.CLEAN and not usable:
        return "; ".join(["clean, but not enough of it to go on from", *reasons])
    if reasons and reasons[0].startswith(f"attested {verdict.value}"):
        return "; ".join(reasons)
    return f"{verdict.value}: {'; '.join(reasons)}" if reasons else verdict.value


def _common(words: Sequence[str]) -> str:
    """What most of them are; empty where no two are alike."""
    most, number = Counter(words).most_common(1)[0]
    return most if number > 1 else ""


def _checkpoint(epoch: int | None, facts: Sequence[CheckpointFact], words: str) -> Item:
    saved = max((fact.ts for fact in facts if fact.ts is not None), default=None)
    fitness = next((fact.fitness for fact in facts if fact.fitness is not None), None)
    files = ", ".join(
        f"{fact.file.rpartition('/')[2]} {_size_text(fact.size_bytes)}" for fact in sorted(facts, key=lambda f: f.file)
    )
    parts = (
        *((f"saved {moment(saved)}",) if saved else ()),
        *((f"fitness {number_text(fitness)}",) if fitness is not None else ()),
        files,
    )
    name = "No epoch" if epoch is None else f"Epoch {epoch}"
    text = f"{name}: {words}" if words else name
    return Item(mark=_VERDICT_MARKS[_verdict(facts)], text=text, detail="; ".join(parts))


def _epochs_text(epochs: Sequence[int]) -> str:
    """``epoch 3``, ``epochs 1 to 4``, ``epochs 1, 2 and 8``; of many the newest and how many more."""
    ordered = sorted(epochs)
    if len(ordered) == 1:
        return f"epoch {ordered[0]}"
    if ordered[-1] - ordered[0] == len(ordered) - 1 and len(ordered) > 2:
        return f"epochs {ordered[0]} to {ordered[-1]}"
    if len(ordered) > 4:
        return f"epoch {ordered[-1]} and {len(ordered) - 1} earlier ones"
    return f"epochs {', '.join(map(str, ordered[:-1]))} and {ordered[-1]}"


def _size_text(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "of unknown size"
    value, unit = (size_bytes / 2**30, "GiB") if size_bytes >= 2**30 else (size_bytes / 2**20, "MiB")
    return f"{value:.1f} {unit}".replace(".0 ", " ")
