"""What must hold for every page and fragment, whichever test fetches it.

`problems(...)` returns a sentence for everything that is wrong; the client of `tests/web` asks it
about each answer. test_page_checks.py proves that each check is awake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect

from tests.web.dom import Element, parse

HTMX_REQUESTS = {
    f"hx-{method}": method.upper() for method in ("get", "post", "put", "patch", "delete")
}
NO_NAME_NEEDED = {"hidden", "submit", "button", "reset", "image"}
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "aria-owns")
ADDRESSES = {"href", "src", "action", "formaction", "data"}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
# ruff: noqa: SIM905
KNOWN_TAGS = set(
    "html head meta title link script body main header footer nav section article aside div span p "
    "h1 h2 h3 h4 ul ol li dl dt dd a abbr strong em b i small code pre kbd time br hr table "
    "caption thead tbody tfoot tr th td col colgroup form fieldset legend label input select "
    "option optgroup textarea button output progress meter details summary dialog template "
    "datalist hx-partial figure figcaption blockquote del ins mark data wbr noscript".split()
)
KNOWN_SVG = set(
    "svg use path g circle line rect polyline polygon ellipse title desc text symbol".split()
)


@dataclass(frozen=True)
class Answer:
    """One HTML answer, and where it came from."""

    tree: Element
    path: str
    routes: Map
    nonce: str
    whole: bool

    def all(self) -> list[Element]:
        return list(self.tree.walk())


def problems(html: str, *, path: str, routes: Map, nonce: str = "") -> list[str]:
    """Everything that is wrong with an answer fetched from `path`; empty when all is well.

    `nonce` is the one that the answer's content security policy allows.
    """
    tree, nesting = parse(html)
    answer = Answer(tree, path, routes, nonce, whole="<html" in html)
    return [*nesting, *(p for check in CHECKS for p in check(answer))]


def one_heading(answer: Answer) -> Iterator[str]:
    headings = answer.tree.all("h1")
    if answer.whole and len(headings) != 1:
        yield f"a page has one h1, not {len(headings)}"
    if not answer.whole and headings:
        yield "a fragment has no h1: the page around it does"
    for heading in answer.tree.all("h1", "h2", "h3", "h4"):
        if not heading.text:
            yield f"a heading is empty: {heading}"


def title_and_language(answer: Answer) -> Iterator[str]:
    if not answer.whole:
        return
    titles = [t for t in answer.tree.all("title") if t.above("svg") is None]
    if len(titles) != 1 or not titles[0].text.removesuffix("- Tallybridge").strip(" -"):
        yield "a page has one title that says which page it is"
    if not answer.tree.all("html", lang=None):
        yield "a page says its language"


def unique_ids(answer: Answer) -> Iterator[str]:
    counts = Counter(e["id"] for e in answer.all() if "id" in e)
    for name, count in counts.items():
        if count > 1:
            yield f'id="{name}" stands {count} times'
        if not name or re.search(r"\s", name):
            yield f"an id is empty or has spaces: {name!r}"


def references(answer: Answer) -> Iterator[str]:
    """Within a fragment they may point to the page around it."""
    if not answer.whole:
        return
    ids = {e["id"] for e in answer.all() if "id" in e}
    for element in answer.all():
        for name in REFERENCES:
            for wanted in element.get(name).split():
                if wanted not in ids:
                    yield f"{name} of {element} points to nothing"
        if element.tag == "label" and "for" in element and element["for"] not in ids:
            yield f"{element} points to nothing"


def labelled_fields(answer: Answer) -> Iterator[str]:
    labels = {label.get("for"): label.text for label in answer.tree.all("label")}
    for field in answer.tree.all("input", "select", "textarea"):
        if field.tag == "input" and field.get("type") in NO_NAME_NEEDED:
            continue
        around = field.above("label")
        named = (
            labels.get(field.get("id", "?"))
            or (around is not None and around.text)
            or field.get("aria-label").strip()
            or field.get("aria-labelledby")
        )
        if not named:
            yield f"{field} has no label"


def named_controls(answer: Answer) -> Iterator[str]:
    for control in answer.tree.all("button", "a", "summary"):
        if control.tag == "a" and "href" not in control:
            continue
        inside = [e.get("aria-label") or e.get("alt") for e in control.walk()]
        if not (control.get("aria-label").strip() or control.text or any(inside)):
            yield f"{control} has no name"
    for image in answer.tree.all("img"):
        if "alt" not in image:
            yield f"{image} has no alt"


def routed(answer: Answer) -> Iterator[str]:
    for form in answer.tree.all("form"):
        yield from _form_routed(form, answer)
    for element in answer.all():
        for attribute, method in HTMX_REQUESTS.items():
            if attribute in element:
                yield from _routed(element[attribute], method, element, answer)
        if element.tag == "a" and "href" in element:
            yield from _routed(element["href"], "GET", element, answer)


def _form_routed(form: Element, answer: Answer) -> Iterator[str]:
    method = form.get("method", "get").upper()
    if method == "DIALOG":
        return
    if form.get("action") or answer.whole:
        yield from _routed(form.get("action"), method, form, answer)
    else:
        yield f"{form} in a fragment has no action: it would go to the page around it"
    for button in form.all("button", "input"):
        if "formaction" in button:
            sent = button.get("formmethod", method).upper()
            yield from _routed(button["formaction"], sent, button, answer)


def _routed(address: str, method: str, element: Element, answer: Answer) -> Iterator[str]:
    parts = urlsplit(address)
    if parts.scheme in ("https", "mailto") and element.tag == "a":
        return
    if parts.scheme or parts.netloc:
        yield f"{element} leads away from here"
        return
    if not parts.path:
        target = urlsplit(answer.path).path
    else:
        target = urljoin(urlsplit(answer.path).path, parts.path)
    try:
        answer.routes.bind("127.0.0.1").match(target, method=method)
    except RequestRedirect:
        yield f"{element}: {target} is only redirected"
    except MethodNotAllowed:
        yield f"{element}: {target} does not take {method}"
    except (NotFound, HTTPException):
        yield f"{element}: there is no page {target}"


def csrf_fields(answer: Answer) -> Iterator[str]:
    for form in answer.tree.all("form"):
        buttons = form.all("button", "input")
        methods = {form.get("method", "get"), *(b.get("formmethod") for b in buttons)}
        if not UNSAFE & {method.upper() for method in methods}:
            continue
        fields = [f for f in form.all("input") if f.get("name") == "csrf_token"]
        if len(fields) != 1 or not fields[0].get("value"):
            yield f"{form} has {len(fields)} CSRF fields with a value"
    for element in answer.all():
        for attribute, method in HTMX_REQUESTS.items():
            if attribute in element and method in UNSAFE and _sends_no_token(element):
                yield f"{element} sends {method} without a form that has a CSRF field"


def _sends_no_token(element: Element) -> bool:
    form = element if element.tag == "form" else element.above("form")
    return form is None or not any(f.get("name") == "csrf_token" for f in form.all("input"))


def htmx_nonces(answer: Answer) -> Iterator[str]:
    for element in answer.all():
        uses = [a for a in element.attributes if a.startswith("hx-") and a != "hx-nonce"]
        if not uses or element.tag == "hx-partial" or uses == ["hx-swap-oob"]:
            continue
        if not element.get("hx-nonce"):
            yield f"{element} has no hx-nonce, so htmx ignores it"
        elif answer.nonce and element["hx-nonce"] != answer.nonce:
            yield f"{element} has the nonce of another answer"


def nothing_inline(answer: Answer) -> Iterator[str]:
    for element in answer.all():
        if element.tag == "style" or "style" in element:
            yield f"{element} is inline style, which the policy forbids"
        if element.tag == "script":
            yield from _script(element, answer)
        for name, value in element.attributes.items():
            if name.startswith("on") or name.startswith("hx-on"):
                yield f"{element} has an inline event handler"
            runs = name.startswith("hx-") or name in ADDRESSES
            if runs and value.strip().lower().startswith(("javascript:", "js:")):
                yield f"{element} has code in {name}"
            if name.startswith("hx-trigger") and re.search(r"\[(?!.*\]\s*$)|\w\[", value):
                yield f"{element} has a trigger filter, which needs eval"


def _script(script: Element, answer: Answer) -> Iterator[str]:
    if script.text or not script.get("src"):
        yield "there is an inline script"
    if not script.get("nonce") or (answer.nonce and script["nonce"] != answer.nonce):
        yield f"{script} has no nonce of this answer"


def nothing_raw(answer: Answer) -> Iterator[str]:
    """Foreign markup that came through, text escaped twice, template code that was not run."""
    for element in answer.all():
        if element.tag not in KNOWN_TAGS | KNOWN_SVG:
            yield f"{element} is no element of ours: was foreign text not escaped?"
        if element.tag == "form" and element.above("form") is not None:
            yield f"{element} stands inside a form; browsers drop it"
        if element.tag in ("a", "button") and (element.above("a") or element.above("button")):
            yield f"{element} stands inside a link or button"
    for text in _texts(answer.tree):
        if re.search(r"&(amp|lt|gt|quot|#3[49]);", text):
            yield f"text is escaped twice: {text.strip()[:80]}"
        if re.search(r"\{\{|\}\}|\{%|%\}|<models\.|<Element|object at 0x", text):
            yield f"code shows: {text.strip()[:80]}"


def _texts(element: Element) -> Iterator[str]:
    for inside in [element, *element.walk()]:
        yield from (child for child in inside.children if isinstance(child, str))
        for name in ("value", "aria-label", "title", "placeholder"):
            yield inside.get(name)


CHECKS: tuple[Callable[[Answer], Iterator[str]], ...] = (
    one_heading,
    title_and_language,
    unique_ids,
    references,
    labelled_fields,
    named_controls,
    routed,
    csrf_fields,
    htmx_nonces,
    nothing_inline,
    nothing_raw,
)
