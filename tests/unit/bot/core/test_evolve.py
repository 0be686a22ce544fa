"""Changed copies of frozen records."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from trainmaster.bot.core.evolve import evolve
from trainmaster.bot.core.run.view import EpochView, RunView

VIEW = RunView(directory=Path("runs/a"), name="a", ts=1.0, first_seen_ts=0.5, brief=True)
EPOCH = EpochView(attempt=1, epoch=2, losses={"box": 1.0})


def test_a_copy_is_as_dataclasses_makes_it() -> None:
    for record, changes in ((VIEW, {"ts": 2.0, "epochs": {(1, 2): EPOCH}}), (EPOCH, {"num_bad": 3}), (VIEW, {})):
        copy = evolve(record, **changes)
        assert copy == replace(record, **changes)
        assert copy is not record
        for one in fields(record):
            assert getattr(copy, one.name) is changes.get(one.name, getattr(record, one.name))


def test_a_field_that_is_none_is_an_error() -> None:
    with pytest.raises(AttributeError, match="tss"):
        evolve(VIEW, tss=2.0)


def test_a_class_that_is_more_than_its_slots_is_refused() -> None:
    @dataclass(frozen=True)
    class Open:
        one: int
        two: int

    @dataclass(frozen=True, slots=True)
    class Checked:
        one: int
        two: int

        def __post_init__(self) -> None:
            assert self.one < self.two

    for record in (Open(1, 2), Checked(1, 2)):
        with pytest.raises(TypeError, match=r"dataclasses\.replace"):
            evolve(record, one=3)
