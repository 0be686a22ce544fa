"""Every setting, from the environment and ``.env``, checked all at once.

A variable's name is its field's in capitals. What is set in the environment wins over the file, and an empty value
counts as not set.

**To add a setting**, declare it once:

- a limit or a choice of a part (how long, how many, on or off): in the limits class of that part, as
  ``clear_batches: Annotated[int, Setting("batches", ge=1)] = 20`` with its reason as docstring below it. It reaches the
  part by itself, as a field of ``settings.part(CheckLimits)``. A new limits class is added to ``LIMITS``.
- what the wiring hands out (an address, a folder, a token): as a field of a class in this file, with the rule that it
  must keep from ``rules.py``. It is ``settings.runs_dir`` to everybody.

Then ``trainmaster settings > .env.example`` writes the example file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.checks.limits import CheckLimits, HostLimits, OwnJobLimits
from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.owner import OwnerRule
from trainmaster.bot.core.run.storm import StormLimits
from trainmaster.bot.core.setting import Setting
from trainmaster.bot.errors import SettingsError
from trainmaster.bot.operations.limits import GoingOnLimits, OperationLimits
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.target import PageTarget
from trainmaster.bot.settings import declared, rules
from trainmaster.bot.settings.declared import Part
from trainmaster.bot.settings.rules import SettingFault
from trainmaster.bot.watching.limits import ClusterLimits, WatchLimits

SLACK_API: Final = "https://slack.com/api/"


class _Section(BaseSettings):
    """Settings under one heading. Immutable; what stands below a field is its reason."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, why in declared.reasons(cls).items():
            cls.model_fields[name].description = why
            if declared.declaration(cls.model_fields[name]).bounds:
                raise TypeError(f"{cls.__name__}.{name}: what has bounds is declared in a limits class")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all five by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: :func:`load_settings` reads environment and file, tests hand in what they mean."""
        return (init_settings,)


class SlackSettings(_Section):
    """Slack: trainmaster run needs both tokens and ALERT_CHANNEL."""

    slack_bot_token: Annotated[SecretStr | None, BeforeValidator(rules.bot_token), Setting("bot token (xoxb-…)")] = (
        Field(default=None, repr=False)
    )
    """Lets the bot post and read; shown on the app's page under OAuth & Permissions."""
    slack_app_token: Annotated[
        SecretStr | None, BeforeValidator(rules.app_token), Setting("app-level token (xapp-…)")
    ] = Field(default=None, repr=False)
    """Opens the socket; made under Basic Information with connections:write."""
    slack_api_url: Annotated[str, AfterValidator(rules.api_url), Setting("URL")] = SLACK_API
    """Another address is only for a Slack stand-in in tests and rehearsals."""
    alert_channel: Annotated[str | None, AfterValidator(rules.channel), Setting("channel id or #name")] = None
    """Where alerts and reports go; the id survives a renaming."""
    info_channel: Annotated[str | None, AfterValidator(rules.channel), Setting("channel id or #name")] = None
    """Reports and other information go here; the bot must be in it; else ALERT_CHANNEL."""
    oncall_users: Annotated[
        tuple[str, ...], BeforeValidator(rules.user_ids), Setting("member ids, comma-separated")
    ] = ()
    """Who may approve, reject and stop; nobody else can."""
    oncall_usergroup: Annotated[str | None, AfterValidator(rules.usergroup), Setting("user group id")] = None
    """Looked up at each decision and used instead of the list; the list is the fallback."""
    escalate_to: Annotated[
        tuple[tuple[float | None, tuple[str, ...]], ...],
        BeforeValidator(rules.tiers),
        Setting("member or user group ids, groups separated by ;"),
    ] = ()
    """Mentioned one group after the other while nobody acknowledges a critical alert; “30m: U1; 2h: S3” sets when."""
    alerts_handled_by: Annotated[
        Literal["oncall", "members"], BeforeValidator(rules.lower), Setting("oncall or members")
    ] = "oncall"
    """Who may acknowledge, silence and unsilence alerts: people on call, or every full member of ALERT_CHANNEL. Guests
    and people of other workspaces never may."""

    run_owners: Annotated[
        tuple[OwnerRule, ...], BeforeValidator(rules.run_owners), Setting("NAME=member id, comma-separated")
    ] = ()
    """Who is mentioned in the alerts of a run: “night-*=U0ANNA, @ben=U0BEN”, by the run's name (* and ? stand for any
    letters) or by the login of whoever its files belong to. owner= given to the training comes first."""
    pin_cards: Annotated[Literal["auto", "on", "off"], BeforeValidator(rules.lower), Setting("auto, on or off")] = (
        "auto"
    )
    """The card of a run is pinned in its channel while the run goes on; auto: where the app has pins:write."""
    channel_hints: Annotated[Literal["on", "off"], BeforeValidator(rules.lower), Setting("on or off")] = "on"
    """Somebody who types a bare command into ALERT_CHANNEL reads, alone, how it is given; it is not carried out."""


