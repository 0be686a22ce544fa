"""``trainmaster train key=value ...``: a guarded training in a new run directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainmaster.trainer.arguments import Arguments, ArgumentsError
from trainmaster.trainer.cli import again
from trainmaster.trainer.cli.on_the_record import on_the_record, train_by
from trainmaster.trainer.contract import ExitCode
from trainmaster.trainer.jobs.environment import refuse_several_nodes
from trainmaster.trainer.jobs.ownership import anything_saved
from trainmaster.visible import visible_line


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    if arguments.words or arguments.flags:
        extra = [*arguments.words, *(f"--{flag}" for flag in sorted(arguments.flags))]
        raise ArgumentsError(f"train takes key=value only, not {' '.join(extra)}", "model=... data=... epochs=...")
    if "resume" in arguments.settings:
        raise ArgumentsError("train starts a new run", "trainmaster resume RUN_DIR")
    settings = dict(arguments.settings)
    may_go_on = again.taken_out(settings)
    refuse_several_nodes(os.environ)

    def start() -> int:
        from trainmaster.trainer.settings import inputs  # noqa: PLC0415 - loads ultralytics

        given = placed(inputs.parse_values(settings))
        own = again.own_run(given) if may_go_on else None
        if own is not None and again.is_finished(own):
            print(visible_line(f"{own.root} has finished before; nothing is left to do"))
            return ExitCode.FINISHED
        if own is not None and anything_saved(own):
            from trainmaster.trainer.cli.resumption import resume  # noqa: PLC0415 - loads torch

            return resume(own, from_epoch=None, settings={}, run=train_by)
        if own is not None:  # nothing was saved yet: it begins anew, as the same run
            given = {**given, "project": str(own.root.parent), "name": own.root.name, "exist_ok": True}
        inputs.check_training(given)
        from trainmaster.trainer.cli.trainer_class import for_model  # noqa: PLC0415 - loads torch

        return train_by(for_model(str(given["model"]), given.get("task")), given)

    return on_the_record(start)


def placed(given: dict[str, Any]) -> dict[str, Any]:
    """A relative ``project=`` is one of the working directory, as for sbatch: RUNS_DIR and the next command look there.
    Ultralytics from 8.4 on would put the run below its own folder for runs, wherever that is, and a task's."""
    project = given.get("project")
    return {**given, "project": str(Path(str(project)).absolute())} if project is not None else given
