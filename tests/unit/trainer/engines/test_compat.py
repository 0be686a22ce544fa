from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import ultralytics
from ultralytics.data.augment import Mosaic
from ultralytics.engine import trainer as engine
from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.engines import compat, installed


def test_the_installed_version_is_one_that_was_tested() -> None:
    """Fails loudly on an upgrade: run the whole suite, then name the version in TESTED_VERSIONS."""
    found = compat.check()
    assert found.missing == ()
    assert found.version in compat.TESTED_VERSIONS
    assert compat.require() is None


def test_an_unknown_version_with_all_seams_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ultralytics, "__version__", "8.4.999")
    warning = compat.require()
    assert warning is not None
    assert "8.4.999" in warning


def test_a_seam_that_is_gone_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BaseTrainer, "optimizer_step")
    with pytest.raises(compat.IncompatibleError, match=r"BaseTrainer\.optimizer_step"):
        compat.require()


@pytest.mark.parametrize("edited", [True, False])
def test_edited_files_are_to_be_put_back_and_another_version_is_to_be_replaced(
    monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    monkeypatch.delattr(BaseTrainer, "optimizer_step")
    found = replace(installed.look(), edited=("engine/trainer.py",) if edited else (), gone=())
    monkeypatch.setattr(installed, "look", lambda: found)
    with pytest.raises(compat.IncompatibleError) as refused:
        compat.require()
    put_back = f"pip install --force-reinstall --no-deps 'ultralytics=={found.version}'"
    assert (put_back in refused.value.hint, refused.value.hint == compat.INSTALL) == (edited, not edited)


def test_a_loop_that_does_something_else_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def _do_train(self: BaseTrainer) -> None:
        """Another loop."""

    monkeypatch.setattr(BaseTrainer, "_do_train", _do_train)
    with pytest.raises(compat.IncompatibleError, match=r"backward\(\)"):
        compat.require()


@pytest.mark.parametrize(("owner", "name", "what"), [(engine, "autocast", "autocast"), (Mosaic, "__init__", "buffer")])
def test_a_detail_that_is_counted_on_and_gone_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, what: str
) -> None:
    if owner is engine:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, BaseTrainer.validate)
    with pytest.raises(compat.IncompatibleError, match=what):
        compat.require()


def test_another_signature_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseTrainer, "preprocess_batch", lambda self, samples: samples)
    with pytest.raises(compat.IncompatibleError, match="preprocess_batch"):
        compat.require()
