"""The checks of page_checks.py are awake: each is shown a page that is wrong."""

from __future__ import annotations

import pytest
from werkzeug.routing import Map, Rule

from tests.web.page_checks import problems

ROUTES = Map([Rule("/", methods=["GET"]), Rule("/save", methods=["POST"]), Rule("/old/")])
CSRF = '<input type="hidden" name="csrf_token" value="t">'
GOOD = f"""<!doctype html><html lang="en"><head><title>Customers - Tallybridge</title>
<script nonce="n" src="/"></script></head><body><h1>Customers</h1>
<form method="post" action="/save">{CSRF}<label for="name">Name</label><input id="name" name="name">
<label><input type="checkbox" name="all"> All</label>
<button aria-label="Save"><svg></svg></button></form>
<p><a href="/#x">Home</a> 'quoted' &amp; &lt;script&gt;alert(1)&lt;/script&gt;</p>
<div hx-get="/" hx-nonce="n"></div></body></html>"""


def judged(html: str) -> list[str]:
    return problems(html, path="/", routes=ROUTES, nonce="n")


def with_body(part: str) -> list[str]:
    return judged(GOOD.replace("</body>", f"{part}</body>"))


def test_a_good_page_passes() -> None:
    assert judged(GOOD) == []


def test_a_good_fragment_passes() -> None:
    assert judged('<tr id="a"><td>1<td>2</tr><tr id="b"><td>3</td></tr>') == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("<h1>Again</h1>", "one h1, not 2"),
        ("<h2></h2>", "heading is empty"),
        ('<p id="name"></p>', "stands 2 times"),
        ('<p id="a b"></p>', "has spaces"),
        ('<p aria-describedby="gone"></p>', "points to nothing"),
        ('<label for="gone">x</label>', "points to nothing"),
        ('<input name="x">', "has no label"),
        ('<select id="s"></select><label for="s"></label>', "has no label"),
        ("<button><svg></svg></button>", "has no name"),
        ('<a href="/"></a>', "has no name"),
        ('<img src="/">', "has no alt"),
        (f'<form method="post" action="/gone">{CSRF}</form>', "there is no page /gone"),
        (f'<form method="post" action="/">{CSRF}</form>', "does not take POST"),
        (f'<form method="post">{CSRF}</form>', "does not take POST"),
        ('<form action="/save"></form>', "does not take GET"),
        (
            f'<form method="post" action="/save">{CSRF}<button formaction="/x">y</button></form>',
            "/x",
        ),
        ('<a href="/old">x</a>', "only redirected"),
        ('<a href="http://evil.example">x</a>', "leads away"),
        ('<a href="//evil.example">x</a>', "leads away"),
        ('<form method="post" action="/save"></form>', "0 CSRF fields"),
        (
            '<form method="post" action="/save"><input type="hidden" name="csrf_token"></form>',
            "CSRF",
        ),
        ('<button hx-post="/save" hx-nonce="n">x</button>', "without a form that has a CSRF"),
        ('<div hx-get="/gone" hx-nonce="n"></div>', "there is no page /gone"),
        ('<div hx-get="/save" hx-nonce="n"></div>', "does not take GET"),
        ('<div hx-get="/"></div>', "no hx-nonce"),
        ('<div hx-get="/" hx-nonce="other"></div>', "nonce of another answer"),
        ('<p style="color: red"></p>', "inline style"),
        ("<style>p {}</style>", "inline style"),
        ("<script nonce='n'>alert(1)</script>", "inline script"),
        ("<script src='/'></script>", "no nonce"),
        ('<p onclick="x()"></p>', "inline event handler"),
        ('<div hx-on:click="x()" hx-nonce="n"></div>', "inline event handler"),
        ('<a href="javascript:alert(1)">x</a>', "code in href"),
        ("<div hx-get='/' hx-nonce='n' hx-vals='js:{a: 1}'></div>", "code in hx-vals"),
        ('<div hx-get="/" hx-nonce="n" hx-trigger="click[ctrlKey]"></div>', "trigger filter"),
        ("<b0gus>x</b0gus>", "no element of ours"),
        (
            f'<form method="post" action="/save">{CSRF}<form action="/"></form></form>',
            "inside a form",
        ),
        ('<a href="/">a <button>b</button></a>', "inside a link"),
        ("<p>Smith &amp;amp; Sons</p>", "escaped twice"),
        ('<input aria-label="&amp;quot;" type="hidden">', "escaped twice"),
        ("<p>{{ name }}</p>", "code shows"),
        ("<p>&lt;models.User object at 0x7f&gt;</p>", "code shows"),
        ("<div><p>x</div></span>", "</span> closes"),
        ("<div>", "closes"),
        ('<p class="a" class="b"></p>', "attribute twice"),
    ],
)
def test_a_mistake_is_found(part: str, words: str) -> None:
    found = with_body(part)
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<h1>Customers</h1>", "", "one h1, not 0"),
        ("Customers - Tallybridge", " - Tallybridge", "one title"),
        ("<title>Customers - Tallybridge</title>", "", "one title"),
        (' lang="en"', "", "its language"),
    ],
)
def test_what_a_page_lacks_is_found(before: str, after: str, words: str) -> None:
    found = judged(GOOD.replace(before, after))
    assert any(words in problem for problem in found), found


def test_a_fragment_must_not_rely_on_its_page() -> None:
    assert any("has no action" in p for p in judged(f'<form method="post">{CSRF}</form>'))
    assert any("no h1" in p for p in judged("<h1>x</h1>"))
