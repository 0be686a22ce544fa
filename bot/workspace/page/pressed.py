"""Finding the element that somebody pressed, and what Slack reports of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.messages import Body, PostedMessage

_KEPT: Final = ("type", "action_id", "text", "value", "style", "url")
_CHOICES: Final = {
    "static_select": "selected_option",
    "overflow": "selected_option",
    "radio_buttons": "selected_option",
    "checkboxes": "selected_options",
    "users_select": "selected_user",
    "datepicker": "selected_date",
    "plain_text_input": "value",
    "number_input": "value",
}


def interactive_elements(blocks: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of the block and the element, for every element with an ``action_id``."""
    for block in blocks:
        candidates = [*block.get("elements", []), block.get("accessory"), block.get("element")]
        for element in candidates:
            if isinstance(element, dict) and "action_id" in element:
                yield block["block_id"], element


def all_blocks(body: Body) -> list[dict[str, Any]]:
    """Return the blocks of a message, those in its attachments too."""
    attached = [block for attachment in body.attachments for block in attachment.get("blocks", [])]
    return [*body.blocks, *attached]


def find_element(
    message: PostedMessage, *, action_id: str, block_id: str | None, value: str | None
) -> tuple[str, dict[str, Any]]:
    """Return the block id and the element, as the message shows it now or showed it before.

    A press may come from a page that has not seen the last edit, so what was shown before counts too. Raises
    :class:`MethodRefusedError` when no such element was ever shown.
    """
    for body in (message.body, *reversed(message.earlier)):
        for found_in, element in interactive_elements(all_blocks(body)):
            if element["action_id"] != action_id or (block_id is not None and found_in != block_id):
                continue
            if value is None or element.get("value") == value:
                return found_in, element
    raise MethodRefusedError("no_such_element")


def action_of(element: dict[str, Any], *, block_id: str, choice: Any, action_ts: str) -> dict[str, Any]:
    """Return ``actions[0]`` of the payload; raises :class:`MethodRefusedError` for a choice that is not offered."""
    action: dict[str, Any] = {name: element[name] for name in _KEPT if name in element}
    action |= {"block_id": block_id, "action_ts": action_ts}
    field = _CHOICES.get(element["type"])
    if field is not None:
        action[field] = chosen(element, choice)
    return action


def chosen(element: dict[str, Any], choice: Any) -> Any:
    """Return the choice as Slack reports it: options in full, found by their ``value``."""
    options = {option["value"]: option for option in element.get("options", [])}
    if element["type"] == "checkboxes":
        values = choice if isinstance(choice, list) else []
        if not set(values) <= set(options):
            raise MethodRefusedError("no_such_option")
        return [options[value] for value in values]
    if options:
        if choice is not None and choice not in options:
            raise MethodRefusedError("no_such_option")
        return options.get(choice)
    return choice


def state_values(blocks: Sequence[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
    """Return ``state.values`` of a modal: ``given`` maps action ids to what the person typed or chose."""
    values: dict[str, Any] = {}
    for block in blocks:
        for block_id, element in interactive_elements([block]):
            field = _CHOICES.get(element["type"])
            if field is None:
                continue
            choice = given.get(element["action_id"], _initial(element))
            values.setdefault(block_id, {})[element["action_id"]] = {
                "type": element["type"],
                field: chosen(element, choice),
            }
    return values


def missing_inputs(blocks: Sequence[dict[str, Any]], values: dict[str, Any]) -> dict[str, str]:
    """Return what Slack's own client says about inputs that may not be empty: block id -> text."""
    missing = {}
    for block in blocks:
        if block.get("type") != "input" or block.get("optional"):
            continue
        entry = values.get(block["block_id"], {}).get(block["element"]["action_id"], {})
        if not any(content for name, content in entry.items() if name != "type"):
            missing[block["block_id"]] = "Please complete this required field."
    return missing


def _initial(element: dict[str, Any]) -> Any:
    if "initial_option" in element:
        return element["initial_option"]["value"]
    if "initial_options" in element:
        return [option["value"] for option in element["initial_options"]]
    names = ("initial_value", "initial_user", "initial_date")
    return next((element[name] for name in names if name in element), None)
