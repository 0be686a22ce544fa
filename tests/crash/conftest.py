"""What forks by the hundred does it from a process without torch: each fork copies the page tables of its parent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forked import Nursery, nursery

ALONE = (
    "import importlib, json, sys; from pathlib import Path; module, name, folder, given = sys.argv[1:]; "
    "getattr(importlib.import_module(module), name)(tmp_path=Path(folder), **json.loads(given))"
)


@pytest.fixture(scope="module")
def small() -> Iterator[Nursery]:
    with nursery("pytest", "tests.crash.rollback_story") as made:
        yield made


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """The whole of a test with the fixture ``small`` and a ``tmp_path`` takes place in a process of its own."""
    small = pyfuncitem.funcargs.get("small")
    if small is None:
        return None
    folder: Path = pyfuncitem.funcargs["tmp_path"]
    given = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    words = (pyfuncitem.module.__name__, pyfuncitem.originalname, str(folder), json.dumps(given))
    (ended,) = small.run(ALONE, *words, folder=folder / "said")
    assert ended.code == 0, ended.errors
    return True
