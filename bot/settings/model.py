"""Every setting, from the environment and ``.env``, checked all at once.

A variable's name is its field's in capitals. ``.env.example`` lists them with unit, default and reason; a test keeps
the two alike. What is set in the environment wins over the file, and an empty value counts as not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trainmaster.bot.errors import SettingsError
from trainmaster.bot.settings import rules
from trainmaster.bot.settings.rules import Fault

SLACK_API: Final = "https://slack.com/api/"


def _limit(
    default: float, unit: str, why: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    finite = False if isinstance(default, float) else None
    extra: JsonDict = {"unit": unit}
    return Field(default=default, ge=ge, gt=gt, le=le, allow_inf_nan=finite, description=why, json_schema_extra=extra)


def _text(default: Any, unit: str, why: str, *, secret: bool = False) -> Any:
    return Field(default=default, description=why, json_schema_extra={"unit": unit}, repr=not secret)


def _folder(default: str, why: str) -> Any:
    return Field(default=Path(default), description=why, json_schema_extra={"unit": "directory"}, validate_default=True)


class Settings(BaseSettings):
    """What the operator decides. Immutable; tokens show in no ``repr`` and no log."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=False)

    # Slack
    slack_bot_token: Annotated[SecretStr | None, BeforeValidator(rules.bot_token)] = _text(
        None,
        "bot token (xoxb-…)",
        "lets the bot post and read; shown on the app's page under OAuth & Permissions",
        secret=True,
    )
    slack_app_token: Annotated[SecretStr | None, BeforeValidator(rules.app_token)] = _text(
        None,
        "app-level token (xapp-…)",
        "opens the socket; made under Basic Information with connections:write",
        secret=True,
    )
    slack_api_url: Annotated[str, AfterValidator(rules.api_url)] = _text(
        SLACK_API, "URL", "another address is only for a Slack stand-in in tests and rehearsals"
    )
    alert_channel: Annotated[str | None, AfterValidator(rules.channel)] = _text(
        None, "channel id or #name", "where alerts and reports go; the id survives a renaming"
    )
    info_channel: Annotated[str | None, AfterValidator(rules.channel)] = _text(
        None, "channel id or #name", "reports and other information go here; the bot must be in it; else ALERT_CHANNEL"
    )
    oncall_users: Annotated[tuple[str, ...], BeforeValidator(rules.user_ids)] = _text(
        (), "member ids, comma-separated", "who may approve, reject and stop; nobody else can"
    )
    oncall_usergroup: Annotated[str | None, AfterValidator(rules.usergroup)] = _text(
        None, "user group id", "looked up at each decision and used instead of the list; the list is the fallback"
    )
    escalate_to: Annotated[tuple[tuple[float | None, tuple[str, ...]], ...], BeforeValidator(rules.tiers)] = _text(
        (),
        "member or user group ids, groups separated by ;",
        "mentioned one group after the other while nobody acknowledges a critical alert; “30m: U1; 2h: S3” sets when",
    )

    # Decisions
    approvals_required: int = _limit(
        1, "people", "one is enough at 3 a.m.; raise it when a rollback costs days", ge=1, le=10
    )
    allow_self_approval: bool = _text(
        False, "true or false", "a second pair of eyes; set it when one person is on call alone"
    )
    approval_ttl_s: float = _limit(
        3600.0, "s", "a plan is about the run as it was; after an hour it is better made anew", ge=30, le=604_800
    )
    approval_reminder_s: float = _limit(
        900.0, "s", "on-call is reminded of an unanswered plan this often", ge=30, le=86_400
    )

    propose_on_storm: bool = _text(
        True, "true or false", "a run past saving: the plan and its card are posted at once, without anybody asking"
    )
    storm_approval_ttl_s: float = _limit(
        43_200.0, "s", "what the bot asked by itself waits through the night: nobody would ask again", ge=30, le=604_800
    )
    storm_bad_batches: int = _limit(
        10,
        "batches",
        "bad ones, in a row or in the window, that make a storm; the guard gives up by it too",
        ge=1,
        le=19,
    )
    storm_window_batches: int = _limit(
        2000, "batches", "10 in 2,000 is 0.5 %; a run with 1 % of bad batches was past saving", ge=1
    )

    # Where things are
    runs_dir: Annotated[Path, AfterValidator(rules.expanded)] = _folder(
        "runs", "every guarded run below it is watched; Ultralytics' own default"
    )
    state_dir: Annotated[Path, AfterValidator(rules.expanded)] = _folder(
        "state", "database, audit log and launch locks; made when missing; keep it on a local disk"
    )

    # Watching
    check_interval_s: float = _limit(
        30.0, "s", "periodic look at every run, beside the file watcher that makes it immediate", ge=0.2, le=3600
    )
    bot_faults_in_a_row: int = _limit(
        3, "times", "a periodic job of the bot that fails or is missed this often in a row is an alert of its own", ge=1
    )
    startup_timeout_s: float = _limit(
        1800.0, "s", "no first batch by then: scanning labels and caching a large set takes many minutes", gt=0
    )
    stall_factor: float = _limit(
        5.0,
        "times the longest seen",
        "a batch, validation or save later than this has hung; below 3 a slow disk looks dead",
        gt=1,
    )
    stall_min_s: float = _limit(
        120.0, "s", "no batch is called hung before: file systems pause, and a false alarm at night costs trust", gt=0
    )
    stall_max_s: float = _limit(
        3600.0, "s", "every batch is called hung after this, so that one long pause does not hide the next", gt=0
    )
    validation_timeout_s: float = _limit(
        3600.0, "s", "validation or saving without an end, until the run has shown how long it takes", gt=0
    )
    phase_min_s: float = _limit(
        600.0, "s", "a learnt time-out of start-up, validation or saving is no shorter: the next has more to do", gt=0
    )
    phase_max_s: float = _limit(21_600.0, "s", "and no longer, so that one long pause does not hide the next", gt=0)
    slow_factor: float = _limit(
        2.0, "times the run's own median", "batches slower than this are told; less comes and goes with the disk", gt=1
    )
    slow_window_s: float = _limit(
        900.0, "s", "a slow-down is told when it held this long: a backup or a scan of the disk passes", ge=60
    )
    late_factor: float = _limit(
        1.5, "times the run's median epoch", "an epoch that takes longer is told while it still runs", gt=1
    )
    late_min_s: float = _limit(
        600.0, "s", "and is at least this late, so that short epochs are not told by the minute", ge=0
    )
    clear_batches: int = _limit(
        20, "batches", "healthy ones until a non-finite alert resolves, so that a second one still belongs to it", ge=1
    )
    clip_rise_pct: float = _limit(
        25.0,
        "percentage points",
        "rise of the clipped share over the run's own earlier epochs; the plain share says nothing",
        gt=0,
        le=100,
    )
    clip_min_batches: int = _limit(200, "batches", "the start of an epoch is no sample", ge=1)
    gradient_growth_factor: float = _limit(
        4.0, "times the run's own median norm", "growth that lasts; healthy norms fall or wander by less than 2", gt=1
    )
    spike_mads: float = _limit(
        10.0, "robust standard deviations", "a stretch of batches with a mean loss so far above those before", gt=1
    )
    spike_rise_pct: float = _limit(
        50.0, "% above the stretches before", "and by this much: late in training the deviation is tiny", gt=0
    )
    loss_patience_epochs: int = _limit(
        5, "epochs", "without a better loss or fitness while the learning rate is still high", ge=2
    )
    loss_lr_share: float = _limit(
        0.2,
        "of the highest learning rate",
        "below it the schedule is nearly over and a plateau is its purpose",
        ge=0,
        le=1,
    )
    checkpoint_grace_s: float = _limit(
        300.0, "s", "from an epoch's end until its checkpoint is missed: a network disk takes minutes", ge=0
    )
    checkpoint_stale_epochs: float = _limit(
        2.5, "median epochs", "since the newest checkpoint: so much would be lost", gt=1
    )
    few_clips_pct: float = _limit(
        1.0,
        "% of an epoch's steps",
        "success criterion of an epoch: clipping now and then is its purpose",
        ge=0,
        le=100,
    )
    clip_outlier_ratio: float = _limit(
        5.0,
        "times the median norm",
        "success criterion where the run's norms lie above max_norm: the norm that 1 % of the steps exceed",
        gt=1,
    )
    loss_rise_pct: float = _limit(
        2.0, "% against the epoch before", "success criterion: augmentation moves a healthy mean loss this much", ge=0
    )
    loss_jump_factor: float = _limit(
        3.0, "times the epoch's median", "success criterion: a stretch of batches above it is not smooth", gt=1
    )
    disk_free_min_gib: float = _limit(
        10.0, "GiB", "room for the next checkpoints and an archive copy; a full disk ends a run", ge=0
    )
    disk_free_critical_gib: float = _limit(
        2.0, "GiB", "below this the next epoch's end may not be saved: on-call is mentioned", ge=0
    )
    memory_available_min_pct: float = _limit(
        4.0, "% of the memory", "caches count as available; near 0 the kernel kills the largest process", ge=0, le=50
    )
    swap_in_max_mib_s: float = _limit(
        20.0, "MiB/s", "what lies in swap does no harm, what must come back from it all the time does", gt=0
    )
    gpu_hot_c: float = _limit(90.0, "°C", "for a card that does not tell where it slows itself down", gt=0, le=150)
    gpu_hot_margin_c: float = _limit(3.0, "°C", "below where a card slows itself down, by its own word", ge=0, le=50)
    gpu_memory_free_min_gib: float = _limit(
        0.2, "GiB", "PyTorch keeps what it had, so a full card is normal; with less a larger batch no longer fits", ge=0
    )

    # Alerts
    hold_warning_s: float = _limit(
        30.0, "s", "a warning that has held this long is told: two looks, so that one slow batch tells nobody", ge=0
    )
    resolve_hold_s: float = _limit(
        60.0, "s", "a condition gone this long is resolved; what comes back earlier never went away", ge=0
    )
    repeat_critical_s: float = _limit(
        14_400.0, "s", "a critical alert that nobody acknowledged is told again; Alertmanager's 4 hours", ge=60
    )
    repeat_warning_s: float = _limit(86_400.0, "s", "the same for warnings, once a day", ge=60)
    escalate_after_s: float = _limit(
        900.0,
        "s",
        "unacknowledged this long, a critical alert mentions the next group of ESCALATE_TO",
        ge=30,
        le=86_400,
    )
    silence_s: float = _limit(7200.0, "s", "what the Silence button of an alert asks for", ge=60, le=604_800)

    digest_at: Annotated[tuple[int, int] | None, BeforeValidator(rules.time_of_day)] = _text(
        (9, 0), "HH:MM on this host's clock, or off", "one message a day about every run that was at work"
    )
    away_told_s: float = _limit(
        300.0, "s", "a bot that was away for less (an upgrade, a restart) says nothing of it", ge=0
    )

    # Stopping
    stop_grace_s: float = _limit(
        60.0, "s", "from SIGTERM until the process is killed, at least: a batch ends, a full state is saved", ge=1
    )
    stop_grace_max_s: float = _limit(600.0, "s", "and at most, however slow the measured batches are", ge=1)

    # The bot itself
    watchdog_url: Annotated[str | None, AfterValidator(rules.http_url)] = _text(
        None, "URL", "pinged while all is well, so that somebody else notices when the bot is not", secret=True
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(rules.upper)] = _text(
        "INFO", "DEBUG, INFO, WARNING or ERROR", "DEBUG also shows what Slack sends"
    )

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
        hint = "set them in the environment or in .env; .env.example explains each. trainmaster doctor checks again."
        raise SettingsError("settings", f"{count} not usable:{lines}\n", hint)
    return settings


