from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.trainer.copies.written import Attested


@pytest.fixture
def run(tmp_path: Path) -> Attested:
    return Attested(tmp_path / "runs" / "night")


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("fsspec")
    if request.param == "file":
        (tmp_path / "copies").mkdir()
        yield str(tmp_path / "copies")
    else:
        import fsspec
        from fsspec.implementations.memory import MemoryFileSystem

        class Kept(MemoryFileSystem):
            """A store that is neither local nor gone with its process, as far as its name tells."""

            protocol = "kept"

            @classmethod
            def _strip_protocol(cls, path: str) -> str:
                return str(super()._strip_protocol(path.replace("kept://", "memory://", 1)))

        fsspec.register_implementation("kept", Kept, clobber=True)
        yield "kept://copies"
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
