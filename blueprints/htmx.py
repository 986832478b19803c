"""The htmx protocol, said once."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, make_response, redirect, render_template, request


def wants_fragment() -> bool:
    """Whether htmx asks for a part of the page; never for history, boosted links or full pages."""
    headers = request.headers
    return (
        headers.get("HX-Request") == "true"
        and "HX-History-Restore-Request" not in headers
        and "HX-Boosted" not in headers
        and headers.get("HX-Request-Type") != "full"
    )


def render(page: str, *, fragment: str, status: int = 200, **context: Any) -> Response:
    """The page, or only its fragment when htmx asks: the same URL serves both."""
    template = fragment if wants_fragment() else page
    response = make_response(render_template(template, **context), status)
    response.vary.add("HX-Request")
    return response


def render_dialog(content: str, *, title: str, status: int = 200, **context: Any) -> Response:
    """A modal: a page of its own, or the inside of `#modal` when htmx asks.

    `content` is the fragment that both include. 422 for a form that has errors.
    """
    template = "components/dialog.html" if wants_fragment() else "components/dialog_page.html"
    body = render_template(template, content=content, title=title, **context)
    response = make_response(body, status)
    response.vary.add("HX-Request")
    return response


def done(
    location: str, *, fragment: str | None = None, toast: str = "", **context: Any
) -> Response:
    """After a change that succeeded: 303 to the page, or for htmx the fresh fragment.

    Without a fragment htmx gets 204. `toast` is said in the live region, never the only place of
    an error. An open dialog closes.
    """
    if not wants_fragment():
        response = make_response(redirect(location, 303))
    elif fragment is None:
        response = make_response("", 204)
    else:
        response = make_response(render_template(fragment, **context))
    return with_events(response, toast=toast)


def with_events(
    response: Response, *, toast: str = "", close: bool = True, event: str = ""
) -> Response:
    """Tell the page what happened: close the dialog, say something, and one event of the area's."""
    events: dict[str, Any] = {event: {}} if event else {}
    if close:
        events["dialog:close"] = {}
    if toast:
        events["toast"] = {"text": toast}
    if wants_fragment() and events:
        response.headers["HX-Trigger"] = json.dumps(events)
    response.vary.add("HX-Request")
    return response
