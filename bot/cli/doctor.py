"""``trainmaster doctor``: is everything there that the supervisor needs? Looks, changes nothing, loads no torch."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainmaster.bot.checks.host import check_host
from trainmaster.bot.checks.limits import HostLimits
from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.conversation.tokens import plain
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.health.address import is_loopback
from trainmaster.bot.core.health.host import gpu_text
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.engines import examine_engines
from trainmaster.bot.drivers.host import HostProbe
from trainmaster.bot.drivers.slurm.client import SlurmClient
from trainmaster.bot.drivers.slurm.examine import SRUN_TIMEOUT_S, examine_cluster
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.errors import ChatError
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.paging.apprise_sender import INSTALL, is_installed, reach
from trainmaster.bot.paging.faults import PageError
from trainmaster.bot.paging.target import PageTarget
from trainmaster.bot.reading.ownership import Ownership, who_is_trusted
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.service.metrics import shown
from trainmaster.bot.settings.model import Settings, examine_settings, repeated_names, suspicious_names
from trainmaster.bot.slack.connection import SlackConnection
from trainmaster.bot.slack.scopes import missing_scopes
from trainmaster.bot.wiring.people import slack_access
from trainmaster.terminal import columns, folded, then, working
from trainmaster.trainer.contract import Phase, is_run_dir
from trainmaster.visible import visible

MAX_CLOCK_SKEW_S: Final = 30.0
"""Times in alerts and approvals come from this host's clock, times of messages from Slack's."""
_GIB: Final = 2**30
_MIN_PYTHON: Final = (3, 11)
_NO_GPU: Final = "none visible: neither NVIDIA's (which takes its driver and trainmaster[gpu]) nor AMD's"
_PACKAGES: Final = ("slack-bolt", "slack-sdk", "aiohttp", "apscheduler", "psutil")

_SIGNS: Final = {Mark.DONE: "ok  ", Mark.FAILED: "FAIL", Mark.WARNING: "warn"}


def main(argv: Sequence[str]) -> int:
    """Every check was printed; 1 when something must be mended before the bot can run, else 0."""
    parser = VerbParser(prog="trainmaster doctor", description="Check settings, Slack, folders and host.")
    parser.parse_args(argv)
    with working("checking settings, folders, host and Slack"):
        items = asyncio.run(examine(os.environ, Path(".env"), time.time, trainers=TrainerCli()))
    for item in items:
        detail = f": {plain(item.detail)}" if item.detail else ""
        line = visible(f"{_SIGNS.get(item.mark, '?   ')}  {item.text}{detail}")
        print(folded(line, columns(), indent=6 * " "))
    failed = any(item.mark is Mark.FAILED for item in items)
    then("mend what says FAIL, then trainmaster doctor" if failed else "trainmaster test-alert, then trainmaster run")
    return 1 if failed else 0


async def examine(
    environ: Mapping[str, str],
    env_file: Path | None,
    now: Callable[[], float],
    *,
    trainers: TrainerCli | None = None,
) -> tuple[Item, ...]:
    """One line a check. ``FAILED`` must be mended before the bot can run, ``WARNING`` ought to be. ``trainers`` asks
    the Pythons that train for their Ultralytics, which takes seconds; without, they are not asked."""
    items = [_python()]
    settings, faults = examine_settings(environ, env_file)
    items += [Item(mark=Mark.FAILED, text=fault.name, detail=_without_name(str(fault), fault.name)) for fault in faults]
    items += [Item(mark=Mark.WARNING, text="Unknown name", detail=text) for text in suspicious_names(environ, env_file)]
    items += [Item(mark=Mark.WARNING, text="Repeated name", detail=text) for text in repeated_names(env_file)]
    if settings is None:
        return (*items, Item(mark=Mark.UNKNOWN, text="Slack", detail="not asked: the settings come first"))
    if not faults:
        items.append(Item(mark=Mark.DONE, text="Settings", detail=f"{len(Settings.model_fields)} read, none at fault"))
    items += _directories(settings)
    items += _reach(settings, env_file)
    items += _metrics(settings.metrics_address)
    items += await _pages(settings.page_urls)
    items += await _host(settings, now())
    views = _views(settings)
    items += await _cluster(settings, views)
    if trainers is not None and settings.runs_dir.is_dir():
        items += await examine_engines(trainers, settings.runs_dir, views)
    if settings.slack_bot_token is None or settings.slack_app_token is None or settings.alert_channel is None:
        return (*items, Item(mark=Mark.UNKNOWN, text="Slack", detail="not asked: a token or the channel is not set"))
    return (*items, *await _slack(settings, now))


def _python() -> Item:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    fine = sys.version_info >= _MIN_PYTHON
    return Item(mark=Mark.DONE if fine else Mark.FAILED, text=f"Python {platform.python_version()}", detail=versions)


def _directories(settings: Settings) -> list[Item]:
    items: list[Item] = []
    if settings.runs_dir.is_dir():
        items.append(_runs(settings.runs_dir))
        items.append(_space("Disk of RUNS_DIR", settings.runs_dir, settings.part(HostLimits).disk_free_min_gib))
    items.append(_state(settings.state_dir))
    return items


def _reach(settings: Settings, env_file: Path | None) -> list[Item]:
    """Who else may read the secrets or write where the bot believes what stands; and on which runs it acts."""
    items = [Item(mark=Mark.DONE, text="Owners", detail=who_is_trusted(OwnerCheck(settings.owner_check)))]
    shared = settings.owner_check == "group"
    places = [
        ("STATE_DIR", settings.state_dir, 0o077, "chmod 700; the bot does so at its start where it may"),
        ("RUNS_DIR", settings.runs_dir, 0o002 if shared else 0o022, "chmod go-w, or OWNER_CHECK=group"),
    ]
    if env_file is not None:
        places.insert(0, (".env", env_file, 0o077, "holds tokens: chmod 600"))
    for name, path, mask, hint in places:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_mode & mask and not (name == "RUNS_DIR" and status.st_mode & 0o1000):
            what = "write to" if name == "RUNS_DIR" else "read or write"
            detail = f"others may {what} {path} (mode {status.st_mode & 0o7777:o}): {hint}"
            items.append(Item(mark=Mark.WARNING, text=f"{name} is open", detail=detail))
        if detail := _of_somebody_else(path, status):
            items.append(Item(mark=Mark.WARNING, text=f"{name} is somebody else's", detail=detail))
        items += _replaceable(name, path.absolute().parent)
    return items


def _replaceable(name: str, above: Path) -> list[Item]:
    """Whoever may write to the folder above may put something else in its place, whatever its own mode is."""
    try:
        status = above.stat()
    except OSError:
        return []
    if status.st_mode & 0o002 and not status.st_mode & 0o1000:
        detail = f"others may write to {above} (mode {status.st_mode & 0o7777:o}): chmod o-w"
    else:
        detail = _of_somebody_else(above, status)
    return [Item(mark=Mark.WARNING, text=f"{name} can be replaced", detail=detail)] if detail else []


def _of_somebody_else(path: Path, status: os.stat_result) -> str:
    """Who owns it, where that is neither this user nor root; else empty."""
    if status.st_uid in {os.geteuid(), 0}:
        return ""
    return f"{path} is owned by uid {status.st_uid}, who may change it at any time"


def _metrics(address: tuple[str, int] | None) -> list[Item]:
    """Whether the numbers can be served there, and to whom. A bot that runs has the port: that is no failure."""
    if address is None:
        return []
    where = shown(address)
    if find_spec("prometheus_client") is None:
        return [Item(mark=Mark.FAILED, text="METRICS_ADDRESS", detail="prometheus-client is not installed")]
    try:
        with contextlib.ExitStack() as stack:
            for family, kind, _, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
                probe = stack.enter_context(socket.socket(family, kind))
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            detail = f"{where} is in use: by the bot if it runs, else set another port"
            return [Item(mark=Mark.WARNING, text="METRICS_ADDRESS", detail=detail)]
        return [Item(mark=Mark.FAILED, text="METRICS_ADDRESS", detail=f"{where}: {error.strerror or error}")]
    if not is_loopback(address[0]):
        detail = f"{where} is open to others: whoever reaches it reads names of runs without a password"
        return [Item(mark=Mark.WARNING, text="METRICS_ADDRESS", detail=detail)]
    return [Item(mark=Mark.DONE, text="METRICS_ADDRESS", detail=f"http://{where}/metrics, for this machine only")]


async def _pages(targets: Sequence[PageTarget]) -> list[Item]:
    """Whether each can be used and its host answers. Nothing is sent: ``trainmaster test-alert --page`` does."""
    if not targets:
        return []
    if not is_installed():
        return [Item(mark=Mark.FAILED, text="PAGE_URLS", detail=f"Apprise is not installed: {INSTALL}")]
    return list(await asyncio.gather(*(asyncio.to_thread(_page, number, one) for number, one in enumerate(targets, 1))))


def _page(number: int, target: PageTarget) -> Item:
    text = f"PAGE_URLS {number}: {target.name}"
    try:
        return Item(mark=Mark.DONE, text=text, detail=reach(target))
    except PageError as error:
        return Item(mark=Mark.FAILED, text=text, detail=error.message)


async def _host(settings: Settings, now: float) -> list[Item]:
    """Memory and GPUs as the supervisor will see them; those of another host it never sees."""
    fact = await HostProbe(dict).look(now)
    items = []
    if fact.memory is not None:
        detail = f"{fact.memory.available_gib:.1f} of {fact.memory.total_gib:.1f} GiB available"
        items.append(Item(mark=Mark.DONE, text="Memory", detail=detail))
    items += [Item(mark=Mark.DONE, text=gpu.key, detail=gpu_text(gpu)) for gpu in fact.gpus]
    if not fact.gpus and not fact.unseen:
        items.append(Item(mark=Mark.UNKNOWN, text="GPU", detail=_NO_GPU))
    return [*items, *map(_host_item, check_host(fact, settings.part(HostLimits), fact.ts))]


async def _cluster(settings: Settings, views: Sequence[RunView]) -> tuple[Item, ...]:
    """Of a Slurm cluster, where its commands are installed and the operator wants it."""
    if settings.slurm == "off" or shutil.which("squeue") is None:
        return ()
    client = SlurmClient(timeout_s=SRUN_TIMEOUT_S)
    saves_s = [longest_s for view in views if (longest_s := view.phases.longest_s.get(Phase.SAVING)) is not None]
    return await asyncio.to_thread(examine_cluster, client, settings.runs_dir, max(saves_s, default=None))


def _views(settings: Settings) -> list[RunView]:
    """Of every run below RUNS_DIR, as the bot would see it; none where the folder can't be listed."""
    ownership = Ownership(check=OwnerCheck(settings.owner_check), root=settings.runs_dir)
    try:
        directories = find_runs(settings.runs_dir)
    except OSError:
        return []
    return [RunReader(one, first_seen_ts=0.0, ownership=ownership).read(0.0) for one in directories]


