"""Which of the choices is recommended, and why: by stated rules (docs/messages.md has them as a table). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.core.decisions.plan import OptionName, RollbackPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """``reason`` ends a sentence that begins with the choice."""

    choice: OptionName
    reason: str


def recommend(plan: RollbackPlan, *, past_saving: bool) -> Recommendation:
    """The first rule that holds decides. ``past_saving``: the bot asked by itself, on evidence of a storm."""
    later = [one for one in plan.incidents if one.epoch > plan.target.epoch]
    if not plan.was_active:
        return Recommendation(choice=OptionName.NOW, reason="nothing trains until somebody decides.")
    if past_saving:
        return Recommendation(choice=OptionName.NOW, reason="it will not recover by itself.")
    if any(one.num_in_weights for one in later):
        return Recommendation(choice=OptionName.NOW, reason="what is in the weights stays there.")
    if plan.gives_up_s is not None and plan.gives_up_s <= 0:
        return Recommendation(choice=OptionName.NOW, reason="nothing would be given up.")
    if later:
        return Recommendation(choice=OptionName.CONTINUE, reason="no bad batch is in the weights.")
    return Recommendation(choice=OptionName.CONTINUE, reason="nothing on record speaks for going back.")
