from __future__ import annotations

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.settings.guard_settings import GuardSettings, take_settings


def test_the_guard_s_own_keys_are_taken_out() -> None:
    settings, rest = take_settings({"level": "strict", "exact": "true", "snapshot_s": "30", "lr0": 0.1})
    assert (settings.level, settings.exact, settings.snapshot_s) == ("strict", True, 30.0)
    assert rest == {"lr0": 0.1}


def test_what_is_not_given_stays_as_it_was() -> None:
    settings, _ = take_settings({"exact": True}, GuardSettings(level="strict+1", keep_states=7))
    assert (settings.level, settings.keep_states, settings.exact) == ("strict+1", 7, True)


@pytest.mark.parametrize(
    "given",
    [
        {"snapshot_s": "soon"},
        {"bad_streak": 0},
        {"keep_states": 2.9},
        {"bad_count": float("inf")},
        pytest.param({"bad_window": 10**400}, id="beyond any float"),
        {"snapshot_s": True},
        {"max_norm": float("nan")},
        {"exact": "perhaps"},
        {"level": "hard"},
        {"owner": "anna"},
        {"owner": "<@U0ANNA>"},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ArgumentsError) as error:
        take_settings(given)
    assert next(iter(given)) in error.value.message


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ArgumentsError) as error:
        take_settings({"snapshot_s": "soon", "bad_streak": 0})
    assert "snapshot_s" in error.value.message
    assert "bad_streak" in error.value.message
