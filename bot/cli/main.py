"""``trainmaster VERB``: parses, calls, and turns errors into words. Each verb imports only what it needs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trainmaster.bot.errors import TrainmasterError

ENV_FILE = Path(".env")
AUDIT_NAME = "audit.jsonl"


def _run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="trainmaster run", description="Watch RUNS_DIR and answer in Slack.")
    parser.parse_args(argv)
    from trainmaster.bot.app import App  # noqa: PLC0415 - the other verbs start without Slack
    from trainmaster.bot.settings.model import load_settings, suspicious_names  # noqa: PLC0415

    settings = load_settings(os.environ, ENV_FILE)
    _set_up_logging(settings.log_level)
    for warning in suspicious_names(os.environ, ENV_FILE):
        logging.getLogger("bot").warning("settings: %s", warning)

    async def serve() -> None:
        app = App(settings)
        try:
            await app.start()
            print(f"Trainmaster watches {settings.runs_dir}. Ctrl-C ends it; trainings go on.", flush=True)
            await app.serve()
        finally:
            await app.close()

    _run_until_signal(serve)
    return 0


def _demo(argv: Sequence[str]) -> int:
    from trainmaster.bot.rehearsal.demo import main  # noqa: PLC0415 - the other verbs start without the workspace

    return main(argv)


def _drill(argv: Sequence[str]) -> int:
    from trainmaster.bot.rehearsal.drill import main  # noqa: PLC0415 - the other verbs start without the workspace

    return main(argv)


def _scan(argv: Sequence[str]) -> int:
    from trainmaster.bot.cli.scan import main  # noqa: PLC0415 - starts in a blink without the rest

    return main(argv)


def _doctor(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="trainmaster doctor", description="Check settings, Slack, folders and host.")
    parser.parse_args(argv)
    from trainmaster.bot.cli.doctor import examine  # noqa: PLC0415
    from trainmaster.bot.core.conversation.message import Mark  # noqa: PLC0415
    from trainmaster.bot.core.conversation.tokens import plain  # noqa: PLC0415

    items = asyncio.run(examine(os.environ, ENV_FILE, time.time))
    signs = {Mark.DONE: "ok  ", Mark.FAILED: "FAIL", Mark.WARNING: "warn"}
    for item in items:
        print(f"{signs.get(item.mark, '?   ')}  {item.text}" + (f": {plain(item.detail)}" if item.detail else ""))
    return 1 if any(item.mark is Mark.FAILED for item in items) else 0


def _manifest(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="trainmaster manifest", description="Print the Slack app manifest.")
    parser.parse_args(argv)
    from trainmaster.bot.slack.manifest import manifest_json  # noqa: PLC0415

    print(manifest_json())
    return 0


def _audit(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="trainmaster audit", description="Who asked for, decided and did what.")
    parser.add_argument("--verify", action="store_true", help="check the whole chain; exit code 1 when it is broken")
    parser.add_argument("--last", type=_count, default=20, metavar="N", help="entries to show (default: 20)")
    given = parser.parse_args(argv)
    from trainmaster.bot.settings.model import load_settings  # noqa: PLC0415
    from trainmaster.bot.storage.audit import AuditLog  # noqa: PLC0415

    path = load_settings(os.environ, ENV_FILE, needs_slack=False).state_dir / AUDIT_NAME
    log = AuditLog(path)
    entries = log.entries(given.last)
    if not entries and not given.verify:
        print(f"No entries in {path}: nobody has asked for or decided anything yet.")
    for entry in entries:
        when = datetime.fromtimestamp(entry.ts, UTC).strftime("%Y-%m-%d %H:%M:%S")
        print(f"{entry.seq:>6}  {when} UTC  {entry.actor:<14}{entry.action:<22}{entry.subject}")
    if not given.verify:
        return 0
    report = log.verify()
    for fault in report.faults:
        print(f"BROKEN  {fault}")
    state = "intact" if report.intact else "NOT intact"
    print(f"{report.num_entries} entries in {path}, {state}, head {report.head[:16]}")
    return 0 if report.intact else 1


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count: a whole number, at least 1")
    return int(text)


def _adopt(argv: Sequence[str]) -> int:
    from trainmaster.bot.cli.adopt import main  # noqa: PLC0415

    return main(argv)


VERBS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "run": (_run, "watch RUNS_DIR and answer in Slack"),
    "demo": (_demo, "the whole story without Slack: local workspace, real small training"),
    "drill": (_drill, "rehearse a bad night: NaN, alert, approval, rollback on a small training of its own"),
    "scan": (_scan, "what a console log of any Ultralytics version says"),
    "adopt": (_adopt, "watch a run that something else started"),
    "audit": (_audit, "who asked for, decided and did what; --verify checks the chain"),
    "doctor": (_doctor, "check settings, Slack, folders and host"),
    "manifest": (_manifest, "print the Slack app manifest"),
}


def main(argv: Sequence[str]) -> int:
    """Exit code of the verb: 0 done, 1 failed, 2 not understood."""
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print("usage: trainmaster VERB [options]\n")
        for name, (_, summary) in VERBS.items():
            print(f"  {name:<10}{summary}")
        return 0 if argv else 2
    found = VERBS.get(argv[0])
    if found is None:
        from difflib import get_close_matches  # noqa: PLC0415

        near = get_close_matches(argv[0], list(VERBS), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        print(f"unknown-verb: {argv[0]!r} is none of {', '.join(VERBS)}.{hint}", file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows names all the same
    try:
        code = found[0](argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TrainmasterError as error:
        print(str(error), file=sys.stderr)
        return 2 if error.slug == "settings" else 1
    except (FileExistsError, NotADirectoryError) as error:
        print(f"system: {error.filename} is no directory. Hint: name another, or move it away.", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        print(
            f"system:{where} {error.strerror or error}. Hint: check free space, permissions and mounts.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("apscheduler", "slack_bolt", "slack_sdk", "watchfiles", "aiohttp"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _run_until_signal(serve: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs ``serve``; a signal that ends it cancels it, and its own clean-up runs to the end."""
    from trainmaster.bot.rehearsal.small_training import end_on_signal  # noqa: PLC0415 - only this verb serves

    async def guarded() -> None:
        task = asyncio.create_task(serve())
        end_on_signal(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(guarded())
