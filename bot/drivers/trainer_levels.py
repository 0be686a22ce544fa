"""The trainer's table of levels, as :class:`operations.ports.Levels`. Loads no torch: :mod:`levels` is plain data."""

from __future__ import annotations

from collections.abc import Mapping

from trainmaster.bot.errors import CommandError
from trainmaster.trainer import levels
from trainmaster.trainer.arguments import ArgumentsError

_MAX_LEVEL_CHARS = len("strict+99")
"""Ninety-nine halvings leave nothing of a rate; a number of a dozen digits would never be computed."""

_LEVELS_HINT = "levels: observe, guard, standard, strict, strict+1, strict+2, ..."


class TrainerLevels:
    """Implements :class:`operations.ports.Levels`, so that a plan shows the values that a resume will really set."""

    def check(self, level: str) -> str:
        """The level in its one spelling.

        Raises:
            CommandError: there is no such level; names the ones there are.
        """
        if len(level) > _MAX_LEVEL_CHARS:
            raise CommandError("level-unknown", f"unknown level {level[:_MAX_LEVEL_CHARS]!r}.", _LEVELS_HINT)
        try:
            return str(levels.check_level(level))
        except ArgumentsError as error:
            raise CommandError("level-unknown", f"{error.message}.", error.hint) from error

    def next(self, level: str | None) -> str:
        """The level to go on with when this one was not enough; standard when none is known."""
        try:
            return str(levels.next_level(level)) if level else levels.STANDARD
        except ArgumentsError:
            return levels.STANDARD

    def settings(self, level: str, user: Mapping[str, str]) -> Mapping[str, tuple[str, str, bool]]:
        """What a run goes on with at ``level`` when the user gave the values ``user``: by setting the layer, the value
        and whether it is the user's, as shown to people. A user's value that is less careful than the level gives way.
        """
        kept = levels.strengthened(self.check(level), {name: _value(text) for name, text in user.items()})
        rows = levels.resolve(self.check(level), kept, {})
        return {
            row.setting: (
                f"{row.layer} {levels.LAYER_NAMES[row.layer]}",
                user[row.setting] if row.source == levels.USER else str(row.value),
                row.source == levels.USER,
            )
            for row in rows
            if row.value is not None and row.source != levels.DEFAULT
        }


def _value(text: str) -> float | bool | str:
    """A value of ``run.json`` as the level table holds such values."""
    if text in {"True", "False"}:
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text
