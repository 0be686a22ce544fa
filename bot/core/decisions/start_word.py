"""What a button that starts runs carries: the run, the attempt that its message told of, and how to start; or the alert
in whose message many are told. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.conversation.message import ActionId

_FORM: Final = re.compile(
    r"(?P<attempt>\d{1,9})(?:(?P<anyway>!)(?P<told>[rkdmguRKDMGU]*))?(?:b(?P<batch>\d{1,6}))?(?:l(?P<level>[\w+]{1,40}))?"
    r":(?P<run>.+)",
    re.DOTALL,
)
_ALL: Final = "all:"
"""Before the fingerprint of the alert whose message is meant. No word of a run begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWord:
    """``anyway``: whatever the gate found, of which ``told`` is what the message told of (:func:`gate.told_of`), empty
    where that is not known. ``batch``: with another batch size. ``level``: at another level. ``attempt`` is None where
    none was told of."""

    run: str
    attempt: int | None = None
    anyway: bool = False
    told: str = ""
    batch: int | None = None
    level: str | None = None

    @property
    def text(self) -> str:
        """As :meth:`parse` reads it."""
        anyway = f"!{self.told}" if self.anyway else ""
        batch = f"b{self.batch}" if self.batch is not None else ""
        level = f"l{self.level}" if self.level is not None else ""
        return f"{self.attempt or 0}{anyway}{batch}{level}:{self.run}"

    @classmethod
    def parse(cls, text: str) -> StartWord:
        """Text of another form is the name of a run."""
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(run=text)
        return cls(
            run=found["run"],
            attempt=int(found["attempt"]) or None,
            anyway=bool(found["anyway"]),
            told=found["told"] or "",
            batch=int(found["batch"]) if found["batch"] else None,
            level=found["level"],
        )


def all_of(leader: str) -> str:
    """What the button carries that starts every run of the message of alert ``leader``."""
    return _ALL + leader


def leader_of(text: str) -> str | None:
    """The alert that :func:`all_of` named; None for the word of one run."""
    return text.removeprefix(_ALL) if text.startswith(_ALL) else None


def start_words(alerts: Iterable[Alert]) -> tuple[StartWord, ...]:
    """Of those that fire and ask for a start with the settings as they were: one for each run."""
    found = {}
    for alert in alerts:
        if alert.state is not AlertState.FIRING:
            continue
        for button in alert.finding.buttons:
            word = StartWord.parse(button.value) if button.action is ActionId.RESUME_RUN else None
            if word is not None and word.batch is None and not word.anyway:
                found[word.run] = word
    return tuple(found.values())
