"""The batch script of a run, and the options of ``sbatch`` that go with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from trainmaster.trainer.arguments import ArgumentsError, is_number
from trainmaster.trainer.jobs.environment import KEY_VARIABLE, OPTIONS_VARIABLE, RUN_ID_VARIABLE

COMMENT_PREFIX: Final = "trainmaster "
"""A job's comment is this and the key of its launch."""

DEFAULT_MARGIN_S: Final = 300
"""From SIGTERM to the time limit while no save of the run was measured: a batch ends, a state of a gigabyte is written
to a slow network disk. Slurm sends it up to 10 s late."""
MAX_MARGIN_SHARE: Final = 0.25
"""Of the time limit: with a margin beyond the limit, Slurm would ask the job to stop as soon as it starts."""

_FLAGS: Final = frozenset(
    {
        *("requeue", "no-requeue", "exclusive", "hold", "H", "contiguous", "overcommit", "O", "s", "oversubscribe"),
        *("no-kill", "k", "spread-job", "use-min-nodes", "reboot", "ignore-pbs", "Q", "quiet", "v", "verbose"),
    }
)
"""Options of ``sbatch`` without a value of their own in the next word."""

_OURS: Final = {
    **dict.fromkeys(("job-name", "J"), "the job is found by its name, tm-RUN"),
    "comment": "the comment carries the key by which a launch is found again",
    **dict.fromkeys(("array", "a"), "one job is one run; submit each run by itself"),
    "wrap": "the script is Trainmaster's own",
    **dict.fromkeys(("clusters", "M"), "the job must be in the queue that the bot reads; set SLURM_CONF instead"),
    "test-only": "it would submit nothing",
    **dict.fromkeys(("wait", "W"), "the training takes days; status tells how it is"),
    "parsable": "Trainmaster reads the answer itself",
}


_OF_THE_FIRST_START: Final = frozenset({"begin", "b", "dependency", "d", "deadline", "hold", "H"})
"""What a run waits for before it trains at all: once it has trained, a later job of it must not wait for that again."""

_SHORTENED: Final = {
    "ar": "array",
    "be": "begin",
    "com": "comment",
    "dea": "deadline",
    "dep": "dependency",
    "ho": "hold",
    "j": "job-name",
    "pars": "parsable",
    "part": "partition",
    "te": "test-only",
    "wr": "wrap",
}
"""From how much on ``sbatch`` takes a shortened option for one that matters here."""


def job_name(run: str) -> str:
    """Of the job of that run."""
    return f"tm-{run}"


def comment_of(key: str) -> str:
    """Of the job that this launch submits."""
    return COMMENT_PREFIX + key


def key_of(comment: str) -> str | None:
    """The launch that a job with that comment was submitted by; None of a job that Trainmaster did not submit."""
    return comment.removeprefix(COMMENT_PREFIX) if comment.startswith(COMMENT_PREFIX) else None


def batch_script(
    argv: Sequence[str], *, cwd: str, key: str, run: str, options: Sequence[str], env: Mapping[str, str]
) -> str:
    """The trainer takes the script's place (``exec``): it is what Slurm signals, and its exit code is the job's."""
    exported = {KEY_VARIABLE: key, RUN_ID_VARIABLE: run, OPTIONS_VARIABLE: json.dumps(_lasting(options)), **env}
    lines = [
        "#!/bin/sh",
        "# Written by trainmaster sbatch. After a requeue it goes on with its run by itself (again=auto).",
        *(f"export {name}={shlex.quote(value)}" for name, value in exported.items() if value),
        f"cd {shlex.quote(cwd)} || exit 2",
        f"exec {shlex.join(argv)}",
    ]
    return "\n".join(lines) + "\n"


def _lasting(options: Sequence[str]) -> list[str]:
    """Those of every job of the run: what a trainer that has begun is submitted again with."""
    given = split_options(options)
    return [word for name, value in given if name not in _OF_THE_FIRST_START for word in _word(name, value)]


def sbatch_words(run: str, key: str, options: Sequence[str], *, margin_s: int, log: str) -> tuple[str, ...]:
    """What ``sbatch`` is given: ours first, so that a person's own word on signals, output or requeueing wins."""
    given = split_options(options)
    wanted_margin_s = margin_within(margin_s, given)
    after = ",".join(value for name, value in given if name in {"dependency", "d"} and value)
    kept = [word for name, value in given if name not in {"dependency", "d"} for word in _word(name, value)]
    return (
        f"--job-name={job_name(run)}",
        f"--comment={comment_of(key)}",
        "--nodes=1",
        "--requeue",
        "--open-mode=append",
        f"--signal=B:TERM@{wanted_margin_s}",
        f"--output={log.replace('%', '%%')}",
        *kept,
        f"--dependency={after + ',' if after else ''}singleton",
    )


def check_options(options: Sequence[str]) -> None:
    """Trainmaster can submit a run with them.

    Raises:
        ArgumentsError: every fault, one a line.
    """
    given = split_options(options)
    faults = [f"{_shown(name)} can't be given: {_OURS[name]}" for name, _ in given if name in _OURS]
    faults += [
        f"{_shown(name)}={value}: a run trains on one node, since Ultralytics starts its ranks itself, from device="
        for name, value in given
        if name in {"nodes", "N"} and value not in {"1", "1-1"}
    ]
    faults += [
        f"{_shown(name)}={value}: beside the ? Slurm would take our singleton (never two jobs of one run) for one "
        "more of several that will do; a comma asks for all of them"
        for name, value in given
        if name in {"dependency", "d"} and "?" in (value or "")
    ]
    if faults:
        raise ArgumentsError("\n".join(faults), "trainmaster sbatch --partition=gpu --gpus=1 -- train model=...")


def split_options(options: Sequence[str]) -> list[tuple[str, str | None]]:
    """Each option's name without dashes, and its value where it has one.

    Raises:
        ArgumentsError: a word that belongs to no option.
    """
    found: list[tuple[str, str | None]] = []
    words = list(options)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _whole_name(name)
            has_value = bool(equals)
        elif word.startswith("-") and len(word) > 1:
            name, value = word[1], word[2:].removeprefix("=")
            has_value = bool(value)
        else:
            raise ArgumentsError(
                f"{word!r} is no option of sbatch", "options first, then --, then train or resume with its words"
            )
        if not has_value and name not in _FLAGS and words and not words[0].startswith("-"):
            value, has_value = words.pop(0), True
        found.append((name, value if has_value else None))
    return found


def _whole_name(name: str) -> str:
    whole = (full for start, full in _SHORTENED.items() if name.startswith(start) and full.startswith(name))
    return next(whole, name)


def margin_within(margin_s: int, given: Sequence[tuple[str, str | None]]) -> int:
    """``margin_s``, or less where the time limit is short."""
    limits = [time_limit_s(value) for name, value in given if name in {"time", "t"} and value]
    limit_s = limits[-1] if limits else None
    # A limit of 0 is none.
    return margin_s if not limit_s else max(1, min(margin_s, int(MAX_MARGIN_SHARE * limit_s)))


def time_limit_s(text: str) -> float | None:
    """Of ``sbatch --time``: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]; None for
    what is none of them."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(is_number(part) for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        return None
    numbers = [int(part) for part in parts]
    if not dash and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds


def _word(name: str, value: str | None) -> tuple[str, ...]:
    if len(name) == 1:
        return (f"-{name}",) if value is None else (f"-{name}", value)
    return (f"--{name}",) if value is None else (f"--{name}={value}",)


def _shown(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"
