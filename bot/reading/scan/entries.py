"""What a post-mortem lists: incidents and notices, each with its place, counted where they repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainmaster.bot.reading.console.facts import NoticeKind
from trainmaster.record import Fixed, replaced

USER_STOPPED = "stopped_by_user"
"""The kind of the entry that says so."""
ENDED_LATER = "ended_later"
"""The kind of the entry that tells how a process was ended whose training was complete."""
NONFINITE_LOSS = "nonfinite_loss"
NONFINITE_VALIDATION = "nonfinite_validation"
_MAX_INCIDENTS = 1_000
_MAX_NOTICES = 200
_TOLD_BY_TEXT = frozenset({NoticeKind.WARNING, NoticeKind.LOGGED_ERROR, NoticeKind.RECOVERED_EXCEPTION})
"""Notices that are alike only if they say the same."""


class SummaryEntry(Fixed):
    """An incident or a notice, with the epoch and batch of the last frame before it. ``count`` repeats of it follow
    each other: frames of one epoch, lines of one kind.
    """

    line: int
    epoch: int | None
    batch: int | None
    text: str
    kind: str
    count: int = 1


class Entries:
    """The entries of a log, as many as a person may read."""

    def __init__(self) -> None:
        self._incidents: list[SummaryEntry] = []
        self._notices: list[SummaryEntry] = []
        self._dropped = 0
        self._bad_validations: list[SummaryEntry] = []
        """One an attempt: skimming passes over the healthy rows between."""
        self.num_earlier_bad = 0
        """How many of them are of attempts before the last."""

    def add_incident(self, entry: SummaryEntry) -> int:
        """Where ``entry`` stands among the incidents; -1 when they are full."""
        if len(self._incidents) >= _MAX_INCIDENTS:
            self._dropped += 1
            return -1
        self._incidents.append(entry)
        return len(self._incidents) - 1

    def repeat_incident(self, place: int, times: int) -> None:
        """The incident at ``place``, if it is listed, was seen so many times more."""
        if times and place >= 0:
            known = self._incidents[place]
            self._incidents[place] = replaced(known, count=known.count + times)

    def add_notice(self, entry: SummaryEntry) -> None:
        """List ``entry``, or count it where one like it is."""
        for place, known in enumerate(self._notices):
            if known.kind == entry.kind and (entry.kind not in _TOLD_BY_TEXT or known.text == entry.text):
                self._notices[place] = replaced(known, count=known.count + 1)
                return
        if len(self._notices) < _MAX_NOTICES:
            self._notices.append(entry)

    def add_bad_validation(self, entry: SummaryEntry) -> None:
        """List ``entry``, or count it where the attempt has one."""
        if len(self._bad_validations) > self.num_earlier_bad:
            known = self._bad_validations[-1]
            self._bad_validations[-1] = replaced(known, count=known.count + 1)
        elif len(self._bad_validations) < _MAX_NOTICES:
            self._bad_validations.append(entry)

    def begin_attempt(self) -> None:
        """What is added from here on is of another attempt."""
        self.num_earlier_bad = len(self._bad_validations)

    def incidents(self, ends: Sequence[SummaryEntry]) -> list[SummaryEntry]:
        """In the order of the log, with the ``ends`` of a run. That a person pressed Ctrl-C is none, but a notice."""
        return [entry for entry in self._with(ends) if entry.kind not in {USER_STOPPED, ENDED_LATER}]

    def notices(self, ends: Sequence[SummaryEntry]) -> list[SummaryEntry]:
        """By the line of the first of each; none that turned out to be an incident."""
        listed = self._with(ends)
        incidents = {entry.line for entry in listed}
        recovered = NoticeKind.RECOVERED_EXCEPTION
        kept = [entry for entry in self._notices if entry.kind != recovered or entry.line not in incidents]
        kept += [entry for entry in listed if entry.kind in {USER_STOPPED, ENDED_LATER}] + self._bad_validations
        return sorted(kept, key=lambda entry: entry.line)

    def _with(self, ends: Sequence[SummaryEntry]) -> list[SummaryEntry]:
        listed = sorted([*self._incidents, *ends], key=lambda entry: entry.line)
        if self._dropped:
            more = f"{self._dropped} further incidents are not listed"
            listed.append(replaced(listed[-1], text=more, kind="more", count=self._dropped))
        return listed

    def lines(self) -> set[int]:
        """The lines of all entries."""
        return {entry.line for entry in [*self._incidents, *self._notices, *self._bad_validations]}

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give each entry the line that ``numbers`` has for its own."""
        for entries in (self._incidents, self._notices, self._bad_validations):
            entries[:] = [replaced(entry, line=numbers[entry.line]) for entry in entries]
