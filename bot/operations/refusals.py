"""What is done to no run that is not the bot's to act on."""

from __future__ import annotations

import shlex

from trainmaster.bot.core.run.ownership import TO_ACT
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError


def refuse_unless_ours(view: RunView, host: str | None) -> None:
    """The bot may act on the run, which says how it was started, and it runs (or ran) on this host.

    Raises:
        CommandError: it does not.
    """
    refuse_watched_only(view)
    record = view.record
    if record is None:
        raise CommandError(
            "run-unguarded",
            f"run {view.name} has no readable guard/run.json, so its process and its Python are not known.",
            "stop it by hand, then: trainmaster catalog RUN_DIR; trainmaster resume RUN_DIR from=EPOCH",
        )
    elsewhere = record.process.elsewhere(host) if record.process is not None else None
    if elsewhere:
        raise CommandError(
            "run-elsewhere",
            f"run {view.name} runs on host {elsewhere}, this bot on {host}.",
            f"run the bot on {elsewhere}, or there: trainmaster resume {shlex.quote(str(view.directory))} from=EPOCH",
        )


def refuse_watched_only(view: RunView) -> None:
    """The bot may act on the run: nobody but its own user can have written what stands there.

    Raises:
        CommandError: it may not; says why.
    """
    if view.watched_only:
        raise CommandError(
            "watched-only",
            f"run {view.name} is watched only: {view.watched_only}. Nothing was done to it.",
            "say it to the Trainmaster that acts on them, or end that one: this one takes over"
            if view.spare
            else TO_ACT,
        )


def refuse_foreign_process(view: RunView) -> None:
    """The process that the record names is the run's trainer, as far as one lives.

    Raises:
        CommandError: it is not, and is left alone.
    """
    if view.process_fault:
        raise CommandError(
            "not-its-trainer",
            f"nothing is done to {view.name}: {view.process_fault}. It was not signalled.",
            "stop the trainer by hand, or adopt the run with --pid",
        )
