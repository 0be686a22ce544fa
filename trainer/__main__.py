"""``trainmaster VERB ...``: parses the command line, calls the part that does it, and gives the exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.arguments import Arguments, ArgumentsError, reject_unknown, split_arguments
from trainmaster.trainer.cli.help import HELP, HELP_FLAGS, USAGE
from trainmaster.trainer.contract import ExitCode, RunLayout, is_run_dir

CHECKPOINT_VERBS: Final = ("verify", "catalog", "archive", "restore", "unarchive")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"help", *HELP_FLAGS}:
        print(USAGE)
        return ExitCode.FINISHED if words else ExitCode.BAD_ARGUMENTS
    verb, rest = words[0], words[1:]
    try:
        reject_unknown([verb], (*CHECKPOINT_VERBS, *_VERBS), "command")
        if HELP_FLAGS.intersection(rest):
            print(HELP[verb])
            return ExitCode.FINISHED
        if verb in CHECKPOINT_VERBS:
            from trainmaster.trainer.checkpoints.cli import main as checkpoints_main  # noqa: PLC0415 - no torch is loaded there

            return checkpoints_main(verb, rest)
        return _VERBS[verb](split_arguments(rest))
    except ArgumentsError as error:
        print(_in_words(error), file=sys.stderr)
        return ExitCode.BAD_ARGUMENTS


def _train(arguments: Arguments) -> int:
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

        return _run(for_model(str(given["model"]), given.get("task")), given)

    return _on_the_record(start)


def _resume(arguments: Arguments) -> int:
    if len(arguments.words) != 1 or arguments.flags:
        raise ArgumentsError("resume takes one run directory", "trainmaster resume RUN_DIR [from=EPOCH]")
    root = Path(arguments.words[0]).resolve()
    layout = RunLayout(root)
    if not root.is_dir():
        raise ArgumentsError(f"{root} is no directory")
    if not is_run_dir(root) and not (layout.weights / "last.pt").is_file():
        raise ArgumentsError(f"{root} is no run directory: it has neither guard/run.json nor weights/last.pt")
    settings = dict(arguments.settings)
    from_epoch = _whole(settings.pop("from", None), "from")

    def start() -> int:
        from trainmaster.trainer.cli.resume import resume  # noqa: PLC0415 - loads torch

        return resume(layout, from_epoch=from_epoch, settings=settings, run=_run)

    return _on_the_record(start)


def _drill(arguments: Arguments) -> int:
    from trainmaster.trainer.drill import Fault, check_fault, request  # noqa: PLC0415 - loads torch

    reject_unknown(arguments.settings, ("fault", "batches"), "key")
    if len(arguments.words) != 1:
        raise ArgumentsError("drill takes one run directory", "trainmaster drill RUN_DIR fault=nan-image")
    layout = RunLayout(Path(arguments.words[0]).resolve())
    if not is_run_dir(layout.root):
        raise ArgumentsError(f"{layout.root} is no run directory: it has no guard/run.json")
    fault = check_fault(arguments.settings.get("fault", Fault.NAN_IMAGE))
    num_batches = _whole(arguments.settings.get("batches", "1"), "batches") or 1
    request(layout, fault, num_batches)
    print(f"asked {layout.name} for {fault} in its next {num_batches} batch{'es' if num_batches > 1 else ''}")
    return ExitCode.FINISHED


def _replay(arguments: Arguments) -> int:
    from trainmaster.trainer.cli.replay import main as replay_main  # noqa: PLC0415 - loads torch

    return replay_main(arguments)


def _run(trainer_class: Any, overrides: dict[str, Any]) -> int:
    trainer_class(overrides=overrides).train()
    return ExitCode.FINISHED


def _on_the_record(start: Callable[[], int]) -> int:
    """``start`` with its console output kept, and its end as an exit code."""
    from trainmaster.trainer.records.console import copying  # noqa: PLC0415 - as above
    from trainmaster.trainer.run import offline  # noqa: PLC0415 - only for verbs that train

    offline.before_import()
    with copying():
        from trainmaster.trainer.stop import RunEnded, stoppable  # noqa: PLC0415 - after the environment is set

        try:
            with stoppable(lambda text: print(text, file=sys.stderr)):
                return start()
        except ArgumentsError:
            raise
        except RunEnded as end:
            return int(end.code or 0)
        except Exception:  # noqa: BLE001 - the command's edge: printed, on record already, and told by the exit code
            traceback.print_exc()
            return 1


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or not int(text):
        raise ArgumentsError(f"{name}={text} is no whole number from 1")
    return int(text)


def _in_words(error: ArgumentsError) -> str:
    return error.message + (f"\nHint: {error.hint}" if error.hint else "")


_VERBS: Final[dict[str, Callable[[Arguments], int]]] = {
    "train": _train,
    "resume": _resume,
    "drill": _drill,
    "replay": _replay,
}

if __name__ == "__main__":
    from trainmaster.__main__ import main as every_verb

    sys.exit(every_verb())
