"""Which settings of a running training may be changed from here, and to what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from trainmaster.bot.core.decisions.change import Change
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError

LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "epochs": (1, 100_000),
    "lr0": (1e-9, 1.0),
    "lrf": (1e-6, 1.0),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1.0),
    "max_norm": (1e-3, 1e6),
    "patience": (0, 100_000),
    "close_mosaic": (0, 100_000),
    "mosaic": (0.0, 1.0),
    "mixup": (0.0, 1.0),
    "hsv_h": (0.0, 1.0),
    "hsv_s": (0.0, 1.0),
    "hsv_v": (0.0, 1.0),
    "fliplr": (0.0, 1.0),
    "flipud": (0.0, 1.0),
    "scale": (0.0, 1.0),
    "translate": (0.0, 1.0),
    "degrees": (0.0, 180.0),
    "workers": (0, 256),
    "bad_streak": (1, 100_000),
    "bad_count": (0, 100_000),
}
"""Settings that a trainer certainly takes on a resume, with the values it takes: one that it refused would leave the
run stopped. Whatever else is to change is changed by hand, with ``trainmaster resume RUN_DIR key=value``."""
EXAMPLES: Final[Mapping[str, float]] = {
    "epochs": 150,
    "lr0": 0.0002,
    "lrf": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "max_norm": 10.0,
    "patience": 50,
    "close_mosaic": 10,
    "mosaic": 0.5,
    "mixup": 0.1,
    "hsv_h": 0.015,
    "hsv_s": 0.7,
    "hsv_v": 0.4,
    "fliplr": 0.5,
    "flipud": 0.1,
    "scale": 0.5,
    "translate": 0.1,
    "degrees": 10.0,
    "workers": 8,
    "bad_streak": 10,
    "bad_count": 50,
}
"""A usual value of each, to copy: Ultralytics' defaults (cfg/default.yaml, 8.4) and the guard's, the rate lower, since
it is lowered for a run that diverges."""
_WHOLE: Final = frozenset({"epochs", "patience", "close_mosaic", "workers", "bad_streak", "bad_count"})
_UNKNOWN: Final = "as trained so far"


def changes_of(view: RunView, wanted: Mapping[str, str]) -> tuple[Change, ...]:
    """What is asked for and does not hold yet, beside what holds now.

    Raises:
        CommandError: a setting is none of :data:`LIMITS`, a value none that it takes, or nothing would change.
    """
    now = view.record.settings if view.record else {}
    found = []
    for key, text in wanted.items():
        value = _checked(key, text)
        if key == "epochs":
            before = str(view.total_epochs or "?")
            _refuse_past(view, int(value))
        else:
            before = now.get(key, (_UNKNOWN, ""))[0]
        after = f"{int(value)}" if key in _WHOLE else f"{value + 0.0:.12g}"
        if before != after and _number(before) != value:
            found.append(Change(key=key, before=before, after=after))
    if not found:
        raise CommandError("no-change", f"run {view.name} has that already.", "/train status")
    return tuple(found)


def overtaken(view: RunView, changes: Sequence[Change]) -> str:
    """Why the run can't have ``changes`` any more, in a sentence; empty while it can."""
    ends = [int(one.after) for one in changes if one.key == "epochs"]
    at = _epoch_of(view)
    return f"The run has changed since: it is in epoch {at} already." if any(end < at for end in ends) else ""


def _checked(key: str, text: str) -> float:
    if key not in LIMITS:
        raise CommandError(
            "setting-unknown",
            f"{key[:40]!r} is no setting that can be changed from here: {', '.join(LIMITS)}.",
            "others by hand: trainmaster resume RUN_DIR key=value",
        )
    low, high = LIMITS[key]
    value = _number(text)
    if not low <= value <= high or (key in _WHOLE and value != int(value)):
        kind = "a whole number" if key in _WHOLE else "a number"
        raise CommandError(
            "value-refused",
            f"{key}={text[:40]}: it takes {kind} from {low:g} to {high:g}.",
            f"such as /train set {key}={EXAMPLES[key]:g}",
        )
    return value


def _number(text: str) -> float:
    """NaN where it is none; ``1_0`` is a slip, whatever Python takes it for."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _refuse_past(view: RunView, epochs: int) -> None:
    at = _epoch_of(view)
    if epochs < at:
        raise CommandError(
            "epochs-past", f"run {view.name} is in epoch {at} already.", f"extend to {at + 1} epochs, or more"
        )


def _epoch_of(view: RunView) -> int:
    return view.beat.epoch if view.beat and view.beat.epoch else 0