def examine_settings(
    environ: Mapping[str, str], env_file: Path | None = None, *, needs_slack: bool = True
) -> tuple[Settings | None, tuple[Fault, ...]]:
    """As :func:`load_settings`, with the faults as data; no settings when a value cannot be read at all."""
    faults: list[Fault] = []
    in_file = rules.read_env_file(env_file, faults)
    texts = {name: environ.get(name.upper()) or in_file.get(name.upper()) or "" for name in Settings.model_fields}
    given = {name: text.strip() for name, text in texts.items() if text.strip()}
    settings: Settings | None = None
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # text, which the model parses
    except ValidationError as error:
        faults += [_fault(details, given) for details in error.errors(include_url=False)]
    if needs_slack:
        faults += [_missing(name) for name in _REQUIRED_FOR_SLACK if name not in given]
    faults += rules.runs_dir_faults(_directory(given, "runs_dir"), must_exist=needs_slack)
    faults += rules.state_dir_faults(_directory(given, "state_dir"))
    return settings, tuple(faults)


def suspicious_names(environ: Mapping[str, str], env_file: Path | None = None) -> tuple[str, ...]:
    """Warnings about names that look like a misspelt setting; in the file, about every name that is none."""
    known = [name.upper() for name in Settings.model_fields]
    found: list[str] = []
    for name in rules.read_env_file(env_file, []):
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        if name not in known:
            found.append(f"{name} in {env_file} is no setting" + (f"; did you mean {near[0]}?" if near else "."))
    for name in environ:
        near = get_close_matches(name, known, n=1, cutoff=_TYPO_SIMILARITY)
        if name not in known and near and near[0] not in environ:
            found.append(f"{name} in the environment is no setting; did you mean {near[0]}?")
    return tuple(found)


