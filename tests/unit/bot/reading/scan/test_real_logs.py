"""Logs of public trainings with facts read by hand, and lines that look like trouble and are not."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.unit.bot.reading.log_texts import SHARED_LOGS, frame, start
from trainmaster.bot.reading.scan.scanner import scan_file, scan_stream

EXPECTED = SHARED_LOGS / "expected.jsonl"
TRAPS = SHARED_LOGS / "traps.txt"
EXTRA = {"note", "best_epoch", "patience", "mask_map50", "mask_map50_95", "zero_based"}
"""Facts in the file that a report does not hold."""


def expected_facts() -> list[Any]:
    if not EXPECTED.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"no {EXPECTED}"))]
    records = [json.loads(line) for line in EXPECTED.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(record, id=record["file"]) for record in records]


def trap_lines() -> list[Any]:
    if not TRAPS.exists():
        return [pytest.param("", marks=pytest.mark.skip(reason=f"no {TRAPS}"))]
    rows = [line.split("|", 3) for line in TRAPS.read_text(encoding="utf-8").splitlines() if line.startswith("T")]
    return [pytest.param(row[3].split("          (")[0], id=row[0]) for row in rows]


@pytest.mark.parametrize("record", expected_facts())
def test_every_fact_read_by_hand_is_found(record: dict[str, Any]) -> None:
    expected = {"early_stopped": False} | {key: value for key, value in record["expected"].items() if key not in EXTRA}
    report = scan_file(SHARED_LOGS / record["file"]).to_json()
    assert {key: report[key] for key in expected} == expected


PLACES = {
    "alone": "{trap}",
    "alone_with_line_end": "{trap}\n",
    "within_an_epoch": "{start}{first}\n{trap}\n{second}{third}",
    "after_the_last_frame": "{start}{first}\n{trap}\n",
    "glued_to_a_frame": "{start}{first}{trap}\n{second}",
    "glued_to_the_last_frame": "{start}{first}{trap}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("unescaped", [False, True], ids=["as_written", "with_line_feeds"])
@pytest.mark.parametrize("trap", trap_lines())
def test_a_harmless_line_is_no_incident_wherever_it_stands(trap: str, unescaped: bool, place: str) -> None:
    text = trap.replace("\\n", "\n").replace("\\r", "\r").replace("\\x1b", "\x1b") if unescaped else trap
    log = place.format(trap=text, start=start(), first=frame(1, 3), second=frame(1, 4), third=frame(1, 5))
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.incidents, report.crashed, report.completed, report.nan_loss_frames) == ((), False, False, 0)
    if "first" in place:
        assert (report.last_epoch, report.total_epochs, report.total_batches) == (1, 10, 20)
