"""The seven layers of protection as data, and how a level is strengthened. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError, is_number

OBSERVE: Final = "observe"
GUARD: Final = "guard"
STANDARD: Final = "standard"
STRICT: Final = "strict"
NAMED_LEVELS: Final = (OBSERVE, GUARD, STANDARD, STRICT)

DEFAULT_LEVEL: Final = GUARD
"""What holds where nobody names one: whoever gives a recipe means it (docs/decisions, the level to begin with)."""

KEEPS_THE_RECIPE: Final = frozenset({OBSERVE, GUARD})
"""Levels that change no setting of Ultralytics."""

MAX_STEPS_BEYOND_STRICT: Final = 20
"""A millionth of strict's rate trains nothing; whoever needs more has another problem."""

LAYER_NAMES: Final = {
    1: "gradient clipping",
    2: "bad-batch skip",
    3: "learning rate",
    4: "warm-up",
    5: "optimizer",
    6: "colour augmentation",
    7: "validation every epoch",
}

_LAYER_OF: Final = {
    "max_norm": 1,
    "skip_bad_batches": 2,
    "lr0": 3,
    "warmup_epochs": 4,
    "warmup_bias_lr": 4,
    "optimizer": 5,
    "momentum": 5,
    "weight_decay": 5,
    "hsv_h": 6,
    "hsv_s": 6,
    "hsv_v": 6,
    "val": 7,
}

_STANDARD: Final[Mapping[str, Any]] = {
    "max_norm": 10.0,
    "skip_bad_batches": True,
    "lr0": 0.0005,
    "warmup_epochs": 5.0,
    "warmup_bias_lr": 0.05,
    "optimizer": "SGD",
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "hsv_h": 0.01,
    "hsv_s": 0.5,
    "hsv_v": 0.3,
    "val": True,
}
_STRICT: Final[Mapping[str, Any]] = {
    "max_norm": 5.0,
    "skip_bad_batches": True,
    "lr0": 0.00025,
    "warmup_epochs": 10.0,
    "warmup_bias_lr": 0.025,
    "optimizer": "SGD",
    "momentum": 0.85,
    "weight_decay": 0.001,
    "hsv_h": 0.005,
    "hsv_s": 0.3,
    "hsv_v": 0.2,
    "val": True,
}
_OBSERVED: Final[Mapping[str, Any]] = {"max_norm": 10.0, "skip_bad_batches": False}
"""What stock Ultralytics does and has no setting for: clip at 10 (engine/trainer.py, optimizer_step), skip nothing."""
_GUARDED: Final[Mapping[str, Any]] = {**_OBSERVED, "skip_bad_batches": True}
"""The recipe as it is, and no bad batch in it."""

LAYER_SETTINGS: Final = tuple(_LAYER_OF)

GUARD_ONLY: Final = frozenset(_OBSERVED)
"""Settings of the layers that Ultralytics does not know."""

_HALVED: Final = ("lr0", "max_norm")

_SAFER: Final[Mapping[str, Callable[[float, float], float]]] = {
    "max_norm": min,
    "lr0": min,
    "warmup_epochs": max,
    "warmup_bias_lr": min,
    "momentum": min,
    "weight_decay": max,
    "hsv_h": min,
    "hsv_s": min,
    "hsv_v": min,
}
"""Which of two values is the more careful one."""

