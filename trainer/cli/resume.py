"""``trainmaster resume RUN_DIR [from=EPOCH] [key=value ...]``: go on with a run."""

from __future__ import annotations

from pathlib import Path

from trainmaster.trainer.arguments import Arguments, ArgumentsError, whole_number
from trainmaster.trainer.cli.on_the_record import on_the_record, train_by
from trainmaster.trainer.contract import RunLayout, is_run_dir


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    if len(arguments.words) != 1 or arguments.flags:
        raise ArgumentsError("resume takes one run directory", "trainmaster resume RUN_DIR [from=EPOCH]")
    root = Path(arguments.words[0]).resolve()
    layout = RunLayout(root)
    if not root.is_dir():
        raise ArgumentsError(f"{root} is no directory")
    if not is_run_dir(root) and not (layout.weights / "last.pt").is_file():
        raise ArgumentsError(f"{root} is no run directory: it has neither guard/run.json nor weights/last.pt")
    settings = dict(arguments.settings)
    from_epoch = whole_number(settings.pop("from", None), "from")

    def start() -> int:
        from trainmaster.trainer.cli.resumption import resume  # noqa: PLC0415 - loads torch

        return resume(layout, from_epoch=from_epoch, settings=settings, run=train_by)

    return on_the_record(start)
