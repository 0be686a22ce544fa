"""A run's arguments under another Ultralytics: what that one does not know is left out where it says nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import ultralytics
from ultralytics.cfg import check_cfg, check_dict_alignment
from ultralytics.utils import DEFAULT_CFG_DICT

from trainmaster.trainer.arguments import ArgumentsError

NOT_DEFAULT: Final = "args_not_default"
"""In a saved state: names of the arguments that differ from the defaults of the version that saved it."""
_BESIDE: Final = frozenset({"save_dir", "augmentations"})
"""Ultralytics takes these along without a default."""
_PUBLISHED: Final[Mapping[str, tuple[Any, ...]]] = {
    "angle": (1.0,),
    "channels_last": (None, False),
    "cls_pw": (0.0,),
    "cls_remap": (True,),
    "dgrad": (0.5,),
    "dis": (6.0,),
    "distill_model": (None,),
    "dlam": (1.0,),
    "dlog": (1.0,),
    "end2end": (None,),
    "half": (False,),
    "int8": (False,),
    "keras": (False,),
    "quantize": (None,),
    "rle": (1.0,),
}
"""Defaults of those that not every version from 8.3.230 to 8.4.190 has (``cfg/default.yaml`` of 39 of them), for states
that don't tell themselves."""


def not_default(args: Mapping[str, Any]) -> list[str]:
    """Names of ``args`` that differ from the defaults of the installed Ultralytics, or have none there."""
    return sorted(
        name for name, value in args.items() if name not in DEFAULT_CFG_DICT or value != DEFAULT_CFG_DICT[name]
    )


def with_known_arguments(run: str, state: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """``state`` with arguments that the installed Ultralytics takes, and what was left out, in words.

    What it does not know and what stood at its default decided nothing.

    Raises:
        ArgumentsError: what it does not know, or not with this value, was set.
    """
    args = dict(state["args"])
    unknown = [name for name, value in args.items() if not _is_known(name, value)]
    was, now = state.get("ultralytics") or "another version", ultralytics.__version__
    faults = [f"{name}={args[name]}" for name in unknown if _was_set(name, args[name], state)]
    for name, value in args.items():
        if name in DEFAULT_CFG_DICT and not _is_valid(name, value):
            if value == DEFAULT_CFG_DICT[name]:  # the type of a default changed: multi_scale was False and is 0.0
                args[name] = DEFAULT_CFG_DICT[name]
            else:
                faults.append(f"{name}={value}")
    if faults:
        version = state.get("ultralytics") or "VERSION, the one that trained it"
        raise ArgumentsError(
            f"{run} was trained by Ultralytics {was} with {', '.join(faults)}, which Ultralytics {now} does not know",
            f"pip install ultralytics=={version}; or a new run from its weights",
        )
    if not unknown:
        return {**state, "args": args}, None
    known = {name: value for name, value in args.items() if name not in unknown}
    note = f"Ultralytics {now} does not know {', '.join(unknown)}: left out, each stood at the default of {was}"
    return {**state, "args": known}, note


def _was_set(name: str, value: Any, state: Mapping[str, Any]) -> bool:
    if NOT_DEFAULT in state:
        return name in state[NOT_DEFAULT]
    return value not in _PUBLISHED.get(name, ())


def _is_known(name: str, value: Any) -> bool:
    """Whether Ultralytics takes it, perhaps by its newer name."""
    if name in DEFAULT_CFG_DICT or name in _BESIDE:
        return True
    with _silent():
        try:
            check_dict_alignment(DEFAULT_CFG_DICT, {name: value})
        except (SyntaxError, TypeError):
            return False
    return True


def _is_valid(name: str, value: Any) -> bool:
    try:
        check_cfg({name: value})
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
