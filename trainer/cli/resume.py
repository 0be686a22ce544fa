"""``trainmaster resume RUN_DIR [from=EPOCH] [key=value ...]``: go on with a run."""

from __future__ import annotations

import os

from trainmaster.trainer.arguments import (
    Arguments,
    ArgumentsError,
    NoRunError,
    reject_unknown,
    split_arguments,
    whole_number,
)
from trainmaster.trainer.cli import again, train
from trainmaster.trainer.cli.copy import recovered
from trainmaster.trainer.cli.on_the_record import on_the_record, train_by
from trainmaster.trainer.contract import ExitCode, RunLayout, is_run_dir, read_json
from trainmaster.trainer.copies.taking_back import INTO
from trainmaster.trainer.jobs.environment import RUN_ID_VARIABLE, refuse_several_nodes, refuse_to_resume_as_rank
from trainmaster.trainer.jobs.ownership import Owner, anything_saved, owner_of, signed_in_before
from trainmaster.visible import visible_line


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    reject_unknown(arguments.flags, (), "flag")
    if len(arguments.words) != 1:
        raise ArgumentsError("resume takes one run directory", "trainmaster resume RUN_DIR [from=EPOCH]")
    settings = dict(arguments.settings)
    root = recovered(arguments.words[0], settings.pop(INTO, None))
    layout = RunLayout(root)
    if not root.is_dir():
        raise NoRunError(root, "is no directory")
    if not is_run_dir(root) and not (layout.weights / "last.pt").is_file():
        raise NoRunError(root, "is no run directory: it has neither guard/run.json nor weights/last.pt")
    from_epoch = whole_number(settings.pop("from", None), "from")
    if again.taken_out(settings):
        if (named := os.environ.get(RUN_ID_VARIABLE)) and owner_of(layout, os.environ) is Owner.ANOTHER:
            raise ArgumentsError(f"{root} does not hold the run that this job was submitted for ({named})")
        if not anything_saved(layout) and (words := _begun_with(layout)):
            return train.main(split_arguments([*words, f"{again.KEY}={again.AUTO}"]))
        if signed_in_before(layout, os.environ):
            # What was asked for has been done: to go back once more would put aside what was trained since.
            from_epoch = None
            if settings.get("level") == "next":
                del settings["level"]
            if again.is_finished(layout):
                print(visible_line(f"{root} has finished before; nothing is left to do"))
                return ExitCode.FINISHED
    refuse_several_nodes(os.environ)
    refuse_to_resume_as_rank(os.environ)

    def start() -> int:
        from trainmaster.trainer.cli.resumption import resume  # noqa: PLC0415 - loads torch

        return resume(layout, from_epoch=from_epoch, settings=settings, run=train_by)

    return on_the_record(start)


def _begun_with(layout: RunLayout) -> list[str]:
    """The words of the ``train`` that the run was begun with, without ``again``; empty where its record has none."""
    argv = [str(word) for word in (read_json(layout.run_json) or {}).get("argv") or ()]
    words = argv[argv.index("train") + 1 :] if "train" in argv else []
    return [word for word in words if not word.startswith(f"{again.KEY}=")]
