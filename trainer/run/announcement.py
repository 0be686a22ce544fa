"""What begins: in ``run.json``, in the first event, and on the console."""

from __future__ import annotations

import os

from ultralytics.utils import LOGGER

from trainmaster.terminal import columns
from trainmaster.trainer.contract import EventKind
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.levels import LayerRow, table
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.settings.guard_settings import GuardSettings


def recipe_of(trainer: EngineTrainer) -> dict[str, str]:
    """What whoever starts the next attempt has to know; that one's command line need not name it again."""
    args = trainer.args
    halved = getattr(trainer, "batch_size", args.batch)  # once there are loaders: after a shortage of memory, another
    known = {"device": args.device, "batch": halved, "nbs": args.nbs}
    return {name: str(value) for name, value in known.items() if value is not None and value != ""}


def announce(
    run: OpenRun,
    trainer: EngineTrainer,
    settings: GuardSettings,
    rows: tuple[LayerRow, ...],
    *,
    from_epoch: int | None,
    on_console: bool,
) -> None:
    """The attempt is on record, before Ultralytics writes anything. ``from_epoch`` is None on a fresh start."""
    recorder, args = run.recorder, trainer.args
    common = {"task": args.task, "model": str(args.model), "epochs": args.epochs, "level": settings.level}
    class_before = recorder.trainer_class
    trainer_class = f"{type(trainer).__module__}:{type(trainer).__qualname__}"
    recorder.update_run(
        **common,
        data=str(args.data),
        layers=tuple(row.as_record() for row in rows),
        from_epoch=from_epoch,
        trainer_class=trainer_class,
        owner=settings.owner,
        recipe=recipe_of(trainer),
    )
    if not recorder.goes_on:
        recorder.keep_room()
        recorder.keep_environment()
        recorder.event(
            EventKind.RUN_STARTED,
            **common,
            pid=os.getpid(),
            create_time=recorder.create_time,
            host=recorder.host,
            from_epoch=from_epoch,
            settings={row.setting: row.value for row in rows},
        )
    recorder.beat(force=True, epochs=args.epochs)
    if on_console:
        where = f"attempt {recorder.attempt}, from epoch {from_epoch or 1}"  # one log holds all attempts
        LOGGER.info(f"Guard at level {settings.level}, {where}:\n{table(rows, columns())}")
    run.reporter.taken_over(class_before, trainer_class)