class PlaceSettings(_Section):
    """Settings that say where things are."""

    runs_dir: Annotated[Path, AfterValidator(rules.expanded), Setting("directory")] = Field(
        default=Path("runs"), validate_default=True
    )
    """Every guarded run below it is watched; Ultralytics' own default."""
    state_dir: Annotated[Path, AfterValidator(rules.expanded), Setting("directory")] = Field(
        default=Path("state"), validate_default=True
    )
    """Database, audit log and launch locks; made when missing; keep it on a local disk."""
    copy_to: Annotated[str | None, AfterValidator(rules.copy_place), Setting("folder or URL")] = Field(
        default=None, repr=False
    )
    """Where trainings that the bot starts copy what is clean: a folder on another disk, or any URL that fsspec knows
    (s3://…; pip install what it needs beside the trainer). A run whose disk died is taken back from there by resume and
    rollback."""
    slurm: Annotated[Literal["auto", "off"], Setting("auto or off")] = "auto"
    """Runs that are jobs of a Slurm cluster are asked for where squeue is installed here; off asks none."""
    owner_check: Annotated[
        Literal["user", "group", "off"], BeforeValidator(rules.lower), Setting("user, group or off")
    ] = "user"
    """The bot acts only on runs that its own user owns and no stranger may write to. group: its groups may (a project
    group on a cluster). off: for file systems without owners."""


class ServiceSettings(_Section):
    """Settings of the bot itself."""

    watchdog_url: Annotated[str | None, AfterValidator(rules.http_url), Setting("URL")] = Field(
        default=None, repr=False
    )
    """Pinged while all is well, so that somebody else notices when the bot is not."""
    page_urls: Annotated[
        tuple[PageTarget, ...], BeforeValidator(rules.page_targets), Setting("Apprise URLs, blanks between them")
    ] = Field(default=(), repr=False)
    """Who is called beyond Slack (pip install 'trainmaster[page]'): PagerDuty, ntfy, e-mail, Telegram and others. In
    front of a person's own: their member id, and quiet hours if any, as in U0ANNA/22:00-07:00=ntfys://ntfy.sh/TOPIC.
    People are called one after the other, services at once."""
    metrics_address: Annotated[
        tuple[str, int] | None, BeforeValidator(rules.listen_address), Setting("port, HOST:PORT, or off")
    ] = None
    """Prometheus reads numbers of runs and alerts there, at /metrics. A port alone serves this machine only; whoever
    reaches another address reads names of runs without a password."""
    digest_at: Annotated[
        tuple[int, int] | None, BeforeValidator(rules.time_of_day), Setting("HH:MM on this host's clock, or off")
    ] = (9, 0)
    """One message a day about every run that was at work."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(rules.upper),
        Setting("DEBUG, INFO, WARNING or ERROR"),
    ] = "INFO"
    """DEBUG also shows what Slack sends."""


LIMITS: Final[tuple[type, ...]] = (
    OperationLimits,
    StormLimits,
    GoingOnLimits,
    WatchLimits,
    CheckLimits,
    ReportLimits,
    HostLimits,
    ClusterLimits,
    OwnJobLimits,
    AlertLimits,
    PagingLimits,
    StorageLimits,
)
"""The classes in which the parts of the bot declare their settings, in the order of ``.env.example``."""

if TYPE_CHECKING:

    class _Collected(ServiceSettings, PlaceSettings, SlackSettings): ...
else:
    # pydantic orders inherited fields from the last base to the first.
    _Collected = create_model(
        "_Collected", __base__=(ServiceSettings, PlaceSettings, SlackSettings), **declared.model_fields(LIMITS)
    )


class Settings(_Collected):
    """What the operator decides. Immutable; tokens show in no ``repr`` and no log.

    It has a field for every setting. Type checkers know those of this file; the limits are read through :meth:`part`.
    """

    def part(self, kind: type[Part]) -> Part:
        """The limits that one part of the bot declares, as they are set."""
        return declared.filled(kind, partial(getattr, self))


SECTIONS: Final[tuple[type, ...]] = (SlackSettings, PlaceSettings, ServiceSettings, *LIMITS)
"""Who declares the settings, in the order of ``.env.example``."""


_REQUIRED_FOR_SLACK: Final = ("slack_bot_token", "slack_app_token", "alert_channel")
_TYPO_SIMILARITY: Final = 0.85
"""Of ``difflib``: one or two letters off, but not another program's variable."""


def load_settings(environ: Mapping[str, str], env_file: Path | None = None, *, needs_slack: bool = True) -> Settings:
    """The settings in ``environ`` and, below it, in ``env_file``. A missing file is no fault.

    ``needs_slack`` is false for what runs without Slack (a scan, the local workspace).

    Raises:
        SettingsError: its message lists every fault: name, value (tokens hidden), what is expected, what to do.
    """
    settings, faults = examine_settings(environ, env_file, needs_slack=needs_slack)
    if faults or settings is None:
        count = f"{len(faults)} settings are" if len(faults) != 1 else "1 setting is"
        lines = "".join(f"\n  - {fault}" for fault in faults)
        hint = "set them in the environment or in .env; trainmaster settings explains each, trainmaster doctor checks."
        raise SettingsError("settings", f"{count} not usable:{lines}\n", hint)
    return settings


