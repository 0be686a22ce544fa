from __future__ import annotations

import json

import pytest

from trainmaster.trainer.selfcheck.report import PREFIX, WIDTH, Row, Status, as_json, as_table, last_words, passed


def row(status: Status, name: str = "ratio", **values: str) -> Row:
    return Row(part="What it costs", name=name, status=status, **values)


def test_a_row_survives_the_way_from_the_child() -> None:
    made = row(Status.FAILED, value="1.02", limit="1.01", detail='a "quoted" ☃')
    assert Row.parse(made.line()) == made


@pytest.mark.parametrize(
    "line",
    ["", "Epoch 1/3", PREFIX, f"{PREFIX}{{", f'{PREFIX}{{"status": "perhaps"}}', f"{PREFIX}[1]"],
    ids=["empty", "of a library", "nothing", "torn", "no such status", "no object"],
)
def test_what_is_no_row_is_none(line: str) -> None:
    assert Row.parse(line) is None


@pytest.mark.parametrize("status", list(Status))
def test_only_a_failure_fails(status: Status) -> None:
    assert passed([row(Status.OK), row(status)]) is (status is not Status.FAILED)


def test_the_table_fits_80_columns_and_names_what_failed() -> None:
    text = as_table([row(Status.OK, value="x" * 30, detail="word " * 60), row(Status.FAILED, "a trace", limit="0")])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "NOT READY" in text
    assert "Failed: a trace" in text


def test_the_table_says_which_device_each_row_is_of() -> None:
    lines = as_table(
        [row(Status.OK, device="0"), row(Status.OK, device="0"), row(Status.OK, device="0,1")]
    ).splitlines()
    assert [line for line in lines if line.startswith("What")] == [
        "What it costs (device 0)",
        "What it costs (device 0,1)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a\n\nb", "a | b", id="as it is"),
        pytest.param(
            "x\nTraceback (most recent call last):\n  File 'a', line 1\n    raise\nOSError: no space\n",
            "OSError: no space",
            id="of a traceback its end",
        ),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_last_words_of_a_process_are_no_traceback(text: str, said: str) -> None:
    assert last_words(text.splitlines()) == said


def test_json_holds_every_row() -> None:
    rows = [row(Status.OK), row(Status.SKIPPED)]
    found = json.loads(as_json(rows))
    assert found["passed"] is True
    assert [one["status"] for one in found["rows"]] == ["ok", "-"]
