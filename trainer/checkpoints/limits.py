"""How much of a file is looked at. What has more than any checkpoint is not judged, rather than for hours."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 600_000
"""Opcodes of a pickle. A checkpoint of yolov9e with the moments of AdamW has 0.28 million; each may cost 300 bytes."""

MAX_NAMES: Final = 10_000
"""Classes and functions that a pickle may name; a checkpoint names some hundred."""

MAX_TENSORS: Final = 50_000
"""Places that hold a tensor. A state of yolov9e with Adam's moments and gathered gradients has some 15,000."""

MAX_MODULES: Final = 10_000
"""Layers and what holds them; yolov9e has 2,500."""

MAX_SETTINGS: Final = 100_000
"""Plain numbers that all modules carry together; yolov9e's carry 30,000."""

MAX_GROUPS: Final = 10_000
"""Of an optimizer: no more than a parameter each."""

MAX_IN_SETTING: Final = 64
"""Numbers of one setting of an optimizer; betas are two or three."""

MAX_CELLS: Final = 400_000
"""Of a run's history: a thousand epochs have 15,000."""

MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024
"""Of a zip, which takes some 60 bytes an entry; Python's ``zipfile`` takes ten times that of memory."""

MAX_FILE_BYTES: Final = 16 * 1024**3
"""No model of the family reaches a gigabyte, and reading so much takes minutes."""

MAX_LEDGER_BYTES: Final = 256 * 1024 * 1024
"""Of ``guard/checkpoints.jsonl``, which takes some 500 bytes a file: half a million of them."""


class LimitError(Exception):
    """The file has more of something than is looked at: nobody knows whether it is clean."""
