"""``trainmaster verify | catalog | archive | restore | unarchive``: what can be done to a run without torch."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from trainmaster.terminal import columns, complain, folded, then, working
from trainmaster.trainer.arguments import Arguments, ArgumentsError, reject_unknown, split_arguments
from trainmaster.trainer.checkpoints.errors import CheckpointError, CheckpointRefusedError, NoSuchRunError
from trainmaster.trainer.checkpoints.files import DigestError
from trainmaster.trainer.contract import ExitCode, encode_record
from trainmaster.visible import visible, visible_json

FAILED: Final = 1
"""No space, no permission, a broken file system: not the user's words and not the checkpoint."""

Outcome = tuple[int, dict[str, Any], str]
"""Exit code, the answer for a program, the answer for a person."""

VERBS: Final = {
    "verify": "trainmaster.trainer.checkpoints.verify_command",
    "catalog": "trainmaster.trainer.checkpoints.run_commands",
    "archive": "trainmaster.trainer.checkpoints.run_commands",
    "restore": "trainmaster.trainer.checkpoints.run_commands",
    "unarchive": "trainmaster.trainer.checkpoints.run_commands",
}
"""Each verb is a function of its name in its module, which loads when it is asked for: ``verify`` has 0.3 s."""


def main(verb: str, argv: Sequence[str]) -> int:
    """Do ``verb`` and print the answer; the exit code."""
    as_json = "--json" in argv
    try:
        act: Callable[[Arguments], Outcome] = getattr(importlib.import_module(VERBS[verb]), verb)
        with working(f"{verb} {' '.join(word for word in argv if not word.startswith('-'))}"):
            code, record, text = act(split_arguments(argv))
    except (ArgumentsError, NoSuchRunError) as error:
        return _failed(ExitCode.BAD_ARGUMENTS, error.message, error.hint, as_json=as_json)
    except CheckpointRefusedError as error:
        return _failed(ExitCode.REFUSED, error.message, error.hint, as_json=as_json)
    except CheckpointError as error:
        return _failed(FAILED, error.message, error.hint, as_json=as_json)
    except (OSError, DigestError) as error:
        return _failed(FAILED, str(error), "see what is wrong with the file system and ask again", as_json=as_json)
    print(visible_json(encode_record(record)) if as_json else folded(visible(text), columns(), indent="    "))
    if not as_json:
        then(_next(verb, record, code))
    return int(code)


def _next(verb: str, record: Mapping[str, Any], code: int) -> str:
    """What a person does with the answer."""
    if verb == "verify":
        if code == ExitCode.FINISHED:
            return "trainmaster resume RUN_DIR goes on with the run that it belongs to"
        return "trainmaster catalog RUN_DIR lists the clean ones of its run"
    place = shlex.quote(str(record["run_dir"]))
    if verb == "catalog" and (best := record["last_clean"]):
        return f"trainmaster resume {place} from={best['epoch']} goes back to it"
    if verb == "catalog":
        return f"trainmaster catalog {place} --full reads each file anew"
    if verb == "archive" and record.get("archives") == []:
        return f"trainmaster catalog {place} lists what the run has"
    if verb == "archive":
        name = record.get("name", "ARCHIVE")
        return f"trainmaster resume {place} goes on; trainmaster unarchive {place} {name} brings it back"
    return f"trainmaster resume {place}"


def _failed(code: int, message: str, hint: str, *, as_json: bool) -> int:
    if as_json:
        print(visible_json(encode_record({"error": message, "hint": hint, "exit_code": int(code)})))
    complain(f"error: {message}" + (f"\nHint: {hint}" if hint else ""))
    return int(code)


def words_of(
    arguments: Arguments, *wanted: str, flags: frozenset[str], settings: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The words of the command line, as many as are ``wanted``; options and settings are among the known ones.

    Raises:
        ArgumentsError: says what was wanted.
    """
    reject_unknown(arguments.flags, flags, "option")
    reject_unknown(arguments.settings, settings, "setting")
    if len(arguments.words) != len(wanted):
        given = " ".join(arguments.words) or "nothing"
        raise ArgumentsError(
            f"wanted is {' and '.join(wanted)}; given is {given}", "--help behind the verb shows how it is written"
        )
    return arguments.words
