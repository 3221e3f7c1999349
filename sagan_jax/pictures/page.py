"""HTML pages in one file: elements, escaping, style, embedded data.

Text is escaped where an element is made, so that no caller can forget it: `tag` takes
a `str` as text, and only what is `Html` already as markup.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from sagan_jax.files import names

LONGEST = 2000
"""Characters of a text on a page; a damaged file may hold one of any length."""


MOST_BYTES = 8_000_000
"""Bytes of a page at most."""


class Html(str):
    """Markup that is ready for a page."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Returns a text as markup, with control characters and surrogates spelt out."""
    plain = str(text)
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST]}..."
    return Html(html.escape(names.shown(plain)))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Returns an element; children that are not Html are escaped as text.

    Args:
      name: its name.
      *children: its contents, in order; None is left out.
      **attributes: its attributes. `class_` is class and `aria_label` aria-label. True
        gives the bare name; None and False leave the attribute out.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written += f" {key.rstrip('_').replace('_', '-')}"
        if value is not True:
            written += f'="{_attribute(value)}"'
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


_VOID = frozenset(("img", "input", "meta"))
"""Elements without children and without an end."""


def _attribute(value: object) -> str:
    # A data URI is longer than any text, and cannot hold what needs escaping.
    return value if isinstance(value, Html) else escape(value)


def join(children: Iterable[object]) -> Html:
    """Returns children in a row; see `tag`."""
    return Html(
        "".join(
            child if isinstance(child, Html) else escape(child)
            for child in children
            if child is not None
        )
    )


def data_uri(content: bytes, kind: str) -> Html:
    """Returns a file's content as a URI; `kind` is its media type."""
    return Html(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")


def embedded(name: str, value: Any) -> Html:
    """Returns a script element with the id `name` that holds `value` as JSON.

    The text holds none of the characters that could end the element.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{name}">{text}</script>')


def table(
    heads: Sequence[object], rows: Iterable[Sequence[object]], *, label: str
) -> Html:
    """Returns a table that scrolls inside of itself where the page is narrow.

    Args:
      heads: heads of the columns.
      rows: cells; numbers are aligned to the right.
      label: what the table holds, for screen readers.
    """
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    body = [
        tag("tr", *(tag("td", cell, class_=_class_of(cell)) for cell in row))
        for row in rows
    ]
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *body)),
        class_="scroll",
        role="region",
        aria_label=label,
        tabindex="0",
    )


def _class_of(cell: object) -> str | None:
    return "number" if isinstance(cell, Number) else None


class Number(str):
    """A number as text, for a cell that is aligned to the right."""

    __slots__ = ()


def number(value: object) -> Number:
    """Returns a value in at most four digits, and steps with all of theirs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Number("" if value is None else value)
    return Number(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")


def section(name: str, title: str, *children: object) -> Html:
    """Returns a section with a heading, which `#name` leads to."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def document(
    title: str, body: Html, *, scripts: Sequence[str] = (), style: str = "page.css"
) -> str:
    """Returns an HTML document that loads nothing and runs only these scripts.

    Args:
      title: its title.
      body: the contents of its body.
      scripts: names of the script files of this package to include, in order.
      style: name of the style sheet of this package.
    """
    codes = [_file(name) for name in scripts]
    allowed = " ".join(f"'{_digest(code)}'" for code in codes) or "'none'"
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
            tag(
                "meta",
                name_="viewport",
                content="width=device-width, initial-scale=1",
            ),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("title", title),
            Html(f"<style>\n{_file(style)}</style>"),
        )
    )
    ends = [Html(f"<script>{code}</script>") for code in codes]
    whole = tag("html", tag("head", head), tag("body", body, *ends), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _digest(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _file(name: str) -> str:
    return resources.files("sagan_jax.pictures").joinpath(name).read_text("utf-8")
