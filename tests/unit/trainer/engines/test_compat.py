from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import ultralytics
from ultralytics.data.augment import Mosaic
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine import trainer as engine
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import BaseModel

from trainmaster.trainer.engines import compat, installed, seams
from trainmaster.trainer.engines.methods import METHODS
from trainmaster.trainer.guard import GuardMixin


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


def test_a_parameter_that_must_be_given_and_is_not_known_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseTrainer, "preprocess_batch", lambda self, batch, step: batch)
    with pytest.raises(compat.IncompatibleError, match="preprocess_batch takes step too"):
        compat.require()


def test_more_that_may_be_given_is_an_error_only_where_the_stand_in_takes_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BaseTrainer, "preprocess_batch", lambda self, batch, step=0, *rest, key=None, **more: batch)
    assert compat.check().missing == ()
    monkeypatch.setattr(BaseModel, "loss", lambda self, batch, preds=None, epoch=0: None)
    assert compat.check().missing == ("BaseModel.loss takes epoch too",)


def test_every_stand_in_for_a_method_of_the_trainer_hands_on_what_it_does_not_know() -> None:
    own = {
        name: inspect.signature(method).parameters.values()
        for name, method in vars(GuardMixin).items()
        if inspect.isfunction(method) and hasattr(BaseTrainer, name)
    }
    assert set(own) <= set(METHODS[BaseTrainer])
    kinds = {name: {parameter.kind for parameter in parameters} for name, parameters in own.items()}
    anything = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    assert [name for name, found in kinds.items() if not anything <= found] == []


STEP = "                    self.optimizer_step()\n"


@pytest.mark.parametrize(
    "instead",
    [
        "                    # self.optimizer_step()\n                    self.my_step()\n",
        "                    self.my_step()  # self.optimizer_step()\n",
        '                    """was\n                    self.optimizer_step()\n                    """\n',
    ],
    ids=["comment", "behind a line", "string"],
)
def test_a_line_that_was_commented_out_is_gone(monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    """Else a loop that steps unguarded would pass for the one that is known."""
    source = inspect.getsource(BaseTrainer._do_train)
    assert STEP in source
    reads({BaseTrainer._do_train: source.replace(STEP, instead)}, monkeypatch)
    assert compat.check().missing == ("BaseTrainer._do_train without the line 'self.optimizer_step()'",)


def test_a_line_that_is_carried_out_twice_is_not_the_one_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second step with each batch would come after the guard's, which has judged the gradients of one."""
    source = inspect.getsource(BaseTrainer._do_train)
    (line,) = (line for line in source.splitlines(keepends=True) if STEP in line)
    reads({BaseTrainer._do_train: source.replace(line, line * 2)}, monkeypatch)
    assert compat.check().missing == ("BaseTrainer._do_train with the line 'self.optimizer_step()' more than once",)


def test_code_keeps_what_is_carried_out_and_a_comment_behind_it_changes_nothing() -> None:
    assert seams.code(commented) == 'def commented() -> str:\n    return "# none"\n'


def commented() -> str:
    """Nothing."""
    # before

    return "# none"  # behind


def test_what_is_no_method_any_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseTrainer, "final_eval", property(lambda self: None))
    with pytest.raises(compat.IncompatibleError, match=r"BaseTrainer\.final_eval is no method"):
        compat.require()


class OwnStep(BaseTrainer):
    def optimizer_step(self) -> None:
        self.optimizer.step()


def test_the_step_is_stood_in_for_only_where_it_is_the_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = BaseTrainer.optimizer_step
    assert not compat.steps_its_own_way(known)
    assert compat.steps_its_own_way(OwnStep.optimizer_step)
    source = seams.code(known)
    older = re.sub(r" +if self.device.type(?s:.*?)else:\n", "", source)
    halved = source.replace("self.scaler.step(", "self.halve()\n        self.scaler.step(")
    reordered = older.replace("        self.scaler.update()\n", "") + "        self.scaler.update()\n"
    for text, own in ((older, False), (halved, True), (reordered, True)):
        monkeypatch.setattr(compat, "code", lambda _, text=text: text)
        assert compat.steps_its_own_way(known) == own, text


