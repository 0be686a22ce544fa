"""Arguments of another Ultralytics: those that say nothing are left out, those that were set are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import ultralytics
from ultralytics.utils import DEFAULT_CFG_DICT

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.state import known_arguments
from trainmaster.trainer.state.known_arguments import NOT_DEFAULT, not_default, with_known_arguments


def state(**changes: Any) -> dict[str, Any]:
    return {"ultralytics": "9.0.0", "args": {**DEFAULT_CFG_DICT, "save_dir": "x", **changes}}


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Ultralytics that does not know ``angle``."""
    monkeypatch.setattr(
        known_arguments, "DEFAULT_CFG_DICT", {key: one for key, one in DEFAULT_CFG_DICT.items() if key != "angle"}
    )


def test_arguments_that_are_all_known_stay_as_they_are() -> None:
    given = state(lr0=0.5)
    assert with_known_arguments("night", given) == (given, None)


@pytest.mark.usefixtures("older")
def test_an_unknown_one_at_its_published_default_is_left_out_and_told() -> None:
    found, note = with_known_arguments("night", state(angle=1.0))
    assert "angle" not in found["args"]
    assert (
        note
        == f"Ultralytics {ultralytics.__version__} does not know angle: left out, each stood at the default of 9.0.0"
    )


@pytest.mark.usefixtures("older")
def test_an_unknown_one_that_was_set_is_refused_with_both_versions() -> None:
    with pytest.raises(ArgumentsError, match=r"by Ultralytics 9\.0\.0 with angle=2\.0, which Ultralytics") as refused:
        with_known_arguments("night", state(angle=2.0))
    assert ultralytics.__version__ in refused.value.message
    assert "pip install ultralytics==9.0.0" in refused.value.hint


@pytest.mark.parametrize(("names", "is_refused"), [((), False), (("newer",), True)], ids=["at its default", "set"])
def test_a_state_tells_itself_what_stood_at_the_default_of_its_version(
    names: tuple[str, ...], is_refused: bool
) -> None:
    given = {**state(newer=0.25), NOT_DEFAULT: list(names)}
    if is_refused:
        with pytest.raises(ArgumentsError, match=r"newer=0\.25"):
            with_known_arguments("night", given)
    else:
        assert "newer" not in with_known_arguments("night", given)[0]["args"]


def test_one_that_nobody_knows_the_default_of_counts_as_set() -> None:
    with pytest.raises(ArgumentsError, match="newer=None"):
        with_known_arguments("night", state(newer=None))


def test_a_default_of_another_type_becomes_the_one_of_here(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = with_known_arguments("night", state(save=1.0))  # a bool here
    assert found["args"]["save"] is True


def test_a_value_that_this_version_does_not_take_is_refused() -> None:
    with pytest.raises(ArgumentsError, match="save=often"):
        with_known_arguments("night", state(save="often"))


def test_a_name_that_ultralytics_itself_translates_is_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found, note = with_known_arguments("night", state(line_thickness=3))
    assert (found["args"]["line_thickness"], note) == (3, None)
    assert caplog.records == []


def test_what_differs_from_the_defaults_is_named() -> None:
    assert not_default({**DEFAULT_CFG_DICT, "lr0": 0.5, "newer": 1}) == ["lr0", "newer"]
