from __future__ import annotations

import math
from typing import Any

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.levels import (
    LAYER_SETTINGS,
    check_level,
    max_norm_of,
    next_level,
    resolve,
    settings_of,
    strengthened,
    table,
)

DEFAULTS = {"lr0": 0.01, "optimizer": "auto", "momentum": 0.937, "hsv_h": 0.015, "val": True}


@pytest.mark.parametrize(
    ("level", "following"),
    [
        ("observe", "standard"),
        ("guard", "standard"),
        ("standard", "strict"),
        ("strict", "strict+1"),
        ("strict+3", "strict+4"),
    ],
)
def test_there_always_is_a_next_level(level: str, following: str) -> None:
    assert next_level(level) == following


@pytest.mark.parametrize("level", ["", "hard", "strict+", "strict+x", "standard+1", "strict-1"])
def test_an_unknown_level_is_refused_with_the_known_ones(level: str) -> None:
    with pytest.raises(ArgumentsError) as error:
        check_level(level)
    assert "standard" in error.value.hint


def test_the_plan_s_numbers_stand() -> None:
    standard, strict = settings_of("standard"), settings_of("strict")
    assert (standard["max_norm"], standard["lr0"], standard["warmup_epochs"]) == (10.0, 0.0005, 5.0)
    assert (strict["max_norm"], strict["lr0"], strict["momentum"], strict["weight_decay"]) == (
        5.0,
        0.00025,
        0.85,
        0.001,
    )


def test_beyond_strict_rate_and_clip_are_halved_each_time() -> None:
    assert settings_of("strict+2")["lr0"] == 0.00025 / 4
    assert settings_of("strict+2")["max_norm"] == 5.0 / 4
    assert settings_of("strict+2")["momentum"] == 0.85


def test_every_layer_is_in_the_table_once() -> None:
    rows = resolve("standard", {}, DEFAULTS)
    assert [row.setting for row in rows] == list(LAYER_SETTINGS)
    assert {row.layer for row in rows} == set(range(1, 8))
    assert all(row.setting in table(rows) for row in rows)


def test_a_value_of_the_user_wins() -> None:
    (row,) = [row for row in resolve("strict", {"lr0": 0.1}, DEFAULTS) if row.setting == "lr0"]
    assert (row.value, row.source) == (0.1, "user")


def test_observe_changes_no_setting_and_skips_nothing() -> None:
    rows = {row.setting: row for row in resolve("observe", {}, DEFAULTS)}
    assert rows["skip_bad_batches"].value is False
    assert rows["max_norm"].value == 10.0
    assert rows["lr0"].value == DEFAULTS["lr0"]
    assert not any(row.source == "level observe" for name, row in rows.items() if name != "skip_bad_batches")


def test_guard_changes_no_setting_and_skips_bad_batches() -> None:
    rows = {row.setting: row for row in resolve("guard", {}, DEFAULTS)}
    assert rows["skip_bad_batches"].value is True
    assert not any(row.source == "level guard" for name, row in rows.items() if name != "skip_bad_batches")
    assert [row.value for row in rows.values() if row.setting != "skip_bad_batches"] == [
        row.value for row in resolve("observe", {}, DEFAULTS) if row.setting != "skip_bad_batches"
    ]


@pytest.mark.parametrize(
    ("earlier", "kept"),
    [
        ({"lr0": 0.01}, {}),
        ({"lr0": 0.0001}, {"lr0": 0.0001}),
        ({"warmup_epochs": 1.0}, {}),
        ({"warmup_epochs": 20.0}, {"warmup_epochs": 20.0}),
        ({"optimizer": "AdamW"}, {"optimizer": "AdamW"}),
    ],
    ids=str,
)
def test_a_stricter_level_keeps_only_what_is_at_least_as_careful(
    earlier: dict[str, object], kept: dict[str, object]
) -> None:
    assert strengthened("strict", earlier) == kept


@pytest.mark.parametrize(
    ("level", "user", "own", "plain"),
    [
        ("guard", {}, math.inf, 10.0),
        ("observe", {}, math.inf, 10.0),
        ("guard", {"max_norm": 3.0}, 3.0, 3.0),
        ("standard", {}, 10.0, 10.0),
        ("strict", {}, 5.0, 5.0),
    ],
)
def test_a_step_of_its_own_is_clipped_only_where_somebody_wants_it(
    level: str, user: dict[str, Any], own: float, plain: float
) -> None:
    rows = resolve(level, user, {})
    assert max_norm_of(rows, steps_its_own_way=True) == own
    assert max_norm_of(rows, steps_its_own_way=False) == plain
