"""How a part of the bot declares what the operator may set: once, beside its use, with unit, default and reason."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """Stands in the annotation of a field that the operator may set. The default is the field's own, and the reason is
    the docstring below it::

        stall_min_s: Annotated[float, Setting("s", gt=0)] = 120.0
        \"\"\"No batch is called hung before: file systems pause, and a false alarm at night costs trust.\"\"\"

    The variable in the environment is the field's name in capitals. A field without one is a limit that nobody sets.
    ``trainmaster.bot.settings`` collects them.
    """

    unit: str
    """The unit, or the kind of value: ``s``, ``% of the memory``, ``true or false``."""
    _: KW_ONLY
    ge: float | None = None
    """The smallest value."""
    gt: float | None = None
    """Every value lies above this one."""
    le: float | None = None
    """The largest value."""
    name: str = ""
    """In small letters, where the field's own name would not say enough among all settings."""

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are set, by their names."""
        every = {"ge": self.ge, "gt": self.gt, "le": self.le}
        return {name: bound for name, bound in every.items() if bound is not None}
