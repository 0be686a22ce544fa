"""The trainer's side of its copies: it starts who copies, looks now and then how that goes, and waits for nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Final

import psutil

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import EventKind, RunLayout
from trainmaster.trainer.copies.following import CopyState, CopyStatus, is_copied_by_somebody, start, status_of
from trainmaster.trainer.copies.place import check_place, shown, wanted_place
from trainmaster.trainer.records.recorder import FAULT_INTERVAL_S, Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings

LOOK_S: Final = 20.0
"""Between looks at a file of two hundred bytes."""
_MAX_SILENT: Final = 3
"""So many processes in a row that end without a word, or before they are done, are told."""


class CopyWatch:
    """Of one attempt. Without a place for copies it does nothing."""

    def __init__(
        self,
        layout: RunLayout,
        recorder: Recorder,
        settings: GuardSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._layout = layout
        self._recorder = recorder
        self._keep = settings.copy_keep
        self._place = wanted_place(settings.copy_to, environ)
        self._unusable = _fault_of(self._place)
        self._monotonic = monotonic
        self._next_look: float | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._started_ts = 0.0
        self._num_silent = 0
        """Processes in a row that ended before they wrote how it goes."""
        self._told: str | None = None
        self._told_last = ("", 0.0)
        self._seen: CopyStatus | None = None
        self._still_since_s = 0.0
        self._behind_since_s: float | None = None

    def look(self) -> None:
        """Somebody copies, and what is wrong with it is on record, once."""
        if self._place is None or (self._next_look is not None and self._monotonic() < self._next_look):
            return
        self._next_look = self._monotonic() + LOOK_S
        if self._unusable is not None:
            self._recorder.storage_fault("copies", self._unusable)
            self._place = None
            return
        if self._started is not None:
            self._started.poll()
        try:
            status = status_of(self._layout)
            if not self._is_at_work(status):
                self._start_anew(self._place, status)
                status = None if self._told is None else status
            self._tell(status)
        except OSError as error:
            self._recorder.storage_fault("copies", error)

    def _is_at_work(self, status: CopyStatus | None) -> bool:
        """Whether somebody copies. Of locks that tell nothing, the id of the process does; another may have it now."""
        is_held = is_copied_by_somebody(self._layout)
        if is_held is None:
            return status is not None and psutil.pid_exists(status.pid) and self._started is not None
        return is_held

    def _start_anew(self, place: str, status: CopyStatus | None) -> None:
        spoke = status is not None and status.ts >= self._started_ts - 1.0
        told = status is not None and spoke and status.state is not CopyState.COPYING
        self._num_silent = 0 if told or self._started is None else self._num_silent + 1
        if self._num_silent == _MAX_SILENT:
            ends = "is killed before it is done" if spoke else "ends at once, without a word"
            why = f"the process that copies {ends}; see what `trainmaster copy RUN_DIR` says"
            self._recorder.storage_fault("copies", OSError(why))
        self._started, self._started_ts = start(self._layout, place, keep=self._keep), time.time()

    def _tell(self, status: CopyStatus | None) -> None:
        if status is None:
            return
        trouble, now_s = self._trouble_of(status), self._monotonic()
        if trouble is not None and self._told is None:
            last, last_s = self._told_last
            if trouble == last and now_s - last_s < FAULT_INTERVAL_S:
                return  # now and then the same: told again once it lasts
            self._told_last = trouble, now_s
            text = f"{trouble}. It is tried again; the training goes on and its own states are whole"
            self._recorder.event(EventKind.STORAGE_FAULT, what=f"copies at {status.place}", error=text)
            self._told = trouble
        elif self._told is not None and status.state is CopyState.CURRENT:  # a try that has only begun ends nothing
            what = f"copies at {status.place}"
            self._recorder.event(EventKind.NOTICE, text=f"{what} go on", what=what)
            self._told = None

    def _trouble_of(self, status: CopyStatus) -> str | None:
        now_s = self._monotonic()
        if status != self._seen:
            self._seen, self._still_since_s = status, now_s
        if status.behind_since_ts is None:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
        behind_s = 0.0 if self._behind_since_s is None else now_s - self._behind_since_s
        return status.trouble(still_s=now_s - self._still_since_s, behind_s=behind_s)


def _fault_of(place: str | None) -> OSError | None:
    """Why nothing can be copied there, in words. A training does not end for that."""
    try:
        if place is not None:
            check_place(place)
    except ArgumentsError as error:
        return OSError(f"{shown(error.message)}, so nothing is copied; for example {error.hint}")
    return None
