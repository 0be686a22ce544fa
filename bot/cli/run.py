"""``trainmaster run``: watch RUNS_DIR and answer in Slack until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainmaster.bot.app import App
from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.cli.log_lines import LogLines
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.read_ahead import ReadAhead
from trainmaster.bot.service.signals import end_on_signal
from trainmaster.bot.settings.model import Settings, load_settings, repeated_names, suspicious_names
from trainmaster.loading import loading
from trainmaster.visible import visible_line

_LOG = logging.getLogger(__name__)

_ENV_FILE = Path(".env")
_GC_THRESHOLDS = (10_000, 20, 20)
"""Python 3.11's own are 700, 10, 10. The views of a thousand runs are many objects without a cycle, and looking through
them was a tenth of a start and a fifth of a tick."""
_SWITCH_S = 0.001
"""Python's own is 5 ms, and so long the event loop would wait for a thread that reads, after each statement for the
database: with a hundred runs to read anew, that was a second."""
_TALKATIVE = ("apscheduler", "slack_bolt", "slack_sdk", "watchfiles", "aiohttp")
"""Libraries that tell at level INFO what nobody needs."""


def main(argv: Sequence[str]) -> int:
    """0 once a signal has ended it and everything is closed; trainings go on.

    Raises:
        TrainmasterError: the settings are not usable, another bot runs, or Slack refused the tokens or the channel.
    """
    parser = VerbParser(prog="trainmaster run", description="Watch RUNS_DIR and answer in Slack.")
    parser.parse_args(argv)
    settings = load_settings(os.environ, _ENV_FILE)
    if settings.copy_to is not None:  # from .env or not: the trainers that are started from here have it too
        os.environ["COPY_TO"] = settings.copy_to
    _set_up_logging(settings.log_level)
    for warning in (*suspicious_names(os.environ, _ENV_FILE), *repeated_names(_ENV_FILE)):
        _LOG.warning("settings: %s", warning)
    ownership = Ownership(check=OwnerCheck(settings.owner_check), root=settings.runs_dir)
    with contextlib.closing(ReadAhead(ownership)) as ahead:
        asyncio.run(_until_signal(settings, ahead))
    return 0


@contextlib.contextmanager
def _undisturbed(ahead: ReadAhead) -> Iterator[None]:
    """The first look at all runs, before which nobody is answered: no thread is interrupted as often as one must be
    while people wait, and no garbage is looked for."""
    try:
        with loading():
            yield
            gc.freeze()  # what is there by now is not looked through
    finally:
        sys.setswitchinterval(_SWITCH_S)
        gc.set_threshold(*_GC_THRESHOLDS)
        ahead.close()


async def _until_signal(settings: Settings, ahead: ReadAhead) -> None:
    task = asyncio.create_task(_serve(settings, ahead))
    end_on_signal(task, "Ending: what is under way is closed.")
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _serve(settings: Settings, ahead: ReadAhead) -> None:
    with loading():
        app = App(settings, first_round=lambda: _undisturbed(ahead), read_ahead=ahead.take)
        gc.freeze()
    try:
        await app.start()
        print(visible_line(f"Trainmaster watches {settings.runs_dir}. Ctrl-C ends it; trainings go on."), flush=True)
        await app.serve()
    finally:
        await app.close()


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
