from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.engines.g6 import G6


def trainer_of(*, accumulate: int, warmup: int = 0, epochs: int = 10) -> Any:
    args = SimpleNamespace(warmup_epochs=2, warmup_bias_lr=0.1, warmup_momentum=0.8, momentum=0.9)
    groups = [
        {"lr": 0.0, "initial_lr": 0.01, "momentum": 0.9, "param_group": "bias"},
        {"lr": 0.0, "initial_lr": 0.01, "momentum": 0.9},
    ]
    return SimpleNamespace(
        accumulate=accumulate,
        args=args,
        epochs=epochs,
        lf=lambda _: 1.0,
        optimizer=SimpleNamespace(param_groups=groups),
        _get_warmup_iterations=lambda _: warmup or -1,
    )


def steps(position: Position, trainer: Any, *, epoch: int, batches: int, last_step: int = -1) -> list[int]:
    """Batches (over the whole run) after which a step was taken, with the loop's own condition."""
    taken = []
    position.start_epoch(epoch, batches)
    for index in range(batches):
        position.index = index
        position.before_batch(trainer)
        position.window_open = True
        if position.ni - last_step >= trainer.accumulate:
            if position.due(trainer):
                taken.append(position.ni)
            last_step = position.ni
        position.done = index + 1
    return taken


def test_a_fresh_run_steps_when_the_loop_says() -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=4)
    position.use_accumulate(4)
    assert steps(position, trainer, epoch=0, batches=10) == [3, 7]


@pytest.mark.parametrize(("last_step", "expected"), [(7, [11, 15, 19]), (9, [13, 17]), (6, [10, 14, 18])])
def test_a_resumed_run_steps_where_the_first_one_would_have(last_step: int, expected: list[int]) -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=4)
    position.use_accumulate(4)
    position.resume(last_step=last_step, window_open=True)
    assert steps(position, trainer, epoch=1, batches=10) == expected
    assert trainer.accumulate == 4


@pytest.mark.parametrize(
    ("built", "accumulate", "epochs", "overdue"),
    [(4, 4, 3, 0), (4, 8, 3, 0), (16, 16, 3, 0), (25, 25, 6, 0), (4, 1e9, 1, 10), (4, 1e9, 3, 30), (16, 1e9, 3, 0)],
)
def test_steps_that_are_not_due_for_far_longer_than_was_meant_are_overdue(
    built: int, accumulate: float, epochs: int, overdue: int
) -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=accumulate)  # type: ignore[arg-type]
    position.use_accumulate(built)
    taken = -1
    for epoch in range(epochs):
        taken = max([taken, *steps(position, trainer, epoch=epoch, batches=10, last_step=taken)])
    assert position.overdue == overdue


def test_a_pipeline_that_was_rebuilt_after_a_resume_steps_when_the_loop_says() -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=4)
    position.use_accumulate(4)
    position.resume(last_step=19, window_open=True)
    position.use_accumulate(8)
    position.start_over()
    trainer.accumulate = 8
    assert steps(position, trainer, epoch=0, batches=24) == [7, 15, 23]


def test_warm_up_can_begin_at_the_resumed_epoch() -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=1)
    position.use_accumulate(1)
    position.warmup_from = 3
    position.start_epoch(3, 10)
    rates, momenta = [], []
    for index in (0, 5, 9):
        position.index = index
        position.before_batch(trainer)
        rates.append([round(group["lr"], 6) for group in trainer.optimizer.param_groups])
        momenta.append(round(trainer.optimizer.param_groups[0]["momentum"], 6))
    assert rates == [[0.1, 0.0], [0.0775, 0.0025], [0.0595, 0.0045]]
    assert momenta == [0.8, 0.825, 0.845]
    position.start_epoch(5, 10)
    position.index = 1
    position.before_batch(trainer)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.0595


def test_a_window_is_open_from_its_first_batch_to_its_step() -> None:
    position, trainer = Position(G6()), trainer_of(accumulate=2)
    position.start_epoch(0, 4)
    assert not position.window_open
    assert position.accumulates(trainer)
    position.index, position.window_open = 1, True
    assert position.due(trainer)
    assert not position.window_open
