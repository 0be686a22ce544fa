"""An epoch that something ended early was validated before its state is saved, and goes on as if it had not been."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.data.sampling import Boundary
from trainmaster.trainer.state import saver
from trainmaster.trainer.state.saver import Moment, Saver


@pytest.mark.parametrize("done", [3, 6], ids=["cut", "whole"])
def test_it_draws_what_it_would_have_drawn_without_the_validation(monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    monkeypatch.setattr(saver, "record_of", lambda *_: {})
    before: Any = SimpleNamespace(
        epoch_end=Boundary(rng={"torch": "before the validation"}, mosaic_buffer=[2]),
        _criterion_updates=0,
        _data=None,
        _settings=SimpleNamespace(as_record=dict),
        _user={},
    )
    trainer: Any = SimpleNamespace(
        train_loader=SimpleNamespace(dataset=[0]), train_time_start=0.0, stop=True, world_size=1
    )
    position: Any = SimpleNamespace(done=done, batches=6, last_step=2, window_open=False, warmup_from=0)
    moment = Moment(position=position, running={}, counts={})
    extra = Saver._extra(before, trainer, moment, at_epoch_end=False)
    assert (extra["rng"], extra["mosaic_buffer"]) == ({"torch": "before the validation"}, [2])
