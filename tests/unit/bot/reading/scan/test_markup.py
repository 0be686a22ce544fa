"""Logs as pages, chats, reports and programs show them: the same facts within tags, emphasis, quotes and records."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import frame, header, raised, start, validation
from trainmaster.bot.reading.console.markup import unmarked
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream

SETUP = "Image sizes 640 train, 640 val\nUsing 8 dataloader workers\n"
BEGUN = (
    start().replace("Starting", SETUP + "Starting") + frame(1, 20) + "\n" + validation() + header()
    + frame(2, 1, losses=("1.2", "nan", "inf")) + "\n"
)  # fmt: skip
ENDS = {"killed": "Killed\n", "raised": raised("RuntimeError: CUDA error: illegal memory access")}
Wrap = Callable[[str], str]


def lines_of(log: str) -> list[str]:
    return log.replace("\r", "\n").split("\n")


def each(wrap: Wrap) -> Wrap:
    return lambda log: "\n".join(wrap(line) for line in lines_of(log))


def around_losses(before: str, behind: str) -> Wrap:
    return lambda log: re.sub(r"\b(1\.218|4\.65|1\.2|nan|inf)(?= )", rf"{before}\1{behind}", log)


def bytes_over_lines(line: str) -> str:
    """As ``journalctl -o json-pretty`` has a line with control characters in it."""
    written = json.dumps(list(line.encode()), indent=2) if "\x1b" in line else json.dumps(line)
    return f'{{\n\t"_PID" : "812",\n\t"MESSAGE" : {written},\n\t"_COMM" : "python"\n}}'


def columns_of_a_query(indent: int | None) -> Wrap:
    """As ``aws logs get-query-results`` has them."""
    return lambda log: json.dumps(
        {"results": [[{"field": "@ptr", "value": "Cm"}, {"field": "@message", "value": one}] for one in lines_of(log)]},
        indent=indent,
    )


SHOWN: dict[str, Wrap] = {
    "bold in a page": around_losses("<b>", "</b>"),
    "coloured in a page": around_losses('<span style="color:red">', "</span>"),
    "bold in Markdown": around_losses("**", "**"),
    "code in Markdown": around_losses("`", "`"),
    "a page's block": lambda log: f"<html><body><pre>\n{html.escape(log)}".rstrip("\n") + "</pre></body></html>\n",
    "a page's paragraphs": each(lambda line: f"<p>{html.escape(line)}</p>"),
    "a page's table": each(lambda line: f"<tr><td>7</td><td class='x'>{html.escape(line)}</td></tr>"),
    "a page's blanks": each(lambda line: html.escape(line).replace(" ", "&nbsp;") + "<br/>"),
    "a page in ASCII": lambda log: html.escape(log).encode("ascii", "xmlcharrefreplace").decode(),
    "a chat's block": lambda log: f"ben  1:02 PM\n```{log}".rstrip("\n") + "```\n",
    "texts as Python shows them": each(lambda line: repr(f"{line}\n")),
    "bytes as Python shows them": each(lambda line: repr(f"{line}\r\n".encode())),
    "bytes that a logger shows": each(lambda line: "INFO:root:" + repr(f"{line}\n".encode())),
    "all at once as Python shows it": repr,
    "cat -A": each(lambda line: line.replace("\x1b", "^[") + "$"),
    "a place in a file behind": lambda log: "\n".join(
        f"[01:02:03] {line:<100} train.py:{place}" for place, line in enumerate(lines_of(log))
    ),
    "a place in a file behind, as of 8.4": lambda log: "\n".join(
        f"{line:<100} train.py:{place}" for place, line in enumerate(lines_of(re.sub("Image sizes.*\n", "", log)))
    ),
    "a sequence of records": each(lambda line: "\x1e" + json.dumps({"MESSAGE": line})),
    "bytes over lines": each(bytes_over_lines),
    "columns of a query": columns_of_a_query(None),
    "columns of a query over lines": columns_of_a_query(4),
    "a bell": lambda log: log.replace("Killed", "\x07Killed"),
}


def facts_of(report: ScanReport) -> list[object]:
    names = ("verdict", "crash_kind", "last_epoch", "last_batch", "total_batches", "nan_loss_frames", "map50")
    return [getattr(report, name) for name in names]


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_a_log_is_read_as_it_was_before_somebody_showed_it(shown: Wrap, end: str) -> None:
    assert facts_of(scan(shown(BEGUN + end))) == facts_of(scan(BEGUN + end))


def test_a_logger_that_chooses_a_level_for_each_line_of_a_traceback_breaks_none() -> None:
    levels = ("INFO", "ERROR", "WARNING")
    lines = lines_of(BEGUN + ENDS["raised"])
    report = scan("\n".join(f"01:02:03 {levels[place % 3]} train: {line}" for place, line in enumerate(lines)))
    assert facts_of(report) == facts_of(scan(BEGUN + ENDS["raised"]))


def test_a_long_log_of_records_over_lines_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    bars = bytes_over_lines(frame(1, 3).removeprefix("\r")) + "\n"
    written = [bytes_over_lines(line) for line in lines_of(BEGUN + ENDS["killed"])]
    path.write_text("\n".join([*written[:8], bars * 60, "\n" * 1024 * 1024, *written[8:]]), encoding="utf-8")
    assert facts_of(scan_file(path)) == facts_of(scan(BEGUN + ENDS["killed"]))


@pytest.mark.parametrize(
    "text",
    [
        '  File "train.py", line 3, in <module>',
        "RuntimeError: unable to open shared memory object </torch_1_2> in read-write mode",
        "subprocess.CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>.",
        "a.cu:12: f: block: [0,0,0], thread: [1,0,0] Assertion `idx < size` failed.",
        "*** stack smashing detected ***: terminated",
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "ValueError: could not convert string to float: 'abc\\n'",
        "images & labels &c",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert unmarked(text) == text
