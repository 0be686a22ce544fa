"""What a setting may be, and how it is said when it is not."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from trainmaster.bot.core.health.address import is_loopback
from trainmaster.bot.core.run.owner import OwnerRule
from trainmaster.bot.paging.target import read_targets
from trainmaster.visible import visible_line

_USER_ID: Final = re.compile(r"[UW][A-Za-z0-9_]{1,30}")
_GROUP_ID: Final = re.compile(r"S[A-Z0-9_]{1,30}")
_CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9_]{1,30}")
_CHANNEL_NAME: Final = re.compile(r"#?[^\s,#@<>A-Z][^\s,#@<>A-Z]{0,79}")
_TIME_OF_DAY: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_LISTEN: Final = re.compile(
    r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?))?:)?(?P<port>[0-9]{1,5})"
)
_TIER_TIME: Final = re.compile(r"\s*(?P<number>\d{1,4})\s*(?P<unit>[mh])\s*:")
_TIER_EXPECTED: Final = "member ids (U…) or user group ids (S…)"
_UNITS_S: Final = {"m": 60.0, "h": 3600.0}
_LONGEST: Final = 200
"""Letters of a path that are shown of a setting."""
_TOKEN_KIND: Final = re.compile(r"x[a-z]{2,4}-")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFault:
    """One setting that cannot be used: its name, its value as it may be shown, what is expected, what to do."""

    name: str
    value: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name} is {self.value}; expected {self.expected}." + (f" {self.hint}" if self.hint else "")


def refuse(expected: str, hint: str = "") -> PydanticCustomError:
    """The error that :func:`trainmaster.bot.settings.model.load_settings` turns into a :class:`SettingFault`."""
    return PydanticCustomError("setting", "expected {expected}", {"expected": expected, "hint": hint})


def mask(secret: str) -> str:
    """The kind of a token, never the token."""
    kind = _TOKEN_KIND.match(secret)
    return f"{kind.group()}… (hidden)" if kind else "(hidden)"


def bot_token(value: Any) -> Any:
    """A bot token by its prefix."""
    return _token(value, "xoxb-", "Slack shows it on the app's page under OAuth & Permissions.")


def app_token(value: Any) -> Any:
    """An app-level token by its prefix."""
    return _token(value, "xapp-", "Make one under Basic Information, App-Level Tokens, with connections:write.")


def page_targets(value: Any) -> Any:
    """Apprise URLs, each maybe with the person whose phone it is."""
    if not isinstance(value, str):
        return value
    try:
        return read_targets(value)
    except ValueError as error:
        raise refuse(
            "Apprise URLs with blanks between them, such as ntfys://ntfy.sh/TOPIC or U0ANNA/22:00-07:00=pover://USER@TOKEN",
            f"Of yours, {error}.",
        ) from None


def _token(value: Any, prefix: str, where: str) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and (
        not text.startswith(prefix) or len(text) == len(prefix) or not text.isascii() or " " in text
    ):
        raise refuse(f"a token that begins with {prefix}", where)
    return value


def api_url(value: str) -> str:
    """An address of Slack's API with its trailing slash. Plain http only on this machine: the token travels with it."""
    parts = _split(value)
    if parts is None or parts[0] not in {"http", "https"} or not parts[1]:
        raise refuse("an address such as https://slack.com/api/", "Leave it out unless a stand-in is meant.")
    if parts[0] == "http" and not is_loopback(parts[1]):
        raise refuse("https, or a loopback address", "Over plain http anybody on the way could read the token.")
    return value if value.endswith("/") else f"{value}/"


def copy_place(value: str | None) -> str | None:
    """The value as a place for copies: a full path or a URL."""
    if value is not None and not (Path(value).is_absolute() or "://" in value or "::" in value):
        raise refuse("the full path of a folder, or a URL", "Such as /mnt/other-disk/copies or s3://bucket/copies")
    return value


def http_url(value: str | None) -> str | None:
    """The value as a web address: http or https."""
    parts = _split(value) if value is not None else None
    if value is not None and (parts is None or parts[0] not in {"http", "https"} or not parts[1]):
        raise refuse("an address that begins with http:// or https://")
    return value


