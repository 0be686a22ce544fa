"""Every setting, from the environment and ``.env``, checked all at once.

A variable's name is its field's in capitals. ``.env.example`` lists them with unit, default and reason; a test keeps the
two alike. What is set in the environment wins over the file, and an empty value counts as not set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bot import setting_rules as rules

SLACK_API: Final = "https://slack.com/api/"


def _limit(
    default: float, unit: str, why: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    return Field(default=default, ge=ge, gt=gt, le=le, description=why, json_schema_extra={"unit": unit})


def _text(default: Any, unit: str, why: str, *, secret: bool = False) -> Any:
    return Field(default=default, description=why, json_schema_extra={"unit": unit}, repr=not secret)


class Settings(BaseSettings):
    """What the operator decides. Immutable; tokens show in no ``repr`` and no log."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=False)

    # Slack
    slack_bot_token: Annotated[SecretStr | None, BeforeValidator(rules.bot_token)] = _text(
        None, "xoxb-…", "lets the bot post and read; on the app's page, OAuth & Permissions", secret=True
    )
    slack_app_token: Annotated[SecretStr | None, BeforeValidator(rules.app_token)] = _text(
        None, "xapp-…", "opens the socket; Basic Information, App-Level Tokens, scope connections:write", secret=True
    )
    slack_api_url: Annotated[str, AfterValidator(rules.api_url)] = _text(
        SLACK_API, "URL", "another address is only for a Slack stand-in in tests and rehearsals"
    )
    alert_channel: Annotated[str | None, AfterValidator(rules.channel)] = _text(
        None, "channel id or #name", "where alerts and reports go; the id survives a renaming"
    )
    oncall_users: Annotated[tuple[str, ...], BeforeValidator(rules.user_ids)] = _text(
        (), "member ids, comma-separated", "who may approve, reject and stop; nobody else can"
    )
    oncall_usergroup: Annotated[str | None, AfterValidator(rules.usergroup)] = _text(
        None, "user group id", "looked up at each decision and used instead of the list; the list is the fallback"
    )
    escalate_to: Annotated[tuple[str, ...], BeforeValidator(rules.user_or_group_ids)] = _text(
        (), "member or user group ids", "mentioned when nobody acknowledges a critical alert in time"
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

    # Where things are
    runs_dir: Annotated[Path, AfterValidator(rules.expanded)] = _text(
        Path("runs"), "directory", "every guarded run below it is watched; Ultralytics' own default"
    )
    state_dir: Annotated[Path, AfterValidator(rules.expanded)] = _text(
        Path("state"), "directory", "database, audit log and launch locks; made when missing; keep it on a local disk"
    )

    # Watching
    check_interval_s: float = _limit(
        30.0, "s", "periodic look at every run, beside the file watcher that makes it immediate", ge=0.2, le=3600
    )
    startup_timeout_s: float = _limit(
        1800.0, "s", "no first batch by then: scanning labels and caching a large set takes many minutes", gt=0
    )
    stall_factor: float = _limit(
        5.0, "times the epoch's mean batch time", "a batch later than this is a stall; below 3 a slow disk looks dead", gt=1
    )
    stall_min_s: float = _limit(
        120.0, "s", "never called a stall before: file systems pause, and a false alarm at night costs trust", gt=0
    )
    validation_timeout_s: float = _limit(3600.0, "s", "validation or saving without an end", gt=0)
    clear_batches: int = _limit(
        20, "batches", "healthy ones until a non-finite alert resolves, so that a second one still belongs to it", ge=1
    )
    clip_share_pct: float = _limit(
        20.0, "% of an epoch's steps", "clipping that often is the learning rate's doing", gt=0, le=100
    )
    clip_min_batches: int = _limit(200, "batches", "the start of training clips a lot and means nothing", ge=1)
    few_clips_pct: float = _limit(
        1.0, "% of an epoch's steps", "success criterion of an epoch: clipping now and then is its purpose", ge=0, le=100
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

    # Alerts
    alert_repeat_s: float = _limit(
        14_400.0, "s", "a firing alert that nobody acknowledged is told again; Alertmanager's default of 4 hours", ge=60
    )
    escalate_after_s: float = _limit(
        900.0, "s", "a critical alert unacknowledged this long mentions ESCALATE_TO", ge=30, le=86_400
    )

    # Stopping
    stop_grace_s: float = _limit(
        300.0, "s", "after SIGTERM, for the batch and the state to be finished, at least; then the process is killed", ge=1
    )

    # The bot itself
    watchdog_url: Annotated[str | None, AfterValidator(rules.http_url)] = _text(
        None, "URL", "pinged while all is well, so that somebody else notices when the bot is not", secret=True
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(rules.upper)] = _text(
        "INFO", "DEBUG, INFO, WARNING or ERROR", "DEBUG also shows what Slack sends"
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: :func:`load_settings` reads environment and file, tests hand in what they mean."""
        return (init_settings,)
