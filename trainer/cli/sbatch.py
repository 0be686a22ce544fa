"""``trainmaster sbatch [options] -- train|resume ...``: a training as a job of a Slurm cluster. Loads no torch."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from trainmaster.terminal import then
from trainmaster.trainer import contract
from trainmaster.trainer.arguments import ArgumentsError, NoRunError, is_number, reject_unknown, split_arguments
from trainmaster.trainer.checkpoints.plain_file import opened_plain
from trainmaster.trainer.contract import (
    MODULE_ARGV,
    ClusterJob,
    EventKind,
    ExitCode,
    Phase,
    RunFile,
    RunLayout,
    RunRecordState,
    decode_number,
    is_run_dir,
    read_json,
    replace_json,
)
from trainmaster.trainer.jobs import launch_environment
from trainmaster.trainer.jobs.script import DEFAULT_MARGIN_S, batch_script, check_options, sbatch_words
from trainmaster.trainer.jobs.submission import (
    PARTITIONS,
    may_have_arrived,
    short_limit,
    submitted,
    with_habits,
    without_a_job_s,
)
from trainmaster.trainer.levels import DEFAULT_LEVEL
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.visible import visible_line

TIMEOUT_S: Final = 60.0
"""A controller that is down makes ``sbatch`` give up by itself after 9 s; a busy one takes its time."""
_MIN_MARGIN_S: Final = 90.0
"""Beside three measured saves: Slurm asks up to 30 s late, and a network disk has worse minutes."""
_EXAMPLE: Final = "trainmaster sbatch --partition=gpu --gpus=1 -- train model=yolo11n.pt data=data.yaml epochs=100"


class UnclearSubmissionError(ArgumentsError):
    """Whether a job is in the queue is not known."""


def main(words: Sequence[str]) -> int:
    """Carry out the command line; the exit code.

    Raises:
        ArgumentsError: it can't be; says why, in Slurm's own words where Slurm refused. Nothing was started.
    """
    if "--" not in words:
        raise ArgumentsError("-- must stand between the options of sbatch and the command", _EXAMPLE)
    at = list(words).index("--")
    given, command = tuple(words[:at]), tuple(words[at + 1 :])
    if not command:
        raise ArgumentsError("there is no command behind --", _EXAMPLE)
    reject_unknown([command[0]], ("train", "resume"), "command for sbatch")
    check_options(given)
    options = with_habits(given, os.environ) if given or command[0] == "train" else ()
    return _train(options, command[1:]) if command[0] == "train" else _resume(options, command[1:])


def _train(options: tuple[str, ...], words: tuple[str, ...]) -> int:
    given = split_arguments(words)
    if given.words or given.flags:
        raise ArgumentsError(f"train takes key=value only, not {' '.join(given.words)}", _EXAMPLE)
    settings = dict(given.settings)
    if missing := [key for key in ("model", "data") if key not in settings]:
        raise ArgumentsError(f"train needs {' and '.join(f'{key}=' for key in missing)}", _EXAMPLE)
    if refused := [key for key in ("exist_ok", "save_dir", "resume", "again") if key in settings]:
        raise ArgumentsError(
            f"{', '.join(f'{key}=' for key in refused)} can't be given: sbatch makes the run's directory itself",
            "project= and name= say where",
        )
    wanted = Path(settings.pop("project", "runs")).absolute() / settings.pop("name", "train")
    layout = RunLayout(_new_directory(wanted))
    place = {"project": str(layout.root.parent), "name": layout.root.name, "exist_ok": "True", "again": "auto"}
    argv = _argv("train", *(f"{key}={value}" for key, value in {**settings, **place}.items()))
    record = RunFile(
        run=uuid.uuid4().hex[:12],
        attempt=0,
        python=sys.executable,
        argv=argv,
        cwd=str(Path.cwd()),
        log=str(_output_of(layout)),  # until it trains, what it says stands there alone
        model=settings["model"],
        data=settings["data"],
        task=settings.get("task"),
        epochs=int(settings["epochs"]) if is_number(settings.get("epochs", "")) else None,
        level=settings.get("level", DEFAULT_LEVEL),
        state=RunRecordState.SUBMITTED,
        owner=settings.get("owner"),
    )
    try:
        return _submit(layout, record, options, argv, margin_s=DEFAULT_MARGIN_S)
    except UnclearSubmissionError:
        raise  # its job may begin at any time, and finds its directory
    except (ArgumentsError, OSError) as error:
        if not (read_json(layout.run_json) or {}).get("job"):
            _undo(layout)
        if isinstance(error, OSError):
            raise ArgumentsError(
                f"{layout.root} can't be written: {error.strerror or error}", "project= says where"
            ) from error
        raise


def _resume(options: tuple[str, ...], words: tuple[str, ...]) -> int:
    given = split_arguments(words)
    if len(given.words) != 1 or given.flags:
        raise ArgumentsError("resume takes one run directory", "trainmaster sbatch ... -- resume RUN_DIR")
    root = Path(given.words[0]).resolve()
    if not is_run_dir(root):
        raise NoRunError(root)
    layout = RunLayout(root)
    known = read_json(layout.run_json) or {}
    if not options and isinstance(known.get("job"), dict):
        options = tuple(str(word) for word in known["job"].get("options") or ())
    options = options or with_habits((), os.environ)
    names = set(RunFile.__dataclass_fields__)
    try:
        record = RunFile(**{key: value for key, value in known.items() if key in names})
    except TypeError:
        raise NoRunError(root, "can't be submitted: its guard/run.json is torn or no record of a run") from None
    settings = {**given.settings, "again": "auto"}
    argv = _argv("resume", str(root), *(f"{key}={value}" for key, value in settings.items()))
    return _submit(layout, record, options, argv, margin_s=_margin_s(layout))


def _output_of(layout: RunLayout) -> Path:
    """Where the job's own output goes."""
    return layout.root.parent / f"{layout.root.name}.slurm.log"


