"""Lines of JSON, each an object: damaged ones are counted and passed over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def records_of(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], int]:
    """The objects in ``lines``, in order, and how many other lines there were; blank ones count as nothing."""
    told = [line for line in lines if line.strip()]
    return _all_at_once(told) or _one_by_one(told)


def _all_at_once(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], int] | None:
    """Of lines that are all whole: several times as fast, which a long history needs. None when one may be damaged.

    Two halves of lines could make up one object together: so each must look whole, and none may be lost.
    """
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return None
    try:
        values = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    whole = len(values) == len(lines) and all(isinstance(value, dict) for value in values)
    return (values, 0) if whole else None


def _one_by_one(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], int]:
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            records.append(value)
    return records, len(lines) - len(records)
