"""``trainmaster train key=value ...``: a guarded training in a new run directory."""

from __future__ import annotations

from trainmaster.trainer.arguments import Arguments, ArgumentsError
from trainmaster.trainer.cli.on_the_record import on_the_record, train_by


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    if arguments.words or arguments.flags:
        extra = [*arguments.words, *(f"--{flag}" for flag in sorted(arguments.flags))]
        raise ArgumentsError(f"train takes key=value only, not {' '.join(extra)}", "model=... data=... epochs=...")
    if "resume" in arguments.settings:
        raise ArgumentsError("train starts a new run", "trainmaster resume RUN_DIR")

    def start() -> int:
        from trainmaster.trainer.settings import inputs  # noqa: PLC0415 - loads ultralytics

        given = inputs.parse_values(arguments.settings)
        inputs.check_training(given)
        from trainmaster.trainer.cli.trainer_class import for_model  # noqa: PLC0415 - loads torch

        return train_by(for_model(str(given["model"]), given.get("task")), given)

    return on_the_record(start)