@pytest.mark.parametrize(
    ("edited", "gone", "told"), [((), (), None), (("a.py",), (), "a.py."), (("a.py",), ("b.py",), "1 more")]
)
def test_files_that_are_not_as_published_are_told(
    monkeypatch: pytest.MonkeyPatch, edited: tuple[str, ...], gone: tuple[str, ...], told: str | None
) -> None:
    found = replace(installed.look(), edited=edited, gone=gone)
    monkeypatch.setattr(installed, "look", lambda: found)
    warning = compat.edited()
    assert (warning is None) == (told is None)
    assert told is None or (warning is not None and told in warning and found.put_back in warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """What a published version has in place of what the newest has, from its own files, and what it hasn't."""

    lines: Mapping[tuple[type, str], Mapping[str, str]]
    gone: tuple[tuple[type, str], ...] = ()


LOOP, VALIDATION = (BaseTrainer, "_do_train"), (BaseValidator, "__call__")
STACKED = {
    "{k: (self.tloss[k] * i + v) / (i + 1) for k, v in self.loss_items.items()}": (
        "(self.tloss * i + self.loss_items) / (i + 1)"
    ),
    "*self.tloss.values(),": "*(self.tloss if loss_length > 1 else torch.unsqueeze(self.tloss, 0)),",
}
SUMMED = {
    "for k, v in model.loss(batch, preds)[1].items():": "self.loss += model.loss(batch, preds)[1]",
}
SHORT = {
    "if nw and ni <= nw:": "if ni < nw:",
    "np.interp(ni, xi, [1, acc0])": "np.interp(ni, xi, [1, self.args.nbs / self.batch_size])",
    'with autocast(torch.bfloat16 if self.args.amp == "bf16" else self.amp, device=self.device.type):': (
        "with autocast(self.amp):"
    ),
}
LONG = SHORT | {
    "if nw and ni <= nw:": "if ni <= nw:",
    "nw = self._get_warmup_iterations(nb)": (
        "nw = max(round(self.args.warmup_epochs * nb), 100) if self.args.warmup_epochs > 0 else -1"
    ),
}
BY_PLACE = {
    "for x in self.optimizer.param_groups:": "for j, x in enumerate(self.optimizer.param_groups):",
    'if x.get("param_group") == "bias" else': "if j == 0 else",
}
IN_SET_UP = {
    (BaseTrainer, "_setup_train"): {
        "self._build_train_pipeline()": (
            'self.train_loader = self.get_dataloader(self.data["train"])\n'
            "        self.optimizer = self.build_optimizer(model=self.model)"
        )
    }
}
NO_ITERATIONS = ((BaseTrainer, "_get_warmup_iterations"), (InfiniteDataLoader, "close"))
NO_PIPELINE = (BaseTrainer, "_build_train_pipeline")


def reads(sources: Mapping[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sources of some methods than they have."""
    monkeypatch.setattr(seams, "code", functools.cache(seams.code.__wrapped__))  # nothing that was read before
    monkeypatch.setattr(seams, "_source", lambda method: sources.get(method) or inspect.getsource(method))


def stands_there(then: Then, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {}
    for (owner, name), lines in then.lines.items():
        source = inspect.getsource(getattr(owner, name))
        for newest, line in lines.items():
            assert newest in source, newest
            source = source.replace(newest, line)
        sources[getattr(owner, name)] = source
    reads(sources, monkeypatch)
    for owner, name in then.gone:
        monkeypatch.delattr(owner, name)


@pytest.mark.parametrize(
    ("then", "name"),
    [
        pytest.param(Then(lines={LOOP: SHORT}), "G5", id="8.4.104"),
        pytest.param(
            Then(lines={LOOP: SHORT, VALIDATION: {"model = model.float()": "model = trainer.ema.ema.float()"}}),
            "G5",
            id="8.4.139",
        ),
        pytest.param(Then(lines={LOOP: SHORT | STACKED, VALIDATION: SUMMED}), "G5 with the losses of G4", id="8.4.103"),
        pytest.param(Then(lines={LOOP: LONG | STACKED, VALIDATION: SUMMED}, gone=NO_ITERATIONS), "G4", id="8.4.13"),
        pytest.param(
            Then(
                lines={LOOP: LONG | STACKED, VALIDATION: SUMMED, **IN_SET_UP},
                gone=(*NO_ITERATIONS, NO_PIPELINE),
            ),
            "G4 with the set-up of G3",
            id="8.4.3 to 8.4.12",
        ),
        pytest.param(
            Then(
                lines={LOOP: LONG | STACKED | BY_PLACE, VALIDATION: SUMMED, **IN_SET_UP},
                gone=(*NO_ITERATIONS, NO_PIPELINE),
            ),
            "G3",
            id="8.4.2",
        ),
    ],
)
def test_what_stands_between_two_generations_is_told_by_each_seam(
    monkeypatch: pytest.MonkeyPatch, then: Then, name: str
) -> None:
    stands_there(then, monkeypatch)
    found = compat.check()
    assert (found.missing, found.engine.name) == ((), name)


def test_a_pipeline_of_another_name_is_not_taken_for_one_within_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second try after an out-of-memory error would go unseen."""
    renamed = {"self._build_train_pipeline()": "self._build_pipeline()"}
    stands_there(Then(lines={(BaseTrainer, "_setup_train"): renamed}, gone=(NO_PIPELINE,)), monkeypatch)
    with pytest.raises(compat.IncompatibleError, match="_build_train_pipeline"):
        compat.require()
