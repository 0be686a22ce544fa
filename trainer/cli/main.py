"""``trainmaster VERB ...`` of the trainer: parses the command line, calls what does it, and gives the exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from trainmaster.terminal import columns, complain
from trainmaster.trainer.arguments import Arguments, ArgumentsError, joined, reject_unknown, split_arguments
from trainmaster.trainer.cli.help import HELP, HELP_FLAGS, USAGE, fitted
from trainmaster.trainer.contract import ExitCode

CHECKPOINT_VERBS: Final = ("verify", "catalog", "archive", "restore", "unarchive")
NEEDS_CHECKPOINTS: Final = ("catalog", "restore")
"""A run whose disk died gets its files back from their copies first."""
SBATCH: Final = "sbatch"
"""Its options are Slurm's own, so it splits its words itself."""
VERBS: Final = {
    verb: f"trainmaster.trainer.cli.{verb}"
    for verb in ("train", "resume", "copy", "data", "drill", "replay", "selfcheck", "plot")
}
"""Each verb is ``main`` of its module, which loads when it is asked for: most load torch."""

WITH_VALUE: Final = {"plot": ("out", "epoch", "incident")}
"""Options that may have their value after a blank."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"help", *HELP_FLAGS}:
        print(fitted(USAGE, columns()))
        return ExitCode.FINISHED if words else ExitCode.BAD_ARGUMENTS
    verb, rest = words[0], words[1:]
    try:
        reject_unknown([verb], (*CHECKPOINT_VERBS, *VERBS, SBATCH), "command")
        if HELP_FLAGS.intersection(rest[: rest.index("--")] if "--" in rest else rest):
            print(fitted(HELP[verb], columns()))
            return ExitCode.FINISHED
        if verb in CHECKPOINT_VERBS:
            from trainmaster.trainer.checkpoints.cli import main as checkpoints_main  # noqa: PLC0415 - no torch is loaded there

            if verb in NEEDS_CHECKPOINTS:
                from trainmaster.trainer.cli.copy import recover_lost  # noqa: PLC0415 - as above

                recover_lost(rest)
            return checkpoints_main(verb, rest)
        if verb == SBATCH:
            from trainmaster.trainer.cli.sbatch import main as sbatch_main  # noqa: PLC0415 - only when asked

            return sbatch_main(rest)
        carry_out: Callable[[Arguments], int] = importlib.import_module(VERBS[verb]).main
        return carry_out(split_arguments(joined(rest, WITH_VALUE.get(verb, ()))))
    except ArgumentsError as error:
        complain(error.message + (f"\nHint: {error.hint}" if error.hint else ""))
        return ExitCode.BAD_ARGUMENTS
