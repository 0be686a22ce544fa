"""Process ids, digests and whole paths are left to the details; whatever only looks like one stays."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.conversation.known_by import has_ids, without_ids


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("in /data/runs/archive/rollback-1", "in rollback-1", id="a path"),
        pytest.param("No space: '/data/runs/night/last.pt'", "No space: 'last.pt'", id="a path in quotes"),
        pytest.param("attempt 4, process 25752, level strict", "attempt 4, the process, level strict", id="a process"),
        pytest.param("Process 4711 survives", "The process survives", id="a process that begins"),
        pytest.param("process 1, 2 is over", "the process is over", id="processes"),
        pytest.param("clean, sha256 812bcade044d", "clean, …", id="a digest"),
        pytest.param("plan 991fab8fc2e3 still holds", "… still holds", id="a plan"),
        pytest.param("see 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", "see …", id="a long digest alone"),
        pytest.param("To end them: kill 12 13", "To end them: kill …", id="a command with pids"),
        pytest.param("held by somebody (process 7, 9; to see it: ps -f -p 7 9).", "held by somebody.", id="an aside"),
        pytest.param("see: ps -o pid,stat -p 12,13", "see: ps -o pid,stat -p …", id="a look at pids"),
    ],
)
def test_what_machines_know_things_by_is_left_out(text: str, shown: str) -> None:
    assert without_ids(text) == shown
    assert has_ids(text)


@pytest.mark.parametrize(
    "text",
    [
        "/train execute rollback",
        "https://example.com/a/b",
        "guard/states/epoch0003.pt",
        "run 20261129120000 goes on",
        "run deadbeef1234 goes on",
        "exit code 137",
        "2 processes outlived the training",
        "kill -USR1 its process",
        "0.2/1.4 GiB",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert without_ids(text) == text
    assert not has_ids(text)
