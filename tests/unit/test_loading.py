"""Garbage is not looked for while modules load, and is again as soon as a training begins."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from trainmaster.loading import loaded, loading
from trainmaster.trainer.cli.on_the_record import train_by

PAUSED = 0


def test_what_held_before_holds_afterwards_whatever_happens_inside() -> None:
    before = gc.get_threshold()
    with loading(), loading():
        assert gc.get_threshold()[0] == PAUSED
    assert gc.get_threshold() == before
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.get_threshold() == before


def test_a_training_collects_from_its_first_batch_on_and_leaves_alone_what_was_loaded() -> None:
    own, frozen, seen = gc.get_threshold(), gc.get_freeze_count(), []

    class Trainer:
        def __init__(self, overrides: dict[str, Any]) -> None:
            self.overrides = overrides
            self.callbacks: dict[str, Callable[[Any], None]] = {}

        def add_callback(self, event: str, callback: Callable[[Any], None]) -> None:
            self.callbacks[event] = callback

        def train(self) -> None:
            seen.append(gc.get_threshold()[0])
            gc.enable()  # Ultralytics, behind each cache of labels
            seen.append(gc.get_threshold()[0])
            self.callbacks["on_train_start"](self)
            seen.append(gc.get_threshold())

    with loading():
        train_by(Trainer, {"epochs": 1})
    assert seen == [PAUSED, PAUSED, own]
    assert gc.get_freeze_count() > frozen
    assert gc.isenabled()


def test_it_may_be_said_more_than_once() -> None:
    own = gc.get_threshold()
    loaded()
    loaded()
    assert gc.get_threshold() == own
