"""Where a model makes its loss: the seam that stands in for it on the live instance, and what is behind the seam."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.engines.loss_form import Items, LossForm, NamedForm

Loss = tuple[torch.Tensor, Items]
"""The loss to go backward from, and its parts by name."""
MakesLoss = Callable[..., Loss]
"""Of a batch and, where they are made already, predictions."""


class LossSeam:
    """Stands in for ``loss`` on the live model *instance*, and for nothing else.

    A copy of the model (the EMA is one) and a pickle of it (a callback may save one) have their own class's ``loss``
    back, so that nothing of the guard ever reaches a checkpoint.
    """

    def __init__(self, model: nn.Module, guarded_loss: Callable[..., Any], form: LossForm | None) -> None:
        self._model = model
        self._guarded_loss = guarded_loss
        self._form = form

    def __call__(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """The guarded loss of ``batch``, in the form that the installed Ultralytics takes."""
        made = self._guarded_loss(batch, preds)
        return made if self._form is None else (made[0], self._form.write(made[1]))

    def _state_without(self) -> dict[str, Any]:
        state: dict[str, Any] = type(self._model).__getstate__(self._model)
        return {name: value for name, value in state.items() if name not in _SEAM_NAMES}

    @classmethod
    def attach(cls, model: nn.Module, guarded_loss: Callable[..., Any], form: LossForm | None = None) -> None:
        """Losses of ``model`` are made by ``guarded_loss(batch, preds)``, their parts by name."""
        seam = cls(model, guarded_loss, form)
        model.__dict__.update(zip(_SEAM_NAMES, (seam, seam._state_without), strict=True))

    @staticmethod
    def detach(model: nn.Module) -> None:
        """``model`` is as its class made it."""
        for name in _SEAM_NAMES:
            model.__dict__.pop(name, None)


_SEAM_NAMES: Final = ("loss", "__getstate__")
"""What a seam puts on a model. Copying and pickling both ask the instance for its state (``object.__reduce_ex__``)."""


class LossMaker:
    """The loss of the live model as it is made without the guard: its class's own, or what stood on the instance."""

    def __init__(self, model: nn.Module, form: LossForm | None = None) -> None:
        self._model = model
        self.form = form or NamedForm()
        self._stock = stock_loss(model)
        self._loss = self._stock
        self._own: MakesLoss | None = None
        self.inside = False
        """Whether a loss is being made: one asked for within is that of a loss which wraps ours."""

    def raw(self, batch: dict[str, Any], preds: Any = None) -> Loss:
        """The model's own loss, unjudged."""
        if self.inside:
            return self._named(self._stock(batch, preds))
        self.inside = True
        try:
            return self._named(self._loss(batch, preds))
        finally:
            self.inside = False

    def _named(self, made: Any) -> Loss:
        loss, parts = made
        return loss, self.form.read(parts)

    @property
    def attached(self) -> bool:
        """Whether the model's losses are made by the guard."""
        return isinstance(self._model.__dict__.get("loss"), LossSeam)

    def attach(self, guarded_loss: Callable[..., Any]) -> None:
        """Losses are made by ``guarded_loss``, which asks here for the raw one: that of a loss on the instance, too."""
        own = self._model.__dict__.get("loss")
        if own is not None and not isinstance(own, LossSeam):
            self._own = self._loss = own
        LossSeam.attach(self._model, guarded_loss, None if isinstance(self.form, NamedForm) else self.form)

    def detach(self) -> None:
        """The live model is as it was."""
        LossSeam.detach(self._model)
        if self._own is not None:
            self._model.__dict__["loss"] = self._own


def stock_loss(model: nn.Module) -> MakesLoss:
    """The loss of ``model``'s class, bound to it."""
    return types.MethodType(type(model).loss, model)  # type: ignore[attr-defined] # every Ultralytics model has one
