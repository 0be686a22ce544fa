"""What a button that starts a run carries: the run, the attempt that its message told of, and how to start. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(r"(?P<attempt>\d{1,9})(?P<anyway>!?)(?:b(?P<batch>\d{1,6}))?:(?P<run>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWord:
    """``anyway``: whatever the gate found. ``batch``: with another batch size. ``attempt`` is None where none was told
    of."""

    run: str
    attempt: int | None = None
    anyway: bool = False
    batch: int | None = None

    @property
    def text(self) -> str:
        """As :meth:`parse` reads it."""
        batch = f"b{self.batch}" if self.batch is not None else ""
        return f"{self.attempt or 0}{'!' if self.anyway else ''}{batch}:{self.run}"

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
            batch=int(found["batch"]) if found["batch"] else None,
        )