def _host_item(finding: Finding) -> Item:
    return Item(mark=Mark.WARNING, text=finding.title, detail=" ".join(finding.body))


def _runs(directory: Path) -> Item:
    try:
        children = [one for one in directory.iterdir() if one.is_dir()]
        runs = [run for child in children for run in (child, *child.iterdir()) if run.is_dir() and is_run_dir(run)]
    except OSError as error:
        return Item(mark=Mark.WARNING, text="RUNS_DIR", detail=f"{error.filename}: {error.strerror}")
    return Item(mark=Mark.DONE, text="RUNS_DIR", detail=f"{counted(len(runs), 'guarded run')} in {directory}")


def _state(directory: Path) -> Item:
    home = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"\0" * 65_536)
            probe.flush()
    except OSError as error:
        return Item(mark=Mark.FAILED, text="STATE_DIR", detail=f"{home} cannot be written: {error.strerror}")
    made = "can be written" if directory.exists() else f"will be made in {home}"
    return Item(mark=Mark.DONE, text="STATE_DIR", detail=f"{directory} {made}")


def _space(text: str, directory: Path, min_gib: float) -> Item:
    free_gib = shutil.disk_usage(directory).free / _GIB
    mark = Mark.DONE if free_gib >= min_gib else Mark.WARNING
    return Item(mark=mark, text=text, detail=f"{free_gib:.1f} GiB free, wanted {min_gib:g} (DISK_FREE_MIN_GIB)")


