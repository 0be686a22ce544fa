"""Numbers and reasons in words, the same wherever they are said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trainmaster.trainer.contract import SkipReason

REASON_TEXT: Mapping[str, str] = {
    SkipReason.NONFINITE_LOSS: "loss is not finite",
    SkipReason.NONFINITE_GRADIENT: "gradient is not finite",
    SkipReason.NONFINITE_BATCHNORM: "batch-norm statistics are not finite",
    SkipReason.BATCHNORM_SPIKE: "batch-norm statistics jumped beyond anything their layers have seen",
    SkipReason.LOSS_SPIKE: "loss spike",
}


def number_text(value: float) -> str:
    """Four digits, or NaN and infinity in words."""
    if math.isnan(value):
        return "NaN"
    return f"{value:.4g}" if math.isfinite(value) else ("infinite" if value > 0 else "minus infinite")


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 archive``, ``2,000 archives``; ``plural`` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def capitalized(text: str) -> str:
    """``text`` as a sentence begins; the rest of it stays as it is."""
    return text[:1].upper() + text[1:]


def quoted(name: str) -> str:
    """The name of a run, in quotes where it has blanks: so it is one word in each command."""
    return f'"{name}"' if " " in name else name


def listed(names: Sequence[str], most: int) -> str:
    """``a, b and 38 more``: the first ``most`` of ``names``, and how many they are besides."""
    left_out = len(names) - most
    return ", ".join(names[:most]) + (f" and {left_out:,} more" if left_out > 0 else "")


def losses_text(losses: Mapping[str, float]) -> str:
    """``box 1.23, cls 0.45``."""
    return ", ".join(f"{name.removesuffix('_loss')} {number_text(value)}" for name, value in losses.items())