def _argv(*words: str) -> tuple[str, ...]:
    return (sys.executable, *MODULE_ARGV, *words)


def _submit(
    layout: RunLayout, record: RunFile, options: tuple[str, ...], argv: tuple[str, ...], *, margin_s: int
) -> int:
    """The job is in the queue, and ``run.json`` names it before its trainer can begin: it waits for the lock."""
    if limit := short_limit(_told(*PARTITIONS), options, margin_s):
        options = (*options, f"--time={limit}")  # as it would be; from this the time of the request is reckoned
    key = f"sbatch-{uuid.uuid4().hex[:12]}"
    script = batch_script(argv, cwd=str(Path.cwd()), key=key, run=record.run, options=options, env=_module_path())
    log = str(_output_of(layout))
    lock = RunLock(layout)
    try:
        (layout.guard / "job.sh").write_bytes(os.fsencode(script))
        launch_environment.remember(layout, os.environ)
        new = record.state is RunRecordState.SUBMITTED
        # Of a resumed run the key is recorded by the start that it names: until then nothing was done by it.
        record = replace(record, launch_key=key if new else None, started_ts=time.time(), updated_ts=time.time())
        if new:
            replace_json(layout.run_json, asdict(record), durable=True)
        number, cluster = _sbatch(layout, script, sbatch_words(record.run, key, options, margin_s=margin_s, log=log))
        job = ClusterJob(id=number, cluster=cluster, partition=None, options=options)
        replace_json(layout.run_json, asdict(replace(record, job=job)), durable=True)
    finally:
        lock.release()
    print(visible_line(f"job {number} of run {record.run} is in the queue; its directory: {layout.root}"))
    print(visible_line(f"its output: {log}; in Slack: /train status of {layout.name}"))
    then(f"trainmaster watch {shlex.quote(str(layout.root))} shows it as soon as it trains")
    return ExitCode.FINISHED


