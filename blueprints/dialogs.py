"""Dialogs with a form: shown, done, or shown again with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from flask_wtf import FlaskForm

from blueprints.htmx import render_dialog, wants_fragment


def form_dialog(
    form: FlaskForm,
    change: Callable[[], str | None],
    done: Callable[[str], Response],
    *,
    content: str,
    title: str,
    **context: Any,
) -> Response:
    """Show a form, or do what it asks.

    `change` returns what to say, or None after it put into the form why it was not done.
    """
    message = change() if form.is_submitted() and form.validate() else None
    if message is not None:
        return done(message)
    status = 422 if form.is_submitted() else 200
    modal = wants_fragment()
    return render_dialog(content, title=title, status=status, form=form, modal=modal, **context)
