"""Pictures in messages: what is to be drawn, and what was. How they come about is no business of who says something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NO_DRAWING: Final = "no-drawing"
"""Slug of the error that the Python of a run has nothing to draw with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What is to be drawn of the run of that id: its curves, those of one ``epoch``, and the images of the bad batch
    ``incident``, each where it is asked for."""

    run: str
    curves: bool = False
    epoch: int | None = None
    incident: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that Slack keeps as ``file``. ``alt`` says in words what it shows."""

    file: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A PNG, and what it shows in words."""

    name: str
    content: bytes
    alt: str
