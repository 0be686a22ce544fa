"""Single lines of a console log that are neither frame nor table: starts, ends, warnings, deaths.

Every rule is anchored on the words of the program that prints it, never on a bare "nan", "error" or "killed":
classes, paths and arguments carry such words too.
"""

from __future__ import annotations

import re

from trainmaster.bot.reading.console.errors import USER_STOP, judge_exception, judge_exit_code, kind_of
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    CrashKind,
    EarlyStopped,
    FatalError,
    NanRecovery,
    Notice,
    NoticeKind,
    Origin,
    Resumed,
    RunBanner,
    Started,
)
from trainmaster.bot.reading.console.text import shortened

_BANNER = re.compile(r"(?:^|\s)(Ultralytics (?:YOLO)?v?\d\S*|YOLO(?:R|v\d+)) +(?:🚀 *)?(\S*).{0,80}\btorch[ -]\d")
_STARTED = re.compile(r"Starting training for (\d+(?:\.\d+)?) (epochs|hours)\.\.\.")
_RESUMED = re.compile(r"Resuming training (?:from )?\S.{0,300} from epoch (\d+) to (\d+) total epochs")
_COMPLETED = re.compile(r"(?:^|\s)(\d+) epochs completed in [\d.]+ hours\.|^Training complete \([\d.]+ hours\)")
_EARLY = re.compile(r"(?:Training stopped early|Stopping training early) as no improvement")
_PATIENCE = re.compile(r"in last (\d+) epochs")
_BEST = re.compile(r"Best results observed at epoch (\d+)")
_RECOVERY = re.compile(
    r"(?:Loss|Fitness)\b[^.{]{0,80}\bdetected (?:\(attempt (\d+)/\d+\), recovering from|but can ?not recover from)"
)
_NAN_WEIGHTS = re.compile(r"Skipping checkpoint save at epoch \d+: .{0,80}contains? NaN/Inf")
_NAN_STOP = re.compile(r"^WARNING:? .*non-finite loss, ending training")

_NOTICES: tuple[tuple[NoticeKind, re.Pattern[str]], ...] = (
    (
        NoticeKind.BATCH_HALVED,
        re.compile(r"(?:out of memory|backend memory error) with batch=\d+\. Reducing to batch=\d+"),
    ),
    (NoticeKind.ASSIGNER_FALLBACK, re.compile(r"(?:OutOfMemoryError|out of memory) in TaskAlignedAssigner")),
    (NoticeKind.NONFINITE_BATCH_SKIPPED, re.compile(r"Non-finite forward pass, skipping batch")),
    (NoticeKind.LABEL_CORRUPT, re.compile(r"ignoring corrupt image/")),
    (NoticeKind.LABEL_DUPLICATE, re.compile(r"\d+ duplicate labels removed")),
    (NoticeKind.IMAGE_RESTORED, re.compile(r"corrupt JPEG restored and saved")),
    (NoticeKind.LABELS_MISSING, re.compile(r"[Nn]o labels found in |Labels are missing or empty in ")),
    (NoticeKind.AMP, re.compile(r"AMP: checks (?:skipped|failed)")),
    (NoticeKind.NMS_SLOW, re.compile(r"NMS time limit [\d.]+s exceeded")),
    (NoticeKind.MOSAIC_CLOSED, re.compile(r"Closing dataloader mosaic")),
    (NoticeKind.RESUME_IGNORED, re.compile(r"Resume ignores ")),
    (NoticeKind.LEAKED_SEMAPHORES, re.compile(r"resource_tracker: There appear to be \d+ leaked ")),
    (NoticeKind.LOGGED_ERROR, re.compile(r"(?:^|[\s\]-])ERROR\b(?::| ❌| -|\s\|)")),
    (NoticeKind.WARNING, re.compile(r"(?:^|\s)WARNING(?: ⚠️|:)? \S")),
)

