"""``trainmaster VERB ...``: one command for both sides. Loads only what the verb needs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from trainmaster.terminal import columns, complain, complain_of, folded, forgiving, then
from trainmaster.verbs import BOT, GROUPS, TRAINER, VERBS, Verb

HELP_WORDS: Final = frozenset({"-h", "--help", "help"})
FAILED: Final = 1
NOT_UNDERSTOOD: Final = 2
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the verb; 2 when it is none, or lacks what it needs."""
    forgiving()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in HELP_WORDS:
        print(usage())
        return 0 if words else NOT_UNDERSTOOD
    if words[0] in {"--version", "-V", "version"}:
        print(f"trainmaster {version()}")
        return 0
    name, rest = words[0], words[1:]
    verb = VERBS.get(name)
    if verb is None:
        from difflib import get_close_matches  # noqa: PLC0415 - a right word does without

        near = get_close_matches(name, [*VERBS, "--help", "--version"], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        complain(f"unknown-verb: {name!r} is none of {', '.join(VERBS)}.{hint}\nHint: trainmaster --help")
        return NOT_UNDERSTOOD
    side = _side(name, verb, rest)
    if side != verb.side:
        verb = VERBS["train"]  # the trainer's drill needs what a training does
    if HELP_WORDS.isdisjoint(rest) and (problem := _problem(name, verb)):
        complain(problem)
        return NOT_UNDERSTOOD
    _hear_of_children()
    if side == BOT:
        from trainmaster.bot.cli.main import carry_out  # noqa: PLC0415 - each side loads alone

        code = carry_out(name, rest)
    else:
        code = _of_the_trainer(words)
    if code in {0, INTERRUPTED} and verb.then and (HELP_WORDS | {"--json"}).isdisjoint(rest):
        then(verb.then)
    return code


def _hear_of_children() -> None:
    """How a process that is started from here has ended is told. Where whoever started this one ignores SIGCHLD, it
    does, too: the kernel then forgets that end, and Python takes a failure for a success."""
    import signal  # noqa: PLC0415 - only where a verb is carried out

    if hasattr(signal, "SIGCHLD"):  # no Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _of_the_trainer(words: list[str]) -> int:
    from trainmaster.trainer.cli.main import main as trainer_main  # noqa: PLC0415 - each side loads alone

    try:
        code = trainer_main(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Ended on request.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if not _has_a_folder():
            complain("no-folder: the folder in which this was started is gone.\nHint: cd into one that is there")
            return NOT_UNDERSTOOD
        complain_of(error)
        return FAILED
    return code


def _has_a_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - pathlib is not loaded for this
    except OSError:
        return False
    return True


def usage() -> str:
    """Every verb with what it does, grouped by side; at most 80 columns, and no wider than the terminal."""
    width = columns()
    lines = ["usage: trainmaster VERB ...   (trainmaster VERB --help: more about one)"]
    for side, title in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<11}{verb.summary}" for name, verb in VERBS.items() if verb.side == side]
    return folded("\n".join([*lines, "", "  --version  which version this is"]), width, indent=13 * " ")


def version() -> str:
    """The installed version; of a checkout that was never installed, a word that says so."""
    from importlib import metadata  # noqa: PLC0415 - only when asked

    try:
        return metadata.version("trainmaster")
    except metadata.PackageNotFoundError:
        return "unknown: not installed"


def _problem(name: str, verb: Verb) -> str:
    """Why this Python cannot carry out the verb, and what to install; empty when it can."""
    lacking = [one for one in verb.needs if find_spec(one) is None]
    if lacking:
        return (
            f"not-installed: trainmaster {name} needs {', '.join(lacking)}, not installed for {sys.executable}.\n"
            f"Hint: pip install 'trainmaster[{verb.extra}]'; in a checkout: pip install -e '.[{verb.extra}]'"
        )
    if verb.side == TRAINER and "ultralytics" in verb.needs:
        try:
            importlib.import_module("cv2")  # ultralytics would load it next anyway
        except ImportError as error:
            return (
                f"opencv-unusable: trainmaster {name} needs OpenCV (cv2), which cannot be loaded: {error}.\n"
                "Hint: where libGL.so.1 is what lacks, pip uninstall opencv-python, then "
                "pip install --force-reinstall --no-deps opencv-python-headless"
            )
    return ""


def _side(name: str, verb: Verb, rest: list[str]) -> str:
    """``drill`` of the bot rehearses; given a run directory, it is the trainer's, which spoils a batch."""
    names_a_run = bool(rest) and not rest[0].startswith("-")
    return TRAINER if name == "drill" and names_a_run else verb.side


if __name__ == "__main__":
    raise SystemExit(main())
