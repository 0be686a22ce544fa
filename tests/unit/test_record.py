"""A record is what a frozen dataclass with slots is, made faster."""

from __future__ import annotations

import copy
import pickle

import pytest

from trainmaster.record import Fixed, replaced


class Place(Fixed):
    """A place in a log."""

    line: int
    name: str = "here"


class Named(Place):
    """One that has a label."""

    label: str


class Other(Fixed):
    """Of another class."""

    line: int
    name: str = "here"


def test_fields_are_given_by_name_and_have_defaults() -> None:
    place = Named(line=3, label="x")
    assert (place.line, place.name, place.label) == (3, "here", "x")
    assert repr(place) == "Named(line=3, name='here', label='x')"


@pytest.mark.parametrize("values", [{}, {"line": 1, "colour": 2}, {"name": "x"}])
def test_a_field_that_lacks_or_is_unknown_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Place (lacks|has no)"):
        Place(**values)  # type: ignore[arg-type]


def test_a_record_does_not_change() -> None:
    place = Place(line=1)
    with pytest.raises(AttributeError, match="does not change"):
        place.line = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        del place.line
    with pytest.raises(AttributeError):
        place.colour = 2  # type: ignore[attr-defined]
    assert not hasattr(place, "__dict__")


def test_equal_are_records_of_one_class_with_equal_fields() -> None:
    assert Place(line=1) == Place(name="here", line=1)
    assert len({Place(line=1), Place(line=1), Place(line=2)}) == 2
    assert Place(line=1) != Other(line=1)
    assert Place(line=1) != (1, "here")


def test_a_record_is_copied_with_other_values() -> None:
    place = Place(line=1)
    assert replaced(place, line=2) == Place(line=2)
    assert place.line == 1
    assert copy.deepcopy(place) == place
    assert pickle.loads(pickle.dumps(place)) == place
