"""Looks at a run the moment its files change. The periodic check also always runs: network mounts tell nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from watchfiles import Change, awatch

from trainer.contract import ARCHIVE_DIR_NAME

_LOG = logging.getLogger(__name__)

WATCHED = ("/guard/events.jsonl", "/guard/run.json")
"""Not the heartbeat: it changes every second and tells nothing that can't wait for the periodic check."""
_ARCHIVED = f"/{ARCHIVE_DIR_NAME}/"
_DEBOUNCE_MS = 100
_STEP_MS = 20
_RETRY_S = 10.0


async def watch_runs(root: Path, changed: Callable[[Path], Awaitable[object]]) -> None:
    """Calls ``changed`` with a run directory whenever its records change; runs until cancelled and survives faults."""
    while True:
        try:
            async for changes in awatch(root, watch_filter=_wanted, debounce=_DEBOUNCE_MS, step=_STEP_MS):
                directories = {Path(path).parent.parent for _, path in changes}
                await asyncio.gather(*(changed(directory) for directory in directories))
        except (OSError, RuntimeError) as error:
            _LOG.warning("file-watcher: %s. The periodic check goes on; trying again in %g s.", error, _RETRY_S)
        await asyncio.sleep(_RETRY_S)


def _wanted(change: Change, path: str) -> bool:
    del change
    return path.endswith(WATCHED) and _ARCHIVED not in path  # called for every change of every file: text, not Path
