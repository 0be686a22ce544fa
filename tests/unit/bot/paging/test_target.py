"""PAGE_URLS: what is understood, and that nothing of it is shown."""

from __future__ import annotations

import pytest

from trainmaster.bot.errors import SettingsError
from trainmaster.bot.paging.target import read_targets
from trainmaster.bot.settings.model import load_settings


def test_services_and_people_with_their_quiet_hours_in_order() -> None:
    text = (
        "pagerduty://KEY@api/?region=eu,us\nU0ANNA/22:00-07:00=ntfys://ntfy.sh/secret, U0BEN=mailto://a:b@c.org?to=x,y"
    )
    first, anna, ben = read_targets(text)
    assert (first.kind, first.user, first.url) == ("pagerduty", None, "pagerduty://KEY@api/?region=eu,us")
    assert (anna.user, anna.quiet, anna.url) == ("U0ANNA", (1320, 420), "ntfys://ntfy.sh/secret")
    assert (ben.user, ben.quiet, ben.url) == ("U0BEN", None, "mailto://a:b@c.org?to=x,y")
    assert (anna.name, first.name) == ("ntfys of U0ANNA", "pagerduty")
    assert [one.label for one in (first, anna, ben)] == [
        "page target 1 of 3 (pagerduty)",
        "page target 2 of 3 (ntfys of U0ANNA)",
        "page target 3 of 3 (mailto of U0BEN)",
    ]
    assert read_targets("json://a")[0].label == "page target (json)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topic", "number 1 is no URL"),
        ("ntfy://a U0ANNA=topic", "number 1 is no URL"),
        ("U0ANNA/25:00-07:00=ntfy://a", "quiet hours of number 1 are not as in 22:00-07:00"),
        ("ntfy://a ntfy://a", "number 2 stands there twice"),
    ],
)
def test_what_is_not_understood_is_told_without_its_text(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_targets(text)
    with pytest.raises(SettingsError, match=said) as raised:
        load_settings({"PAGE_URLS": text}, needs_slack=False)
    assert "topic" not in str(raised.value).partition("expected")[0]
    assert "PAGE_URLS is (hidden)" in str(raised.value)


def test_an_address_shows_nowhere() -> None:
    (target,) = read_targets("ntfys://user:hunter2@ntfy.sh/secret")
    settings = load_settings({"PAGE_URLS": target.url}, needs_slack=False)
    for text in (repr(target), str(target), repr(settings), target.name, target.label, target.key):
        assert "hunter2" not in text
        assert "secret" not in text


@pytest.mark.parametrize(
    ("quiet", "minute", "is_quiet"),
    [
        ("22:00-07:00", 23 * 60, True),
        ("22:00-07:00", 6 * 60 + 59, True),
        ("22:00-07:00", 7 * 60, False),
        ("22:00-07:00", 12 * 60, False),
        ("12:00-13:00", 12 * 60, True),
        ("12:00-13:00", 13 * 60, False),
    ],
)
def test_quiet_hours_may_go_over_midnight(quiet: str, minute: int, is_quiet: bool) -> None:
    (target,) = read_targets(f"U0ANNA/{quiet}=ntfy://a")
    assert target.is_quiet(minute) is is_quiet
    assert not read_targets("ntfy://a")[0].is_quiet(minute)
