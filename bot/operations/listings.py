"""Lists that people ask for: what was put aside, who did what. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.conversation.message import Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport

_MAX_SHOWN = 20
_MAX_FAULTS = 5


def archives(name: str, facts: Sequence[ArchiveFact]) -> Message:
    """The archives of a run, newest first."""
    if not facts:
        return Message(title=f"{name}: no rollback has put anything aside")
    items = tuple(
        Item(
            mark=Mark.DONE if fact.state == "archived" else Mark.WARNING,
            text=f"{fact.name}, {moment(fact.ts)}",
            detail=f"what came after epoch {fact.after_epoch}: {counted(fact.num_files, 'file')}, "
            f"{fact.size_bytes / 2**20:.1f} MiB, {fact.state}",
        )
        for fact in reversed(facts[-_MAX_SHOWN:])
    )
    context = (f"in {facts[-1].folder.rpartition('/')[0]}",)
    return Message(title=f"{name}: {counted(len(facts), 'archive')}", items=items, context=context)


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
