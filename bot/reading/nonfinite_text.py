"""Numbers that are not finite, as the C library of Windows writes them: ``-1.#IND``, ``1.#QNAN0``, ``nan(ind)``."""

from __future__ import annotations

import re
from typing import Final

_SPELT: Final = r"(?i)(?<![\w.])([-+]?)(?:(nan)\(\w*\)|1\.#(?:(IND|[QS]?NAN)|INF)\d*)(?!\w)"


def as_python_spells(text: str) -> str:
    """``text`` with such numbers as Python writes them, as wide as they were."""
    return re.sub(_SPELT, _respelt, text)


def _respelt(match: re.Match[str]) -> str:
    number = "nan" if match[2] or match[3] else f"{match[1].replace('+', '')}inf"
    return number.rjust(len(match[0]))
