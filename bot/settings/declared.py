"""What the parts of the bot declare as settings: their types and bounds for the model, their reasons, and back again
from the model to the parts."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo

from trainmaster.bot.core.setting import Setting

Part = TypeVar("Part")


def model_fields(parts: Iterable[type]) -> dict[str, Any]:
    """Every setting that ``parts`` declare, in their order, as ``pydantic.create_model`` takes them.

    Raises:
        TypeError: two of them declare one name, or a declaration has no plain default.
    """
    found: dict[str, Any] = {}
    for part in parts:
        whys = reasons(part)
        for field, kind, setting in _declared(part):
            name = setting.name or field.name
            if name in found or field.default is dataclasses.MISSING:
                fault = "is declared twice" if name in found else "has no plain default"
                raise TypeError(f"{part.__qualname__}.{field.name}: the setting {name} {fault}")
            rules: dict[str, Any] = {**setting.bounds, "allow_inf_nan": False if kind is float else None}
            found[name] = (Annotated[kind, setting], Field(field.default, description=whys.get(field.name), **rules))
    return found


def filled(part: type[Part], value_of: Callable[[str], Any]) -> Part:
    """``part`` with the value of every setting that it, or a part within it, declares."""
    values = {field.name: value_of(setting.name or field.name) for field, _, setting in _declared(part)}
    for name, kind in get_type_hints(part).items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type) and any(_declared(kind)):
            values[name] = filled(kind, value_of)
    return part(**values)


def declaration(info: FieldInfo) -> Setting:
    """What was declared of a field of the model."""
    return next(note for note in info.metadata if isinstance(note, Setting))


def reasons(owner: type) -> Mapping[str, str]:
    """The docstring below each field of a class that stands at the top of its module, in one line; none where there is
    no source text."""
    return _reasons_in(owner.__module__).get(owner.__name__, {})


@cache
def _reasons_in(module: str) -> dict[str, dict[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {one.name: dict(_documented(one)) for one in tree.body if isinstance(one, ast.ClassDef)}


def _documented(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def names(owner: type) -> tuple[str, ...]:
    """The settings that a part, or a section of the model, declares."""
    if dataclasses.is_dataclass(owner):
        return tuple(setting.name or field.name for field, _, setting in _declared(owner))
    return tuple(owner.__annotations__)


def title(owner: type) -> str:
    """The first sentence of the docstring: it heads the settings of a part."""
    return " ".join(inspect.cleandoc(owner.__doc__ or "").split()).partition(". ")[0].removesuffix(".")


def _declared(part: type) -> Iterator[tuple[dataclasses.Field[Any], Any, Setting]]:
    hints = get_type_hints(part, include_extras=True)
    for field in dataclasses.fields(part):
        if get_origin(hints[field.name]) is Annotated:
            kind, *notes = get_args(hints[field.name])
            yield from ((field, kind, note) for note in notes if isinstance(note, Setting))
