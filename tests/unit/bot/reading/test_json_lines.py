"""Lines of JSON: whatever is whole is read, in order, and the rest is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.reading.json_lines import records_of


@pytest.mark.parametrize(
    ("lines", "records", "damaged"),
    [
        pytest.param([], [], 0, id="nothing"),
        pytest.param([b'{"a":1}', b'{"b":2}'], [{"a": 1}, {"b": 2}], 0, id="whole"),
        pytest.param([b'{"a":1}', b"", b"  ", b'{"b":2}'], [{"a": 1}, {"b": 2}], 0, id="blank"),
        pytest.param([b' {"a":1} ', b'{"b":2}\r'], [{"a": 1}, {"b": 2}], 0, id="blanks around"),
        pytest.param([b'{"a":1', b'"b":2}'], [], 2, id="two halves of one object"),
        pytest.param([b'{"a":[1', b'2]},{"b":1}'], [], 2, id="halves that would make up two"),
        pytest.param([b'{"a":[{"x":1}', b'{"y":2}]}'], [], 2, id="halves that look whole"),
        pytest.param([b"[1]", b"7", b'{"b":2}'], [{"b": 2}], 2, id="no objects"),
        pytest.param([b'{"a":1}{"b":2}', b'{"c":3}'], [{"c": 3}], 1, id="two in a line"),
        pytest.param([b'{"a":1},{"b":2}', b'{"c":3}'], [{"c": 3}], 1, id="two in a line, as in a list"),
        pytest.param([b'{"a":"\xff"}', b'{"c":3}'], [{"c": 3}], 1, id="no UTF-8"),
        pytest.param([b'{"a":' + 100_000 * b"[" + b"}", b'{"c":3}'], [{"c": 3}], 1, id="too deep"),
    ],
)
def test_what_is_whole_is_read_and_the_rest_counted(
    lines: list[bytes], records: list[dict[str, object]], damaged: int
) -> None:
    assert records_of(lines) == (records, damaged)


def _each_by_itself(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


@given(
    st.lists(st.sampled_from([b'{"a":1}', b'{"a":[{}]}', b'{"a":[1', b"2]}", b'{"a":{', b'}},{"b":1}', b"{}", b"}"]))
)
def test_lines_read_together_are_what_each_is_by_itself(lines: list[bytes]) -> None:
    each = [_each_by_itself(line) for line in lines]
    whole = [one for one in each if isinstance(one, dict)]
    assert records_of(lines) == (whole, len(lines) - len(whole))
