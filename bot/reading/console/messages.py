"""Single lines of a console log that are neither frame nor table: starts, ends, warnings, deaths.

Every rule is anchored on the words of the program that prints it, never on a bare "nan", "error" or "killed":
classes, paths and arguments carry such words too.
"""

from __future__ import annotations

import re

from trainmaster.bot.reading.console.caught import HINTS as CAUGHT_HINTS
from trainmaster.bot.reading.console.caught import LOGGED, is_caught
from trainmaster.bot.reading.console.deaths import DEATHS, REPEATS
from trainmaster.bot.reading.console.errors import USER_STOP, judge_exception, judge_exit_code, kind_of
from trainmaster.bot.reading.console.exit_codes import HINTS as EXIT_HINTS
from trainmaster.bot.reading.console.exit_codes import exit_code_told
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    CrashKind,
    EarlyStopped,
    EndedEarly,
    ErrorOrigin,
    FatalError,
    NanRecovery,
    Notice,
    NoticeKind,
    Preparing,
    Resumed,
    RunBanner,
    Started,
)
from trainmaster.bot.reading.console.native import HINTS as NATIVE_HINTS
from trainmaster.bot.reading.console.native import native_end
from trainmaster.bot.reading.console.patterns import LazyPattern, any_in
from trainmaster.bot.reading.console.shells import KILLING, signal_told
from trainmaster.bot.reading.console.text import shortened

_BANNER = LazyPattern(
    r"(?:^|\s)(Ultralytics (?:YOLO)?v?\d\S*|YOLO(?:R|v\d+)) +(?:🚀 *)?(\S*).{0,80}\btorch[ -]\d", hints=("torch",)
)
_STARTED = LazyPattern(r"Starting training for (\d+(?:\.\d+)?) (epochs|hours)\.\.\.", hints=("Starting training for",))
_RESUMED = LazyPattern(
    r"Resuming training (?:from )?\S.{0,300} from epoch (\d+) to (\d+) total epochs", hints=("Resuming training",)
)
_COMPLETED = LazyPattern(
    r"(?:^|\s)(\d+) epochs completed in [\d.,]+ hours\.|^Training complete \([\d.]+ hours\)",
    hints=(" epochs completed in ", "Training complete ("),
)
_EARLY = LazyPattern(
    r"(?:Training stopped early|Stopping training early) as no improvement", hints=("as no improvement",)
)
_PATIENCE = LazyPattern(r"in last (\d+) epochs")
_BEST = LazyPattern(r"Best results observed at epoch (\d+)")
_RECOVERY = LazyPattern(
    r"(?:Loss|Fitness)\b[^.{]{0,80}\bdetected (?:\(attempt (\d+)/\d+\), recovering from|but can ?not recover from)",
    hints=("recover from", "recovering from"),
)
_NAN_WEIGHTS = LazyPattern(
    r"Skipping checkpoint save at epoch \d+: .{0,80}contains? NaN/Inf", hints=("Skipping checkpoint",)
)
_NAN_STOP = LazyPattern(r"^WARNING:? .*non-finite loss, ending training", hints=("ending training",))

_PREPARING = LazyPattern(
    r"^(?:engine[/\\]trainer: |(?:train|segment[/\\]train|classify[/\\]train): weights="
    r"|Image sizes \d+ train, \d+ val)"
    r"|^=+ next attempt, "
    r"|^Tuner: (?!(\d+)/\1 )\d+/\d+ iterations complete",  # another one follows
    hints=("trainer: ", "train: weights=", "Image sizes", "next attempt, ", "iterations complete"),
)
_ENDED_EARLY = LazyPattern(r"\brun ended early: (.{1,300})\. State: ", hints=("run ended early: ",))
_SIGNAL = LazyPattern(r"SIG[A-Z]+")
_BEFORE_TRAINING = LazyPattern(r"^(SIG[A-Z]+): stopped before training began", hints=("stopped before training",))

