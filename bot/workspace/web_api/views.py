"""Modals as the Web API returns them, and the methods that open and change them."""

from __future__ import annotations

import secrets
from typing import Any

from trainmaster.bot.workspace.blocks.message import read_home, read_view
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.passes import TriggerIds
from trainmaster.bot.workspace.state.people import APP_ID, BOT_ID, TEAM_ID
from trainmaster.bot.workspace.state.state import WorkspaceState, with_block_ids
from trainmaster.bot.workspace.web_api.args import Args, Methods


def view_for(view: dict[str, Any], *, view_id: str, hash_: str) -> dict[str, Any]:
    """Return the checked ``view`` with everything that Slack adds to it."""
    return {
        "callback_id": "",
        "private_metadata": "",
        "external_id": "",
        "submit": None,
        "close": None,
        "clear_on_close": False,
        "notify_on_close": False,
        **view,
        "blocks": list(with_block_ids(view["blocks"])),
        "id": view_id,
        "team_id": TEAM_ID,
        "app_id": APP_ID,
        "bot_id": BOT_ID,
        "root_view_id": view_id,
        "previous_view_id": None,
        "state": {"values": {}},
        "hash": hash_,
    }


def view_methods(state: WorkspaceState, triggers: TriggerIds) -> Methods:
    """Return ``views.open``, ``views.update`` and ``views.publish``."""

    def open_view(args: Args) -> dict[str, Any]:
        view = read_view(args.required("view"))
        user_id = triggers.exchange(str(args.required("trigger_id")))
        shown = view_for(view, view_id="V" + secrets.token_hex(5).upper(), hash_=state.new_ts())
        state.show_view(user_id, shown)
        return {"view": shown}

    def update_view(args: Args) -> dict[str, Any]:
        view = read_view(args.required("view"))
        view_id = args.text("view_id") or _by_external_id(state, args.text("external_id"))
        user_id, before = state.views.get(view_id, ("", {}))
        if not before:
            raise MethodRefusedError("not_found")
        expected_hash = args.text("hash")
        if expected_hash and expected_hash != before["hash"]:
            raise MethodRefusedError("hash_conflict")
        shown = view_for(view, view_id=view_id, hash_=state.new_ts())
        state.show_view(user_id, shown)
        return {"view": shown}

    def publish_view(args: Args) -> dict[str, Any]:
        view = read_home(args.required("view"))
        user_id = str(args.required("user_id"))
        if user_id not in state.people:
            raise MethodRefusedError("user_not_found")
        shown = view_for(view, view_id="V" + secrets.token_hex(5).upper(), hash_=state.new_ts())
        state.show_home(user_id, shown)
        return {"view": shown}

    return {"views.open": open_view, "views.update": update_view, "views.publish": publish_view}


def _by_external_id(state: WorkspaceState, external_id: str) -> str:
    matches = (
        view_id for view_id, (_, view) in state.views.items() if external_id and view["external_id"] == external_id
    )
    return next(matches, "")
