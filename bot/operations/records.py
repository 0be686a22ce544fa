"""What rollbacks put aside, its way back, and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.decisions.audit import AuditEntry
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.job import waiting_text
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, TrainmasterError
from trainmaster.bot.operations import listings
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.ports import AuditBook
from trainmaster.bot.operations.refusals import refuse_unless_ours
from trainmaster.bot.operations.rollback.target import rollback_epochs

_BRING_BACK, _BROUGHT_BACK = "archive.bring_back", "archive.brought_back"
_FAILED, _CUT_OFF = "archive.bring_back_failed", "archive.bring_back_cut_off"
"""Audit actions: before the files are moved, and what came of it."""


async def refuse_if_running(view: RunView, world: World) -> None:
    """The trainer of the run is certainly over.

    Raises:
        CommandError: it lives, or that cannot be told.
    """
    process = view.at_work
    if process is None:
        return
    fact = await world.inspect(process)
    if not fact.over:
        how = {
            ProcessStatus.ALIVE: "still runs",
            ProcessStatus.PENDING: f"waits in the queue already: {waiting_text(fact.job)}",
            ProcessStatus.SUSPENDED: "is suspended by its cluster, which goes on with it",
        }.get(fact.status, f"may still run: {fact.detail}")
        raise CommandError("still-running", f"the trainer of {view.name} {how}.", "/train status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Callers have made sure that ``user`` is on call, ``view`` is fresh, and no operation is under way."""

    world: World
    audit: AuditBook
    host: str | None

    async def checkpoints(self, view: RunView) -> Reply:
        """Every checkpoint of the run, judged; of a run whose Python is not started, what its own records say.

        Raises:
            OperationError: the checkpoints could not be examined.
        """
        if view.watched_only:
            return Reply(message=listings.checkpoints(view, view.checkpoints, (), told_by="as the trainer recorded it"))
        catalog = await self.world.forensics.catalog(view)
        return Reply(message=listings.checkpoints(view, catalog, rollback_epochs(view, catalog), told_by="judged now"))

    async def archives(self, view: RunView) -> Reply:
        """What rollbacks of the run put aside.

        Raises:
            OperationError: the archive could not be read.
        """
        return Reply(message=listings.archives(view.name, await self.world.forensics.archives(view)))

    async def bring_back(self, view: RunView, user: str, name: str) -> Reply:
        """What the archive ``name`` holds is back in its place.

        Raises:
            CommandError: no such archive, or the run is at work.
            OperationError: the run has gone on since, or a move failed; says which.
            StoreError: it could not be recorded; nothing was moved, or the files are back and only that is unrecorded.
        """
        refuse_unless_ours(view, self.host)
        await refuse_if_running(view, self.world)
        known = {fact.name: fact for fact in await self.world.forensics.archives(view)}
        if name not in known:
            raise CommandError(
                "archive-unknown",
                f"run {view.name} has no archive {name[:60]!r}. It has: {', '.join(known) or 'none'}.",
                "/train archive",
            )
        self.audit.append(user, _BRING_BACK, view.run, {"archive": name}, self.world.clock.now())
        try:
            await self.world.forensics.unarchive(view, Path(known[name].folder))
        except TrainmasterError as error:
            detail = {"archive": name, "why": str(error)}
            self.audit.append(user, _FAILED, view.run, detail, self.world.clock.now())
            raise
        self.audit.append(user, _BROUGHT_BACK, view.run, {"archive": name}, self.world.clock.now())
        number = known[name].num_files
        back = "1 file is back where it was" if number == 1 else f"{number:,} files are back where they were"
        text = f"{back}. Next: /train resume"
        return Reply(message=Message(title=f"{view.name}: {name} is brought back", tone=Tone.GOOD, body=(text,)))

    def reconcile(self, entries: Sequence[AuditEntry], now: float) -> None:
        """An archive that was being brought back when the bot ended has an outcome too: that nobody saw its end.
        ``entries`` are the newest, oldest first.

        Raises:
            StoreError: the log can't be written.
        """
        begun: dict[tuple[str, str], AuditEntry] = {}
        for entry in entries:
            about = (entry.subject, str(entry.detail.get("archive")))
            if entry.action == _BRING_BACK:
                begun[about] = entry
            elif entry.action in {_BROUGHT_BACK, _FAILED, _CUT_OFF}:
                begun.pop(about, None)
        for (subject, archive), entry in begun.items():
            detail = {"archive": archive, "entry": entry.seq, "outcome": "cut off: /train archive shows what holds"}
            self.audit.append(entry.actor, _CUT_OFF, subject, detail, now)

    async def audit_trail(self, limit: int) -> Reply:
        """The newest entries of the audit log, and whether the whole of it is intact.

        Raises:
            StoreError: it cannot be read.
        """
        entries, report = self.audit.entries(limit), await asyncio.to_thread(self.audit.verify)
        return Reply(message=listings.audit_trail(entries, report), private=True)