async def _slack(settings: Settings, now: Callable[[], float]) -> list[Item]:
    assert settings.alert_channel
    connection = SlackConnection(slack_access(settings))
    try:
        signed_in, item = await _attempt("SLACK_BOT_TOKEN", _sign_in(connection))
        items = [item]
        if signed_in:
            items += [_scopes(connection), _clock(connection, now)]
            items.append((await _attempt("Alert channel", _channel(connection, settings.alert_channel)))[1])
            items.append(await _on_call(connection, settings))
            items.append(_pins(connection, settings))
            items += await _owners(connection, settings)
        items.append((await _attempt("SLACK_APP_TOKEN", _app_token(connection)))[1])
    finally:
        await connection.close()
    return items


async def _attempt(text: str, check: Awaitable[str]) -> tuple[bool, Item]:
    try:
        return True, Item(mark=Mark.DONE, text=text, detail=await check)
    except ChatError as error:
        return False, Item(mark=Mark.FAILED, text=text, detail=f"{error.message} {error.hint}".strip())


async def _sign_in(connection: SlackConnection) -> str:
    identity = await connection.check_token()
    return f"signed in to {identity.team or 'the workspace'} as {identity.user}"


async def _app_token(connection: SlackConnection) -> str:
    await connection.check_app_token()
    return "a socket can be opened"