def examine_settings(
    environ: Mapping[str, str], env_file: Path | None = None, *, needs_slack: bool = True
) -> tuple[Settings | None, tuple[SettingFault, ...]]:
    """As :func:`load_settings`, with the faults as data; no settings when a value cannot be read at all."""
    faults: list[SettingFault] = []
    in_file = dict(rules.read_env_file(env_file, faults))
    texts = {name: environ.get(name.upper()) or in_file.get(name.upper()) or "" for name in Settings.model_fields}
    given = {name: text.strip() for name, text in texts.items() if text.strip()}
    faults += [_no_text(name, text) for name, text in given.items() if _is_broken(name, text)]
    readable = {name: text for name, text in given.items() if not _is_broken(name, text)}
    settings: Settings | None = None
    try:
        settings = Settings(**readable)  # type: ignore[arg-type]  # text, which the model parses
    except ValidationError as error:
        faults += [_fault(details, readable) for details in error.errors(include_url=False)]
    if needs_slack:
        faults += [_missing(name) for name in _REQUIRED_FOR_SLACK if name not in given]
    if (runs_dir := _directory(given, "runs_dir")) is not None:
        faults += rules.runs_dir_faults(runs_dir, must_exist=needs_slack)
    if (state_dir := _directory(given, "state_dir")) is not None:
        faults += rules.state_dir_faults(state_dir)
    return settings, tuple(faults)


def suspicious_names(environ: Mapping[str, str], env_file: Path | None = None) -> tuple[str, ...]:
    """Warnings about names that look like a misspelt setting; in the file, about every name that is none."""
    known = [name.upper() for name in Settings.model_fields]
    found: list[str] = []
    for name in dict(rules.read_env_file(env_file, [])):
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        if name not in known:
            found.append(f"{name} in {env_file} is no setting" + (f"; did you mean {near[0]}?" if near else "."))
    for name in environ:
        near = get_close_matches(name, known, n=1, cutoff=_TYPO_SIMILARITY)
        if name not in known and near and near[0] not in environ:
            found.append(f"{name} in the environment is no setting; did you mean {near[0]}?")
    return tuple(found)


def repeated_names(env_file: Path | None) -> tuple[str, ...]:
    """Warnings about names that stand more than once in the file, as after ``trainmaster settings >> .env``."""
    found = Counter(name for name, _ in rules.read_env_file(env_file, []))
    text = f"stands in {env_file} more than once, and the last one counts; leave one"
    return tuple(f"{name} {text}." for name, times in found.items() if times > 1)


def _is_broken(field: str, text: str) -> bool:
    """Whether bytes that are no UTF-8 stand in it, which only the name of a place may have."""
    of_a_place = field == "copy_to" or isinstance(Settings.model_fields[field].default, Path)
    return not of_a_place and any("\ud800" <= sign <= "\udfff" for sign in text)


def _no_text(field: str, text: str) -> SettingFault:
    why = "Some of its bytes are no UTF-8."
    return SettingFault(name=field.upper(), value=_shown(field, text), expected=unit_of(field), hint=why)


def _fault(details: ErrorDetails, given: Mapping[str, str]) -> SettingFault:
    field = str(details["loc"][0])
    context = details.get("ctx", {})
    expected = context["expected"] if details["type"] == "setting" else _range_of(field)
    hint = str(context.get("hint", ""))
    return SettingFault(name=field.upper(), value=_shown(field, given[field]), expected=str(expected), hint=hint)


def _shown(field: str, text: str) -> str:
    hidden = "token" in field or field in {"page_urls", "copy_to"}
    return rules.mask(text) if hidden else f"{text[:120]!r}"


def _missing(field: str) -> SettingFault:
    why = Settings.model_fields[field].description or ""
    return SettingFault(name=field.upper(), value="not set", expected=unit_of(field), hint=why)


def unit_of(field: str) -> str:
    """The unit, or the kind of value, of a setting."""
    return declared.declaration(Settings.model_fields[field]).unit


def _range_of(field: str) -> str:
    info = Settings.model_fields[field]
    bounds = declared.declaration(info).bounds
    if info.annotation not in {int, float}:
        return unit_of(field)
    words = [
        f"{word} {bounds[name]:g}"
        for name, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        if name in bounds
    ]
    kind = "a whole number" if info.annotation is int else "a number"
    return f"{kind} ({unit_of(field)}), {' and '.join(words)}"


def _directory(given: Mapping[str, str], field: str) -> Path | None:
    """None where ``~`` stands for nothing, which is a fault of its own."""
    default: Path = Settings.model_fields[field].default
    try:
        return Path(given[field]).expanduser() if field in given else default
    except RuntimeError:
        return None