def _fault(details: ErrorDetails, given: Mapping[str, str]) -> Fault:
    field = str(details["loc"][0])
    context = details.get("ctx", {})
    shown = rules.mask(given[field]) if "token" in field else f"{given[field][:120]!r}"
    expected = context["expected"] if details["type"] == "setting" else _range_of(field)
    return Fault(name=field.upper(), value=shown, expected=str(expected), hint=str(context.get("hint", "")))


def _missing(field: str) -> Fault:
    why = Settings.model_fields[field].description or ""
    return Fault(name=field.upper(), value="not set", expected=unit_of(field), hint=f"{why[:1].upper()}{why[1:]}.")


def unit_of(field: str) -> str:
    """The unit, or the kind of value, of a setting."""
    extra = Settings.model_fields[field].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def _range_of(field: str) -> str:
    info = Settings.model_fields[field]
    if info.annotation not in {int, float}:
        return unit_of(field)
    bounds = {name: getattr(rule, name) for rule in info.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)}
    words = [
        f"{word} {bounds[name]:g}"
        for name, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        if name in bounds
    ]
    kind = "a whole number" if info.annotation is int else "a number"
    return f"{kind} ({unit_of(field)}), {' and '.join(words)}"


def _directory(given: Mapping[str, str], field: str) -> Path:
    default: Path = Settings.model_fields[field].default
    return Path(given[field]).expanduser() if field in given else default
