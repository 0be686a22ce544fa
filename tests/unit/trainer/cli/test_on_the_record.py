from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.cli import on_the_record


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "1 / 0", "import none_of_that_name"], ids=str)
def test_a_module_that_ends_while_it_is_imported_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its exit code would be taken for the trainer's: 3 is a stop that somebody asked for."""
    (tmp_path / "edited_by_hand.py").write_text(f"{end}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArgumentsError, match="can't be imported"):
        on_the_record._imported("edited_by_hand")


@pytest.mark.parametrize("code", [0, 3, None, "enough"], ids=repr)
def test_a_callback_that_ends_the_process_is_neither_the_end_of_the_run_nor_a_stop(code: int | str | None) -> None:
    def start() -> int:
        raise SystemExit(code)

    assert on_the_record.on_the_record(start) == 1
