"""Runs that something else started and a person told the bot of: one JSON record a run, under STATE_DIR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainmaster.bot.core.run.adoption import AdoptedAttempt, Adoption
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import read_json, replace_json

ADOPTIONS_DIR_NAME = "adopted"
"""In STATE_DIR."""


def write_adoption(adoption: Adoption, state_dir: Path) -> None:
    """The record reads ``adoption``, durably.

    Raises:
        OSError: it reads what it did before.
    """
    folder = state_dir / ADOPTIONS_DIR_NAME
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_json(folder / f"{adoption.name}.json", adoption.to_json(), durable=True, mode=0o600)


def find_adoptions(state_dir: Path) -> tuple[Path, ...]:
    """The records of adopted runs."""
    folder = state_dir / ADOPTIONS_DIR_NAME
    return tuple(sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")))


def read_adoption(path: Path) -> Adoption | None:
    """The adoption in ``path``; None when it is damaged."""
    record = read_json(path)
    return Adoption.from_json(record) if record else None


class Adoptions:
    """Implements :class:`trainmaster.bot.operations.ports.ForeignAttempts` on the records under ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def begin(self, name: str, process: ProcessIdentity, log: Path, from_epoch: int | None) -> None:
        """As :class:`trainmaster.bot.operations.ports.ForeignAttempts` says of it."""
        begun = AdoptedAttempt(log=log, process=process, from_epoch=from_epoch)
        self._change(name, lambda adoption: adoption.with_attempt(begun))

    def end(self, name: str) -> None:
        """As :class:`trainmaster.bot.operations.ports.ForeignAttempts` says of it."""
        self._change(name, Adoption.with_end)

    def _change(self, name: str, change: Callable[[Adoption], Adoption]) -> None:
        adoption = read_adoption(self._state_dir / ADOPTIONS_DIR_NAME / f"{name}.json")
        if adoption is None:
            raise OperationError("run-unguarded", f"the record of {name} is gone.", "trainmaster adopt it again")
        changed = change(adoption)
        if changed == adoption:
            return
        try:
            write_adoption(changed, self._state_dir)
        except OSError as error:
            raise OperationError(
                "run-unrecorded", f"what became of {name} could not be recorded: {error}.", "make room in STATE_DIR"
            ) from error