def _split(value: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return (parts.scheme, parts.hostname or "") if " " not in value else None


def channel(value: str | None) -> str | None:
    """An id as it is, a name with its ``#``."""
    if value is None or _CHANNEL_ID.fullmatch(value):
        return value
    if not _CHANNEL_NAME.fullmatch(value):
        raise refuse("a channel id such as C0123ABCD, or a name such as #training", "The id stands in channel details.")
    return "#" + value.removeprefix("#")


def user_ids(value: Any) -> Any:
    """The value as a list of Slack member ids."""
    return _ids(value, (_USER_ID,), "member ids such as U0123ABCD")


def run_owners(value: Any) -> Any:
    """Patterns of run names, or logins with an @ before them, each with the member id of who owns such runs."""
    if not isinstance(value, str):
        return value
    found = []
    for part in (one.strip() for one in value.split(",")):
        if not part:
            continue
        pattern, _, user = (word.strip() for word in part.partition("="))
        if not pattern.removeprefix("@") or not _USER_ID.fullmatch(user):
            raise refuse(
                "entries such as night-*=U0123ABCD or @anna=U0123ABCD, comma-separated", f"{part[:80]!r} is none."
            )
        found.append(OwnerRule(pattern=pattern, user=user))
    return tuple(found)


def tiers(value: Any) -> Any:
    """Groups of member and user group ids separated by ``;``, each with the time from which it is called, in seconds,
    if one is given; the times grow."""
    if not isinstance(value, str):
        return value
    found = []
    last_s = 0.0
    for part in value.split(";"):
        timed = _TIER_TIME.match(part)
        after_s = float(timed["number"]) * _UNITS_S[timed["unit"]] if timed else None
        if after_s is not None and after_s <= last_s:
            raise refuse("times that grow from group to group", f"{part.strip()!r} comes no later than the one before.")
        last_s = after_s or last_s
        users = _ids(part[timed.end() :] if timed else part, (_USER_ID, _GROUP_ID), _TIER_EXPECTED)
        if users:
            found.append((after_s, users))
    return tuple(found)


def _ids(value: Any, kinds: tuple[re.Pattern[str], ...], expected: str) -> Any:
    if not isinstance(value, str):
        return value
    ids = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    wrong = [one for one in ids if not any(kind.fullmatch(one) for kind in kinds)]
    if wrong:
        raise refuse(
            f"{expected}, comma-separated",
            f"{', '.join(one[:40] for one in wrong[:5])} is none: in a profile, ⋮, “Copy member ID”.",
        )
    return ids


def time_of_day(value: Any) -> Any:
    """Hour and minute; None for ``off``."""
    if not isinstance(value, str):
        return value
    if value.lower() == "off":
        return None
    found = _TIME_OF_DAY.fullmatch(value)
    if found is None:
        raise refuse("a time such as 09:00, or off", "No digest is sent with off.")
    return int(found[1]), int(found[2])


def listen_address(value: Any) -> Any:
    """Host and port to listen on; this machine alone where no host is given, None for ``off``."""
    if not isinstance(value, str):
        return value
    if value.lower() == "off":
        return None
    found = _LISTEN.fullmatch(value)
    host = (found["six"] or found["host"] or "127.0.0.1") if found else ""
    if found is None or not 1 <= int(found["port"]) <= 65_535 or not _is_host(host, six=found["six"] is not None):
        raise refuse(
            "a port such as 9464, HOST:PORT, or off", "Without a host only this machine is served; IPv6 as [::1]:9464."
        )
    return host, int(found["port"])


def _is_host(host: str, *, six: bool) -> bool:
    try:
        return (ipaddress.ip_address(host).version == 6) is six
    except ValueError:
        # Digits and dots are meant as an address: a resolver would read 1.2 as 1.0.0.2.
        return not six and not re.fullmatch(r"[\d.]+", host)


def usergroup(value: str | None) -> str | None:
    """A user group's id."""
    if value is not None and not _GROUP_ID.fullmatch(value):
        raise refuse("a user group id such as S0123ABCD", "It stands at the end of the group's address in Slack.")
    return value


def expanded(value: Path) -> Path:
    """``~`` as the home directory, and absolute: commands that are given the path run in other folders."""
    try:
        return value.expanduser().absolute()
    except RuntimeError:  # ~ of nobody, or no HOME and no entry for this user
        raise refuse("a directory", "Whose home ~ stands for is not known here; write the path in full.") from None


def upper(value: Any) -> Any:
    """Case does not matter."""
    return value.upper() if isinstance(value, str) else value


def lower(value: Any) -> Any:
    """Case does not matter."""
    return value.lower() if isinstance(value, str) else value


def read_env_file(env_file: Path | None, faults: list[SettingFault]) -> list[tuple[str, str]]:
    """Names and values in the file, in its order; what cannot be read is added to ``faults``. A missing file has
    none."""
    if env_file is None:
        return []
    try:
        with env_file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        faults.append(
            SettingFault(
                name=str(env_file), value=f"unreadable ({reason})", expected="a text file that this user may read"
            )
        )
        return []
    for binding in bindings:
        if binding.error:
            line = SettingFault(
                name=f"{env_file}, line {binding.original.line}", value="not understood", expected="NAME=value"
            )
            faults.append(line)
    return [(binding.key, binding.value or "") for binding in bindings if binding.key]


def runs_dir_faults(path: Path, *, must_exist: bool) -> Iterator[SettingFault]:
    """What keeps the run directories from being read."""
    expected = "a directory that this user may read"
    if why := _unreachable(path):
        yield SettingFault(name="RUNS_DIR", value=f"{_named(path)}, which can't be reached: {why}", expected=expected)
    elif path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        yield SettingFault(name="RUNS_DIR", value=f"{_named(path)}, which this user may not read", expected=expected)
    elif not path.is_dir() and (must_exist or path.exists()):
        state = "no directory" if path.exists() else "not there"
        yield SettingFault(
            name="RUNS_DIR",
            value=f"{_named(path)}, which is {state}",
            expected=expected,
            hint="Trainings write below it (Ultralytics' project=…); make it, or name another.",
        )


def state_dir_faults(path: Path) -> Iterator[SettingFault]:
    """What keeps the state from being written, in the directory or where it would be made."""
    expected = "a directory that this user may write"
    if why := _unreachable(path):
        yield SettingFault(name="STATE_DIR", value=f"{_named(path)}, which can't be reached: {why}", expected=expected)
        return
    if any(path.glob("*.sqlite3")):
        return  # it was in use: a file system that came up read-only is told in the channel, and watching begins
    nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "is no directory" if not nearest.is_dir() else "this user may not write"
        yield SettingFault(name="STATE_DIR", value=f"{_named(path)}, but {nearest} {reason}", expected=expected)


def _unreachable(path: Path) -> str:
    """Why nobody can say whether it is there, in the system's words; empty where it can be said."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "no name of a file has that in it"
    return ""


def _named(path: Path) -> str:
    text = visible_line(str(path))
    return f"'{text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}'"
