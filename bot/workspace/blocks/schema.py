"""Small building blocks to say what a JSON value must look like, answering the way Slack does.

A check looks at one value at one JSON pointer and adds a line to :class:`Faults` for each thing that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Faults:
    """What is wrong with a payload, in the words of ``response_metadata.messages``."""

    lines: list[str] = field(default_factory=list)

    def add(self, at: str, what: str) -> None:
        """Record one fault at the JSON pointer ``at``."""
        self.lines.append(f"[ERROR] {what} [json-pointer:{at}]")


Check = Callable[[Any, str, Faults], None]


def anything(_value: Any, _at: str, _faults: Faults) -> None:
    """Accept the value unseen."""


def string(*, max_chars: int | None = None, min_chars: int = 1) -> Check:
    """Accept a string of ``min_chars`` to ``max_chars`` characters, both included."""

    def check(value: Any, at: str, faults: Faults) -> None:
        if not isinstance(value, str):
            faults.add(at, "must provide a string")
        elif len(value) < min_chars:
            faults.add(at, f"must be more than {min_chars - 1} characters")
        elif max_chars is not None and len(value) > max_chars:
            faults.add(at, f"must be less than {max_chars + 1} characters")

    return check


def one_of(*words: str) -> Check:
    """Accept one of the strings given."""

    def check(value: Any, at: str, faults: Faults) -> None:
        if value not in words:
            faults.add(at, f"must be one of: {', '.join(words)}")

    return check


def boolean(value: Any, at: str, faults: Faults) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        faults.add(at, "must provide a boolean")


def integer(*, low: int, high: int) -> Check:
    """Accept a whole number within ``low`` and ``high``, both included."""

    def check(value: Any, at: str, faults: Faults) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            faults.add(at, "must provide an integer")
        elif not low <= value <= high:
            faults.add(at, f"must be between {low} and {high}")

    return check


def list_of(check_item: Check, *, max_items: int | None = None, min_items: int = 1) -> Check:
    """Accept an array of ``min_items`` to ``max_items`` items that each pass ``check_item``."""

    def check(value: Any, at: str, faults: Faults) -> None:
        if not isinstance(value, list):
            faults.add(at, "must provide an array")
            return
        if len(value) < min_items:
            faults.add(at, f"no fewer than {min_items} items allowed")
        if max_items is not None and len(value) > max_items:
            faults.add(at, f"no more than {max_items} items allowed")
            return
        for index, item in enumerate(value):
            check_item(item, f"{at}/{index}", faults)

    return check


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An object: its required and optional fields, and rules that look at several fields at once."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check] = field(default_factory=dict)
    rules: tuple[Check, ...] = ()

    def __call__(self, value: Any, at: str, faults: Faults) -> None:
        """Check ``value``: unknown fields are faults, and null is no way to leave a field out."""
        if not isinstance(value, dict):
            faults.add(at, "must provide an object")
            return
        for name in self.required:
            if name not in value:
                faults.add(at, f"missing required field: {name}")
        for name, item in value.items():
            check = self.required.get(name) or self.optional.get(name)
            if check is None:
                faults.add(at, f"invalid additional property: {name}")
            else:
                check(item, f"{at}/{name}", faults)
        for rule in self.rules:
            rule(value, at, faults)


def by_type(kinds: Mapping[str, Check]) -> Check:
    """Accept an object whose ``type`` is a key of ``kinds`` and that passes the check of that kind."""

    def check(value: Any, at: str, faults: Faults) -> None:
        if not isinstance(value, dict):
            faults.add(at, "must provide an object")
            return
        if "type" not in value:
            faults.add(at, "missing required field: type")
            return
        kind = value["type"]
        found = kinds.get(kind) if isinstance(kind, str) else None
        if found is None:
            faults.add(f"{at}/type", f"unsupported type: {kind}")
            return
        found(value, at, faults)

    return check


def parse_json(value: Any) -> Any:
    """Return ``value`` decoded when it came as a JSON string (form-encoded bodies); raises ``ValueError``."""
    return json.loads(value) if isinstance(value, str) else value