def _sbatch(layout: RunLayout, script: str, words: Sequence[str]) -> tuple[str, str | None]:
    program = shutil.which("sbatch")
    if program is None:
        raise ArgumentsError(
            "sbatch is not installed here, so no job can be submitted", "run this on a login node of the cluster"
        )
    try:
        done = subprocess.run(
            [program, "--parsable", *words],
            input=os.fsencode(script),  # which may name a folder by any bytes
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=without_a_job_s(launch_environment.without_the_bot_s(os.environ)),
        )
    except subprocess.TimeoutExpired as error:
        raise _unclear(layout, f"sbatch gave no answer within {TIMEOUT_S:g} s") from error
    out = done.stdout.decode(errors="replace")
    said = done.stderr.decode(errors="replace").strip() or out.strip()
    if done.returncode != 0:
        if may_have_arrived(said):
            raise _unclear(layout, f"Slurm answered: {said}")
        raise ArgumentsError(f"Slurm refused: {said}", "nothing was started")
    job = submitted(out)
    if job is None:
        raise _unclear(layout, f"sbatch told no number ({said[:200] or 'nothing'})")
    return job[0], job[1] or _cluster_of(job[0])


def _unclear(layout: RunLayout, why: str) -> UnclearSubmissionError:
    run = (read_json(layout.run_json) or {}).get("run")
    return UnclearSubmissionError(
        f"{why}, so it is not known whether the job was submitted",
        f"squeue --me --name=tm-{run} shows it; if it does not: trainmaster sbatch ... -- resume "
        f"{shlex.quote(str(layout.root))}",
    )


def _cluster_of(number: str) -> str | None:
    """As the job's own environment will name it; None where nobody says."""
    return _told("squeue", "-h", "-j", number, "-O", "Cluster:|").strip().rstrip("|") or None


def _told(name: str, *words: str) -> str:
    """What that command says; nothing where it is missing or gives no answer."""
    program = shutil.which(name)
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _new_directory(wanted: Path) -> Path:
    """``wanted``, or with a number behind it: made by nobody but this call."""
    for number in range(1, 10_000):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ArgumentsError(f"{path} can't be made: {error.strerror or error}", "project= says where") from error
        return path
    raise ArgumentsError(f"{wanted} has ten thousand runs beside it", "name=")


def _undo(layout: RunLayout) -> None:
    """Nothing is left of a directory that this call has made and no job will ever use."""
    for path in (layout.run_json, layout.guard / "job.sh", launch_environment.place(layout), layout.lock):
        path.unlink(missing_ok=True)
    for folder in (layout.guard, layout.root):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _module_path() -> dict[str, str]:
    """What a job needs to find Trainmaster when it is not installed but used from a checkout."""
    root = Path(str(contract.__file__)).resolve().parents[1]
    if root.parent.name in {"site-packages", "dist-packages"}:
        return {}
    alone = root / "trainmaster" / "alone"  # our package and nothing beside it: a user's own modules come first
    ours = str(alone if alone.is_dir() else root)
    others = [
        part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part not in {ours, str(root)}
    ]
    return {"PYTHONPATH": os.pathsep.join([*others, ours])}


def _margin_s(layout: RunLayout) -> int:
    """From the request to end until the time limit: three times the longest save of the run so far."""
    longest_s = longest_save_s(layout)
    return DEFAULT_MARGIN_S if longest_s is None else int(_MIN_MARGIN_S + 3 * longest_s)


def longest_save_s(layout: RunLayout) -> float | None:
    """The longest phase of saving in the run's events; None while there was none."""
    saves: list[float] = []
    began: float | None = None
    try:
        with io.TextIOWrapper(opened_plain(layout.events), encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if EventKind.PHASE not in line:
                    continue
                event = _object(line)
                ts = decode_number(event.get("ts"))
                if event.get("kind") != EventKind.PHASE or ts is None:
                    continue
                if began is not None:
                    saves.append(ts - began)
                began = ts if event.get("phase") == Phase.SAVING else None
    except OSError:
        return None
    return max(saves, default=None)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