_NOTICES: tuple[tuple[NoticeKind, LazyPattern], ...] = (
    (
        NoticeKind.BATCH_HALVED,
        LazyPattern(
            r"(?:out of memory|backend memory error) with batch=\d+\. Reducing to batch=\d+",
            hints=("Reducing to batch=",),
        ),
    ),
    (
        NoticeKind.ASSIGNER_FALLBACK,
        LazyPattern(r"(?:OutOfMemoryError|out of memory) in TaskAlignedAssigner", hints=("in TaskAlignedAssigner",)),
    ),
    (
        NoticeKind.NONFINITE_BATCH_SKIPPED,
        LazyPattern(r"Non-finite forward pass, skipping batch", hints=("Non-finite forward",)),
    ),
    (NoticeKind.LABEL_CORRUPT, LazyPattern(r"ignoring corrupt image/", hints=("ignoring corrupt",))),
    (NoticeKind.LABEL_DUPLICATE, LazyPattern(r"\d+ duplicate labels removed", hints=("duplicate labels",))),
    (NoticeKind.IMAGE_RESTORED, LazyPattern(r"corrupt JPEG restored and saved", hints=("corrupt JPEG",))),
    (
        NoticeKind.LABELS_MISSING,
        LazyPattern(r"[Nn]o labels found in |Labels are missing or empty in ", hints=("abels ",)),
    ),
    (NoticeKind.AMP, LazyPattern(r"AMP: checks (?:skipped|failed)", hints=("AMP: ",))),
    (NoticeKind.NMS_SLOW, LazyPattern(r"NMS time limit [\d.]+s exceeded", hints=("NMS time",))),
    (NoticeKind.MOSAIC_CLOSED, LazyPattern(r"Closing dataloader mosaic", hints=("Closing dataloader",))),
    (NoticeKind.RESUME_IGNORED, LazyPattern(r"Resume ignores ", hints=("Resume ignores",))),
    (
        NoticeKind.LEAKED_SEMAPHORES,
        LazyPattern(r"resource_tracker: There appear to be \d+ leaked ", hints=("resource_tracker",)),
    ),
    (
        NoticeKind.STOP_ASKED,
        LazyPattern(r"\bSIG[A-Z]+: stopping as soon as the state is whole", hints=("stopping as soon",)),
    ),
    (NoticeKind.LOGGED_ERROR, LazyPattern(r"(?:^|[\s\]-])ERROR\b(?::| ❌| -|\s\|)", hints=("ERROR",))),
    (NoticeKind.WARNING, LazyPattern(r"(?:^|\s)WARNING(?: ⚠️|:)? \S", hints=("WARNING",))),
)

_CALLED = LazyPattern(
    r"(?:\w+\.)*CalledProcessError: Command .+ (?:returned non-zero exit status|died with) .+",
    hints=("CalledProcessError: Command",),
)
"""Behind the words of a launcher; at the beginning of a line it is an exception as any other."""
_WATCHDOG = LazyPattern(r"watchdog thread terminated with exception: (.+)", hints=("watchdog thread",))
_TERMINATE = LazyPattern(
    r"^(?:terminate called after throwing an instance of|what\(\): ) ?(.*)|^libc\+\+abi: terminating\b",
    hints=("terminat", "what(): "),
)
_REPORTED = LazyPattern(
    r"^(?:ErrorMessage \"|(?:wandb: ERROR )?Run \w+ errored: )((?:\w+\.)*\w+(?:Error|Exception|Interrupt)\b.*)",
    hints=("ErrorMessage", " errored: "),
)
"""SageMaker repeats the last exception behind its own, an agent of W&B as Python represents it."""
_BATCH_JOB = (
    *("Terminate batch job", "Batchvorgang abbrechen", "Terminer le programme de commandes", "el trabajo por lotes"),
    *("Terminare il processo batch", "o arquivo em lotes", "o trabalho em lotes", "zadanie wsadowe", "batchtaak"),
    *("пакетного файла", "终止批处理操作吗", "要終止批次工作嗎", "バッチ ジョブを終了しますか", "일괄 작업을"),
)
"""What the shell of Windows asks behind Ctrl-C."""
_USER_STOP = LazyPattern(
    r"(?:\^C)+(?:(?![a-z]).*|\w+: .*)|KernelInterrupted: .*|Process (?:terminated|aborted) by (?:the )?user\W*"
    rf"|.{{0,40}}(?:{'|'.join(_BATCH_JOB)}).{{0,40}}[(\[]\w\S{{0,5}}/\w\S{{0,5}}[)\]] ?\?.*"
    r"|Aborted[!.]|Stopping app - user stopped\b.*"
    r"|wandb: (?:Ctrl \+ C detected|Ctrl-c pressed|Terminating and syncing runs)\b.*|User aborted: stopping task\b.*"
    r"|.*\bReceived 2 death signal, shutting down workers\b.*"
    r"|.*### TASK STOPPED - USER ABORTED\b.*|DONE: Running task '[^']{1,80}' \(user aborted\)"
    rf"|{LOGGED}\W*(?i:(?:\w+ ){{0,2}}training (?:was )?(?:interrupted|stopped|cancell?ed|aborted|terminated)"
    r" by (?:the )?user\b).{0,60}"
    r"|\W*(?:用户(?:手动)?(?:中断|终止|停止)了?训练|训练被用户(?:手动)?(?:中断|终止|停止)).{0,60}"
    r"|Gracefully [Ss]topping\.\.\. \(press Ctrl\+C again to force\)",
    hints=(
        "^C",
        "KernelInterrupted",
        " user",
        "USER",
        "用户",
        "Aborted",
        "wandb: ",
        "Ctrl+C",
        "User",
        "(user aborted)",
        "death signal",
        *_BATCH_JOB,
    ),
)
"""The terminal's echo of Ctrl-C; all that a notebook leaves of a run that was stopped, or whose host ran out of RAM.
ClearML, W&B, Modal, click, Docker, the shell of Windows and scripts that catch it have words of their own."""