USER: Final = "user"
DEFAULT: Final = "Ultralytics default"
CHECKPOINT: Final = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One line of the table shown at start-up. ``source`` says who decided."""

    layer: int
    setting: str
    value: Any
    source: str

    def as_record(self) -> dict[str, Any]:
        """As ``run.json`` holds it."""
        return {
            "layer": self.layer,
            "name": LAYER_NAMES[self.layer],
            "setting": self.setting,
            "value": self.value,
            "source": self.source,
        }


def check_level(level: str) -> str:
    """``level`` in its one spelling: a named level, or ``strict+N`` with N from 1.

    Raises:
        ArgumentsError: no such level.
    """
    text = level.strip().lower()
    if text in NAMED_LEVELS:
        return text
    base, _, count = text.partition("+")
    if base == STRICT and is_number(count) and (steps := int(count)) <= MAX_STEPS_BEYOND_STRICT:
        return f"{STRICT}+{steps}" if steps else STRICT
    raise ArgumentsError(
        f"unknown level {level!r}", f"levels: {', '.join(NAMED_LEVELS)}, strict+1 to strict+{MAX_STEPS_BEYOND_STRICT}"
    )


def next_level(level: str) -> str:
    """The level to go on with when ``level`` was not enough; the last one stays."""
    text = check_level(level)
    if text in KEEPS_THE_RECIPE:
        return STANDARD  # the recipe itself is in doubt
    if text == STANDARD:
        return STRICT
    return f"{STRICT}+{min(_steps_beyond_strict(text) + 1, MAX_STEPS_BEYOND_STRICT)}"


def settings_of(level: str) -> dict[str, Any]:
    """What ``level`` sets; beyond strict, each step halves the rate and the clip again.

    Observe and guard set nothing of Ultralytics' own.
    """
    text = check_level(level)
    settings = dict({OBSERVE: _OBSERVED, GUARD: _GUARDED, STANDARD: _STANDARD}.get(text, _STRICT))
    if steps := _steps_beyond_strict(text):
        settings |= {name: settings[name] / 2**steps for name in _HALVED}
    return settings


def resolve(
    level: str,
    user: Mapping[str, Any],
    defaults: Mapping[str, Any],
    default_source: str = DEFAULT,
) -> tuple[LayerRow, ...]:
    """Every setting of every layer with its value and who decided: the user, else the level, else ``defaults``."""
    text = check_level(level)
    wanted = settings_of(text)
    rows = []
    for setting, layer in _LAYER_OF.items():
        if setting in user:
            value, source = user[setting], USER
        elif setting in wanted and not (text in KEEPS_THE_RECIPE and setting == "max_norm"):
            value, source = wanted[setting], f"level {text}"
        elif setting in wanted:
            value, source = wanted[setting], DEFAULT
        else:
            value, source = defaults.get(setting), default_source
        rows.append(LayerRow(layer=layer, setting=setting, value=value, source=source))
    return tuple(rows)


def max_norm_of(rows: tuple[LayerRow, ...], *, steps_its_own_way: bool) -> float:
    """At which norm gradients are clipped, infinite for not at all: a trainer's own step clips as it likes, unless a
    level or a person wants a norm."""
    (row,) = [row for row in rows if row.setting == "max_norm"]
    return math.inf if steps_its_own_way and row.source == DEFAULT else float(row.value)


def strengthened(level: str, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What still holds of ``earlier``, the user's values at the start of the run, when it goes on at another level.

    That level was asked for because those values were not enough, so only those that are at least as careful stay, and
    those of which neither is the careful one.
    """
    wanted = settings_of(level)
    return {
        name: value
        for name, value in earlier.items()
        if name not in _SAFER or name not in wanted or _SAFER[name](value, wanted[name]) == value
    }


_TABLE_COLUMNS: Final = 76


def table(rows: tuple[LayerRow, ...], width: int | None = None) -> str:
    """The rows as aligned text, one layer name per group; as two lines each where ``width`` is less than that takes."""
    if width is not None and width < _TABLE_COLUMNS:
        told = [f"{row.layer} {LAYER_NAMES[row.layer]}\n  {row.setting} {row.value} ({row.source})" for row in rows]
        return "\n".join(told)
    lines = [f"{'layer':<26}{'setting':<18}{'value':<12}from"]
    shown = 0
    for row in rows:
        name = f"{row.layer} {LAYER_NAMES[row.layer]}" if row.layer != shown else ""
        shown = row.layer
        lines.append(f"{name:<26}{row.setting:<18}{row.value!s:<12}{row.source}")
    return "\n".join(lines)


def _steps_beyond_strict(level: str) -> int:
    return int(level.partition("+")[2] or 0)
