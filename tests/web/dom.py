"""Just enough of a page's tree to look into it: built by the standard library's parser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

# Words in a line read better here than a list of twenty lines.
# ruff: noqa: SIM905
VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
INLINE = frozenset("b strong em span a code wbr".split())
MAY_STAY_OPEN = frozenset("p li dt dd tr td th thead tbody tfoot option optgroup colgroup".split())


@dataclass(eq=False)
class Element:
    """One element; `children` holds elements and texts in their order."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def __contains__(self, name: str) -> bool:
        return name in self.attributes

    def __str__(self) -> str:
        shown = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        return f"<{self.tag}{shown}>"

    def get(self, name: str, default: str = "") -> str:
        """An attribute, or what stands for a missing one."""
        return self.attributes.get(name, default)

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
                yield (
                    " "
                    if child.tag not in ("b", "strong", "em", "span", "a", "code", "wbr")
                    else ""
                )

    def walk(self) -> Iterator[Element]:
        """Every element inside, in the order of the page."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()

    def all(self, *tags: str, **attributes: str | None) -> list[Element]:
        """The elements inside with one of these tags and all of these attributes.

        `class_="x"` asks for one class; an underscore in a name stands for a hyphen; None asks
        only that the attribute is there.
        """
        return [
            found
            for found in self.walk()
            if (not tags or found.tag in tags)
            and all(found.has(name, value) for name, value in attributes.items())
        ]

    def one(self, *tags: str, **attributes: str | None) -> Element:
        """The only such element."""
        found = self.all(*tags, **attributes)
        assert len(found) == 1, f"{len(found)} elements are {tags} {attributes}"
        return found[0]

    def has(self, name: str, value: str | None) -> bool:
        """Whether an attribute is there with this value."""
        if name == "class_":
            return value in self.get("class").split()
        name = name.rstrip("_").replace("_", "-")
        return name in self and value in (None, self[name])

    def above(self, tag: str) -> Element | None:
        """The nearest element around this one that has the tag."""
        around = self.parent
        while around is not None and around.tag != tag:
            around = around.parent
        return around


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("#root", {})
        self.open = self.root
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        made = Element(tag, {name: value or "" for name, value in attrs}, self.open)
        self.open.children.append(made)
        if tag not in VOID:
            self.open = made

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        around = self.open
        while around is not self.root and around.tag != tag and around.tag in MAY_STAY_OPEN:
            around = around.parent or self.root
        if around.tag != tag:
            self.problems.append(f"</{tag}> closes {self.open}")
            return
        self.open = around.parent or self.root

    def handle_data(self, data: str) -> None:
        self.open.children.append(data)


def parse(html: str) -> tuple[Element, list[str]]:
    """The tree of a page or fragment, and what is wrong with its nesting."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    if builder.open is not builder.root and builder.open.tag not in MAY_STAY_OPEN:
        builder.problems.append(f"{builder.open} is never closed")
    return builder.root, builder.problems
