"""Each generation is the difference to the newer one, and none is chosen by its number."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainmaster.trainer import engines
from trainmaster.trainer.engines import compat
from trainmaster.trainer.engines.g3 import G3
from trainmaster.trainer.engines.g4 import G4, StackedForm
from trainmaster.trainer.engines.g5 import G5
from trainmaster.trainer.engines.g6 import G6

FILES = sorted(Path(str(engines.__file__)).parent.glob("*.py"))


def trainer(**args: Any) -> Any:
    groups = [
        {"lr": 0.0, "initial_lr": 0.01, "momentum": 0.9, "param_group": "bias"},
        {"lr": 0.0, "initial_lr": 0.01, "momentum": 0.9},
    ]
    given = {"warmup_epochs": 3.0, "warmup_bias_lr": 0.1, "warmup_momentum": 0.8, "momentum": 0.9, "nbs": 64, **args}
    return SimpleNamespace(
        args=SimpleNamespace(**given),
        batch_size=4,
        lf=lambda _: 1.0,
        optimizer=SimpleNamespace(param_groups=groups),
        accumulate=0,
    )


@pytest.mark.parametrize("names", [["box", "cls", "dfl"], ["loss"]], ids=["several parts", "one part"])
def test_stacked_parts_come_by_name_and_go_as_they_came(names: list[str]) -> None:
    made = torch.arange(1.0, len(names) + 1) if len(names) > 1 else torch.tensor(1.0)
    form = StackedForm(lambda: names)
    read = form.read(made)
    assert list(read) == names
    assert all(value.ndim == 0 for value in read.values())
    assert torch.equal(form.write(read), made)


def test_parts_without_a_name_are_not_lost() -> None:
    read = StackedForm(lambda: ["box"]).read(torch.ones(3))
    assert len(read) == 3


@pytest.mark.parametrize(
    ("engine", "first_after"), [(G6(), 31), (G5(), 30), (G4(), 101), (G3(), 101)], ids=lambda value: str(value)[:40]
)
def test_warm_up_lasts_as_long_as_the_loop_s(engine: G6, first_after: int) -> None:
    length = engine.warmup_batches(trainer(), 10, 100)
    assert engine.warms_up(first_after - 1, length)
    assert not engine.warms_up(first_after, length)


@pytest.mark.parametrize("engine", [G6(), G5(), G4(), G3()], ids=lambda engine: engine.name)
def test_no_warm_up_asked_for_is_none(engine: G6) -> None:
    assert not engine.warms_up(0, engine.warmup_batches(trainer(warmup_epochs=0.0), 10, 100))


@pytest.mark.parametrize(("engine", "accumulate"), [(G6(), 5), (G5(), 16), (G4(), 16)], ids=["G6", "G5", "G4"])
def test_accumulation_rises_to_the_loop_s_target(engine: G6, accumulate: int) -> None:
    given = trainer()
    engine.warm_up(given, 30, 30, epoch=2, built=5)
    assert given.accumulate == accumulate


@pytest.mark.parametrize("engine", [G6(), G3()], ids=["by name", "by place"])
def test_the_rate_of_the_biases_falls_and_the_others_rise(engine: G6) -> None:
    given = trainer()
    engine.warm_up(given, 0, 30, epoch=0, built=1)
    assert [group["lr"] for group in given.optimizer.param_groups] == [0.1, 0.0]


def test_the_newest_generation_that_fits_is_chosen() -> None:
    assert compat.check().engine is compat.engine()
    assert not compat.engine().seams.missing()


def test_a_mixture_does_at_each_seam_what_stands_there() -> None:
    found = {engine.name: engine for engine in compat.mixtures()}
    assert len(found) == 3 * 2 * 2 * 2
    later, earlier = found["G5 with the losses of G4"], found["G4 with the set-up of G3"]
    names = ["box", "cls"]
    assert isinstance(later.form(lambda: names), StackedForm)
    assert not later.warms_up(30, later.warmup_batches(trainer(), 10, 100))
    assert later.builds_pipeline_apart
    assert isinstance(earlier.form(lambda: names), StackedForm)
    assert earlier.warms_up(100, earlier.warmup_batches(trainer(), 10, 100))
    assert not earlier.builds_pipeline_apart
    assert earlier.is_bias({"param_group": "bias"}, 2)


def test_no_generation_asks_for_a_version() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in FILES}
    assert {name for name, text in sources.items() if "__version__" in text} <= {"compat.py"}
    assert not [name for name, text in sources.items() if re.search(r"if [^\n]*version", text)]


@pytest.mark.parametrize(("generation", "newer"), [(G5, G6), (G4, G5), (G3, G4)])
def test_an_older_generation_is_a_difference_and_no_copy(generation: type[G6], newer: type[G6]) -> None:
    assert len(inspect.getsource(inspect.getmodule(generation) or generation).splitlines()) <= 200
    assert set(generation.seams.markers.items()) - set(newer.seams.markers.items())


def test_a_warm_up_that_stops_short_leaves_its_momenta_there_and_the_rates_alone() -> None:
    given = trainer()
    for group in given.optimizer.param_groups:
        group["lr"] = 0.005
    G5().after_warm_up(given, 10, built=5)
    assert [group["lr"] for group in given.optimizer.param_groups] == [0.005, 0.005]
    assert [round(group["momentum"], 6) for group in given.optimizer.param_groups] == [0.89, 0.89]


@pytest.mark.parametrize("generation", [G6, G4])
def test_a_warm_up_leaves_its_momenta_where_it_aims_whatever_the_optimizer_began_with(generation: type[G6]) -> None:
    for length, momentum in ((0, 0.5), (10, 0.9)):
        given = trainer()
        for group in given.optimizer.param_groups:
            group["momentum"] = 0.5
        generation().after_warm_up(given, length, built=5)
        assert [group["momentum"] for group in given.optimizer.param_groups] == [momentum, momentum]