_DEATHS: tuple[tuple[CrashKind, re.Pattern[str]], ...] = (
    (
        CrashKind.KILLED,
        re.compile(
            r"^(?:Killed|Terminated|Hangup)$"
            r"|^\S+: line \d+:\s+\d+ (?:Killed|Terminated|Hangup)\b"
            r"|^\[\d+\]\s*[+-]?\s*(?:\d+\s+)?(?:[Kk]illed|[Tt]erminated|[Hh]angup)\b"
            r"|^(?:zsh|fish|bash): (?:killed|terminated)\b"
            r"|[Oo]ut of memory: Kill(?:ed)? process \d+"
            r"|^slurmstepd: error: .*(?:oom[-_ ]kill|CANCELLED|TIME LIMIT|[Ee]xceeded .*memory limit)"
            r"|^srun: error: .*: task \S+: (?:Killed|Out Of Memory|Terminated)"
            r"|Main process exited, code=killed"
            r"|Signal \d+ \((?:SIGKILL|SIGTERM|SIGHUP)\) received by PID \d+"
            r"|^TERM_\w+: job killed |^=>> PBS: job killed: |\bOOMKilled\b"
        ),
    ),
    (
        CrashKind.EXCEPTION,
        re.compile(
            r"^(?:Segmentation fault|Bus error|Aborted|Illegal instruction|Floating point exception)"
            r"(?: ?\(core dumped\))?\.?$"
            r"|^\S+: line \d+:\s+\d+ (?:Segmentation fault|Bus error|Aborted|Illegal instruction)\b"
            r"|^\[\d+\]\s*[+-]?\s*(?:\d+\s+)?(?:[Ss]egmentation fault|[Bb]us error|[Aa]bort(?:ed)?)\b"
            r"|^(?:zsh|fish|bash): (?:segmentation fault|bus error|abort)\b"
            r"|^srun: error: .*: task \S+: (?:Segmentation fault|Bus error|Aborted)"
            r"|^Fatal Python error: |^Windows fatal exception: "
            r"|Signal \d+ \((?:SIGSEGV|SIGABRT|SIGBUS|SIGFPE|SIGILL)\) received by PID \d+"
            r"|^(?:double free or corruption|free\(\): invalid|malloc\(\): |munmap_chunk\(\): |malloc_consolidate\(\): "
            r"|corrupted (?:double-linked list|size vs\. prev_size))"
            r"|^OMP: Error #\d+: |^forrtl: error \(\d+\): program aborting"
        ),
    ),
    (
        CrashKind.CUDA_ERROR,
        re.compile(r"^(?:Memory access fault by GPU node-\d+|HW Exception by GPU node-\d+)"),  # ROCm; it aborts
    ),
    (CrashKind.DATALOADER, re.compile(r"^ERROR: Unexpected bus error encountered in worker\.")),
    (
        CrashKind.NCCL,
        re.compile(
            r"Watchdog caught collective operation timeout: WorkNCCL"
            r"|^(?:Some NCCL operations have failed or timed out"
            r"|To avoid data inconsistency, we are taking the entire process down)"
        ),
    ),
)
_WATCHDOG = re.compile(r"watchdog thread terminated with exception: (.+)")
_TERMINATE = re.compile(
    r"^(?:terminate called after throwing an instance of|what\(\): ) ?(.*)|^libc\+\+abi: terminating\b"
)
_EXIT_CODE = re.compile(
    r"(?:^Process finished with exit code|^进程已结束，退出代码为|^\S*srun: error: .* Exited with exit code"
    r"|\bfailed \(exitcode:|^exitcode\s*:|Command exited with (?:non-zero )?status"
    r"|^command terminated with exit code|^\S+ exited with code|^(?:##\[error\])?Process completed with exit code"
    r"|^Exited with exit code) *(-?\d+)"
)
_REPORTED = re.compile(r"^ErrorMessage \"((?:\w+\.)*\w+(?:Error|Exception|Interrupt)\b.*)")
"""SageMaker repeats the last exception behind its own."""
_USER_STOP = re.compile(r"(?:\^C)+")
"""The terminal's echo of Ctrl-C; all that a notebook leaves of a run that was stopped, or whose host ran out of RAM."""


def read_message(text: str, line: int) -> ConsoleFact | None:
    """What ``text`` (no indentation, no shipper's prefix) announces; None when nothing that matters."""
    return _progress(text, line) or _nonfinite(text, line) or _death(text, line) or _notice(text, line)


def _progress(text: str, line: int) -> ConsoleFact | None:
    if match := _STARTED.search(text):
        return Started(line=line, epochs=int(match[1]) if match[2] == "epochs" else None)
    if match := _RESUMED.search(text):
        return Resumed(line=line, epoch=int(match[1]), epochs=int(match[2]))
    if match := _COMPLETED.search(text):
        return Completed(line=line, epochs=int(match[1]) if match[1] else None)
    if _EARLY.search(text):
        patience, best = _PATIENCE.search(text), _BEST.search(text)
        return EarlyStopped(
            line=line, patience=int(patience[1]) if patience else None, best_epoch=int(best[1]) if best else None
        )
    if match := _BANNER.search(text):
        return RunBanner(line=line, version=f"{match[1]} {match[2]}" if match[1].startswith("YOLO") else match[1])
    return None


def _nonfinite(text: str, line: int) -> ConsoleFact | None:
    if match := _RECOVERY.search(text):
        attempt = int(match[1]) if match[1] else None
        return NanRecovery(line=line, recovering=attempt is not None, attempt=attempt, text=shortened(text))
    if _NAN_WEIGHTS.search(text) or _NAN_STOP.search(text):
        return NanRecovery(line=line, recovering=False, attempt=None, text=shortened(text))
    return None


def _death(text: str, line: int) -> ConsoleFact | None:
    for kind, pattern in _DEATHS:
        if pattern.search(text):
            return FatalError(line=line, kind=kind, origin=Origin.MAIN, detail=shortened(text), text=shortened(text))
    if match := _WATCHDOG.search(text) or _TERMINATE.search(text):
        return FatalError(
            line=line, kind=kind_of(match[1] or ""), origin=Origin.MAIN, detail=shortened(text), text=shortened(text)
        )
    if _USER_STOP.fullmatch(text):
        return FatalError(
            line=line, kind=CrashKind.EXCEPTION, origin=Origin.MAIN, detail=USER_STOP, text=shortened(text)
        )
    if match := _REPORTED.search(text):
        said = judge_exception(match[1].rstrip('"'))
        return FatalError(line=line, kind=said.kind, origin=Origin.WRAPPER, detail=said.detail, text=shortened(text))
    if match := _EXIT_CODE.search(text):
        verdict = judge_exit_code(int(match[1]), detail=text)
        if verdict is not None:
            return FatalError(
                line=line, kind=verdict.kind, origin=verdict.origin, detail=verdict.detail, text=shortened(text)
            )
    return None


def _notice(text: str, line: int) -> Notice | None:
    for kind, pattern in _NOTICES:
        if pattern.search(text):
            return Notice(line=line, kind=kind, text=shortened(text))
    return None