_HINTED: tuple[LazyPattern, ...] = (
    *(_BANNER, _STARTED, _RESUMED, _COMPLETED, _EARLY, _RECOVERY, _NAN_WEIGHTS, _NAN_STOP, _PREPARING, _ENDED_EARLY),
    *(_BEFORE_TRAINING, _WATCHDOG, _TERMINATE, _USER_STOP, _REPORTED, _CALLED, *(pattern for _, pattern in _NOTICES)),
)
_WORDS = tuple(
    dict.fromkeys(
        [
            *(hint for pattern in _HINTED for hint in pattern.hints),
            *(hint for _, hints, _ in (*DEATHS, *REPEATS) for hint in hints),
            *(*NATIVE_HINTS, *EXIT_HINTS, *CAUGHT_HINTS),
        ]
    )
)
"""A text without any of them, as nearly all are, can only be what a shell says of a signal."""


def read_message(text: str, line: int) -> ConsoleFact | None:
    """What ``text`` (no indentation, no shipper's prefix) announces; None when nothing that matters."""
    if not any_in(_WORDS, text):
        return _said_by_shell(text, line)
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
    if match := _ENDED_EARLY.search(text):
        signal = _SIGNAL.match(match[1])
        return EndedEarly(
            line=line, signal=signal[0] if signal else None, text=shortened(f"run ended early: {match[1]}")
        )
    if match := _BEFORE_TRAINING.search(text):
        return EndedEarly(line=line, signal=match[1], text=shortened(text))
    if _PREPARING.search(text):
        return Preparing(line=line)
    if match := _BANNER.search(text):
        return RunBanner(line=line, version=f"{match[1]} {match[2]}" if match[1].startswith("YOLO") else match[1])
    return None


def _nonfinite(text: str, line: int) -> ConsoleFact | None:
    if match := _RECOVERY.search(text):
        attempt = int(match[1]) if match[1] else None
        return NanRecovery(line=line, attempt=attempt, text=shortened(text))
    if _NAN_WEIGHTS.search(text) or _NAN_STOP.search(text):
        return NanRecovery(line=line, attempt=None, text=shortened(text))
    return None


def _death(text: str, line: int) -> ConsoleFact | None:
    for kind, hints, pattern in DEATHS:
        if any_in(hints, text) and re.search(pattern, text):
            return _fatal(line, kind, text)
    native = native_end(text)
    if native is not None:
        told = kind_of(native.detail)
        kind = CrashKind.CUDA_ERROR if native.on_device and told is CrashKind.EXCEPTION else told
        return _fatal(line, kind, native.detail)
    if match := _WATCHDOG.search(text) or _TERMINATE.search(text):
        return _fatal(line, kind_of(match[1] or ""), text)
    if _USER_STOP.fullmatch(text):
        return _user_stop(text, line)
    fact = _repeated(text, line) or _said_by_shell(text, line)
    if fact is None and is_caught(text):
        fact = _fatal(line, kind_of(text), text, ErrorOrigin.CAUGHT)
    return fact


def _said_by_shell(text: str, line: int) -> FatalError | None:
    signal = signal_told(text)
    if signal == "SIGINT":
        return _user_stop(text, line)
    if signal is not None:
        return _fatal(line, CrashKind.KILLED if signal in KILLING else CrashKind.EXCEPTION, text)
    code = exit_code_told(text)
    verdict = judge_exit_code(code, detail=text) if code is not None else None
    if verdict is None:
        return None
    return FatalError(line=line, kind=verdict.kind, origin=verdict.origin, detail=verdict.detail, text=shortened(text))


def _repeated(text: str, line: int) -> FatalError | None:
    """What a supervisor or a launcher says of an error that stands elsewhere, as a rule."""
    for kind, hints, pattern in REPEATS:
        if any_in(hints, text) and re.search(pattern, text):
            short = shortened(text)
            return FatalError(line=line, kind=kind, origin=ErrorOrigin.WRAPPER, detail=short, text=short)
    if match := _REPORTED.search(text):
        said, origin = judge_exception(match[1].rstrip('"')), ErrorOrigin.WRAPPER
    elif match := _CALLED.search(text):
        said = judge_exception(match[0])
        origin = said.origin
    else:
        return None
    return FatalError(line=line, kind=said.kind, origin=origin, detail=said.detail, text=shortened(text))


def _user_stop(text: str, line: int) -> FatalError:
    text = shortened(text)
    return FatalError(line=line, kind=CrashKind.EXCEPTION, origin=ErrorOrigin.MAIN, detail=USER_STOP, text=text)


def _fatal(line: int, kind: CrashKind, text: str, origin: ErrorOrigin = ErrorOrigin.MAIN) -> FatalError:
    text = shortened(text)
    return FatalError(line=line, kind=kind, origin=origin, detail=text, text=text)


def _notice(text: str, line: int) -> Notice | None:
    for kind, pattern in _NOTICES:
        if pattern.search(text):
            return Notice(line=line, kind=kind, text=shortened(text))
    return None
