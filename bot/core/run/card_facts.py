"""What the card of a run tells beside the run itself: what is planned, and its host in a line. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.health.host import HostFact
from trainmaster.bot.core.run.view import RunView


def card_facts(
    view: RunView, planned: Sequence[str], host: HostFact | None, owner: str = ""
) -> tuple[tuple[str, str], ...]:
    """``planned`` are sentences, what is under way first; ``owner`` is what whose run it is is called. Of another host
    than the bot's only the name is known."""
    facts = [("Planned", "\n".join(planned))] if planned else []
    facts += [("Owner", owner)] if owner else []
    name = view.record.host if view.record is not None else None
    if not view.state.active or name is None:
        return tuple(facts)
    seen = host if host is not None and host.name == name else None
    gpus = ", ".join(_gpu(gpu.name, gpu.temperature_c) for gpu in seen.gpus) if seen is not None else ""
    return (*facts, ("Host", f"{name}, {gpus}" if gpus else name))


def _gpu(name: str, temperature_c: float | None) -> str:
    """Temperatures in steps of ten degrees, so that the card changes seldom."""
    return name if temperature_c is None else f"{name} at about {round(temperature_c, -1):.0f} °C"
