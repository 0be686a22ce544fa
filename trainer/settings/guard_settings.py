"""The guard's own settings: they travel among Ultralytics' overrides and are taken out before it sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.copies.place import check_place, has_password, shown
from trainmaster.trainer.levels import DEFAULT_LEVEL, check_level


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """How the guard works. Every field is a key of the command line and of ``overrides``.

    Made by :func:`take_settings`, which raises ArgumentsError on a value that cannot be.
    """

    level: str = DEFAULT_LEVEL
    """How much protection: observe, guard, standard, strict, strict+1 to strict+20; see
    :mod:`trainmaster.trainer.levels`."""
    exact: bool = False
    """A run that is interrupted and resumed ends with the weights of the run that was not, bit for bit."""
    quarantine: str | None = None
    """A text file that names one image path a line: these are left out of training."""
    snapshot_s: float | None = None
    """Seconds between full states saved within an epoch, 0 for none: what a power cut may cost. None: two to ten
    minutes, the longer the longer a save takes; see :mod:`trainmaster.trainer.state.cadence`."""
    max_norm: float | None = None
    """2-norm of all gradients of a step, unscaled, at which they are clipped; the level decides when it is None."""
    bad_streak: int = 10
    """Bad batches in a row that end the run: chance does not make ten, a diverged model or a dead GPU does."""
    bad_count: int = 10
    """Bad batches among the last ``bad_window`` that are put up with. 10 in 2,000 is 0.5 %: the run that this guards
    against saw 73 in 7,550 (1 %) and was past saving. Small data sets see one bad image again every epoch, so the
    limit is never below two an epoch."""
    bad_window: int = 2000
    """Batches over which ``bad_count`` counts."""
    keep_states: int = 3
    """Full states of past epochs that are kept, besides the best and the newest clean one, the newest clean one from
    before the first incident, and one clean one for each power of two epochs back."""
    copy_to: str | None = None
    """Where clean states are copied while it trains: the full path of a folder on another disk, or fsspec's URL of one;
    without it, ``COPY_TO`` of the environment, where a password may stand: this one is kept in states."""
    copy_keep: int = 3
    """Epochs whose copies are kept there, the best one beside them."""
    replay_incidents: bool = True
    """A bad batch that is recorded runs twice more at once, which tells data and recipe from a card that failed. It
    costs at most two steps an incident, and a run records fifty."""
    owner: str | None = None
    """The Slack member id of whoever the alerts of this run mention, beside the people on call."""
    drill: str | None = None
    """A planned fault, ``nan-image@2:5`` for epoch 2 batch 5: to see the alarm work."""

    def as_record(self) -> dict[str, Any]:
        """Plain values, as a saved state holds them."""
        return asdict(self)


GUARD_KEYS: Final = tuple(field.name for field in fields(GuardSettings))

_MEMBER: Final = re.compile(r"[UW][A-Z0-9]{1,20}")
_SWITCHES: Final = frozenset({"exact", "replay_incidents"})
_FRACTIONS: Final = frozenset({"snapshot_s", "max_norm"})
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_FLOORS: Final[Mapping[str, float]] = {
    "snapshot_s": 0,
    "max_norm": 1e-9,
    "bad_streak": 1,
    "bad_count": 1,
    "bad_window": 1,
    "keep_states": 1,
    "copy_keep": 1,
}


def take_settings(
    overrides: Mapping[str, Any], base: GuardSettings | None = None
) -> tuple[GuardSettings, dict[str, Any]]:
    """The guard's settings in ``overrides`` (over ``base``), and what is left for Ultralytics.

    Raises:
        ArgumentsError: all values that cannot be, in one message.
    """
    values = (base or GuardSettings()).as_record()
    rest = dict(overrides)
    faults = []
    for key in GUARD_KEYS:
        if key not in rest:
            continue
        try:
            values[key] = _checked(key, rest.pop(key))
        except ArgumentsError as error:
            faults.append(error.message + (f" ({error.hint})" if error.hint else ""))
        except (TypeError, ValueError, OverflowError):
            faults.append(f"{key}={str(overrides[key])[:40]} is no {_kind(key)}")
    if faults:
        raise ArgumentsError("; ".join(faults))
    return GuardSettings(**values), rest


def _checked(key: str, value: Any) -> Any:
    if key == "level":
        return check_level(str(value))
    if value is None:
        return None
    if key in _SWITCHES:
        return _truth(value)
    if key in {"quarantine", "drill"}:
        return str(value)
    if key == "owner":
        return _checked_member(str(value).strip())
    if key == "copy_to":
        return _checked_place(str(value).strip())
    number = float(value)
    if isinstance(value, bool) or not (key in _FRACTIONS or number.is_integer()):
        raise ValueError(value)
    number = number if key in _FRACTIONS else int(number)
    if not number >= _FLOORS[key]:  # so that nan is refused too
        raise ArgumentsError(f"{key}={value} is below {_FLOORS[key]:g}")
    return number


def _checked_place(text: str) -> str | None:
    if has_password(text):
        raise ArgumentsError(f"copy_to={shown(text)} holds a password", "set COPY_TO in the environment instead")
    return check_place(text) if text else None


def _checked_member(text: str) -> str:
    if not _MEMBER.fullmatch(text):
        hint = "in their Slack profile: ⋮, Copy member ID"
        raise ArgumentsError(f"owner={text[:40]} is no Slack member id such as U0123ABCD", hint)
    return text


def _truth(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(value)


def _kind(key: str) -> str:
    if key in _SWITCHES:
        return "true or false"
    return "number" if key in _FRACTIONS else "whole number"
