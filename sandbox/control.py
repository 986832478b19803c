"""The control endpoints under /_sandbox/: for processes that do not share our memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.edits import EditError
from sandbox.faults import Fault
from sandbox.wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from sandbox.running import Sandbox

PREFIX = "/_sandbox/"


def control_answer(sandbox: Sandbox, request: Request) -> Answer:
    """Do what a control request asks."""
    routes: dict[tuple[str, str], Callable[[Sandbox, Request], Any]] = {
        ("POST", "faults"): _add_fault,
        ("GET", "faults"): _pending,
        ("DELETE", "faults"): _clear_faults,
        ("GET", "log"): _log,
        ("DELETE", "log"): _clear_log,
        ("GET", "state"): _state,
        ("POST", "edit"): _edit,
        ("POST", "options"): _options,
        ("GET", "env"): lambda sandbox, _: sandbox.env(),
        ("GET", "config"): lambda sandbox, _: {"yaml": sandbox.sample_config()},
    }
    route = routes.get((request.method, request.path.removeprefix(PREFIX)))
    if route is None:
        return json_answer(404, {"error": "no such control"})
    if request.header("host").partition(":")[0] not in ("127.0.0.1", "localhost"):
        return json_answer(403, {"error": "loopback only"})
    try:
        return json_answer(200, route(sandbox, request))
    except (EditError, ValueError, TypeError) as error:
        return json_answer(400, {"error": str(error)})


def _body(request: Request) -> dict[str, Any]:
    value = json.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise EditError("the body is an object")
    return value


def _add_fault(sandbox: Sandbox, request: Request) -> dict[str, bool]:
    sandbox.faults.add(Fault(**_body(request)))
    return {"ok": True}


def _pending(sandbox: Sandbox, _request: Request) -> dict[str, Any]:
    return {"pending": [vars(fault) for fault in sandbox.faults.pending()]}


def _clear_faults(sandbox: Sandbox, _request: Request) -> dict[str, bool]:
    sandbox.faults.clear()
    return {"ok": True}


def _log(sandbox: Sandbox, _request: Request) -> dict[str, Any]:
    return {"entries": sandbox.log.as_json()}


def _clear_log(sandbox: Sandbox, _request: Request) -> dict[str, bool]:
    sandbox.log.clear()
    return {"ok": True}


def _state(sandbox: Sandbox, request: Request) -> dict[str, Any]:
    """Everything, or the parts named in ?part=additions,usage."""
    parts = request.query_list("part")
    found = sandbox.state()
    return {name: found[name] for name in parts if name in found} if parts else found


def _edit(sandbox: Sandbox, request: Request) -> dict[str, Any]:
    return {"ok": True, "result": sandbox.edit(_body(request))}


def _options(sandbox: Sandbox, request: Request) -> dict[str, Any]:
    body = _body(request)
    unknown = set(body) - {"latency_ms"}
    if unknown or not isinstance(body.get("latency_ms", 0), int | float):
        raise EditError("the option that can be changed is latency_ms, a number")
    sandbox.latency_ms = float(body.get("latency_ms", sandbox.latency_ms))
    return {"latency_ms": sandbox.latency_ms}