async def _channel(connection: SlackConnection, configured: str) -> str:
    found = await connection.check_channel(join=False)
    return f"{configured} is {found}" if found != configured else f"{configured} is there"


def _scopes(connection: SlackConnection) -> Item:
    granted = connection.identity.scopes if connection.identity else None
    if granted is None:
        return Item(mark=Mark.UNKNOWN, text="Scopes", detail="the server does not tell them")
    lacking = missing_scopes(granted)
    if lacking:
        detail = f"missing: {', '.join(lacking)}. Update the app from trainmaster manifest and reinstall it."
        return Item(mark=Mark.WARNING, text="Scopes", detail=detail)
    return Item(mark=Mark.DONE, text="Scopes", detail="all granted")


def _pins(connection: SlackConnection, settings: Settings) -> Item:
    """Whether cards of runs are pinned."""
    may = connection.may_pin()
    if settings.pin_cards == "off" or may:
        detail = f"PIN_CARDS={settings.pin_cards}: " + ("pinned while their runs go on" if may else "not pinned")
        return Item(mark=Mark.DONE, text="Cards", detail=detail)
    if may is None:
        return Item(mark=Mark.UNKNOWN, text="Cards", detail="no scopes are told: PIN_CARDS=on pins, auto does not")
    lacks = "not pinned, the app lacks pins:write: reinstall it with trainmaster manifest, or set PIN_CARDS=off"
    return Item(mark=Mark.WARNING, text="Cards", detail=lacks)


async def _owners(connection: SlackConnection, settings: Settings) -> list[Item]:
    """Whether everybody in RUN_OWNERS can be called."""
    users = dict.fromkeys(rule.user for rule in settings.run_owners)
    unfit = [
        f"{user} ({what})" for user in users if (what := await connection.people.standing(user)) is not Standing.MEMBER
    ]
    if unfit:
        return [Item(mark=Mark.WARNING, text="RUN_OWNERS", detail=f"no full members: {', '.join(unfit)}")]
    return [Item(mark=Mark.DONE, text="RUN_OWNERS", detail=f"{len(users)} known to Slack")] if users else []


def _clock(connection: SlackConnection, now: Callable[[], float]) -> Item:
    server_ts = connection.identity.server_ts if connection.identity else None
    if server_ts is None:
        return Item(mark=Mark.UNKNOWN, text="Clock", detail="the server does not tell its own")
    skew_s = now() - server_ts
    mark = Mark.DONE if abs(skew_s) <= MAX_CLOCK_SKEW_S else Mark.WARNING
    direction = "ahead of" if skew_s > 0 else "behind"
    return Item(
        mark=mark, text="Clock", detail=f"{abs(skew_s):.0f} s {direction} Slack's, at most {MAX_CLOCK_SKEW_S:.0f}"
    )


async def _on_call(connection: SlackConnection, settings: Settings) -> Item:
    people = await connection.chat.on_call()
    limits = settings.part(OperationLimits)
    needed = limits.approvals_required
    if len(people) < needed:
        detail = f"{len(people)} people, APPROVALS_REQUIRED is {needed}: nobody could approve. Set ONCALL_USERS."
        return Item(mark=Mark.WARNING, text="On call", detail=detail)
    if len(people) == needed and not limits.allow_self_approval:
        detail = f"{len(people)}: whoever of them asks for a rollback cannot approve it (ALLOW_SELF_APPROVAL is false)."
        return Item(mark=Mark.WARNING, text="On call", detail=detail)
    return Item(mark=Mark.DONE, text="On call", detail=", ".join(sorted(people)))


def _without_name(fault: str, name: str) -> str:
    return fault.removeprefix(f"{name} ")
