"""HTML pages: what is text stays text, and nothing is loaded from elsewhere."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from sagan_jax.pictures import page

NASTY = "</script><b onclick=\"x\">&amp; 'quoted' \u2028<!--"


class _Parsed(html.parser.HTMLParser):
    """The elements and texts of a page, as a browser's parser finds them."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_and_attributes_come_back_as_they_were() -> None:
    visible = NASTY.replace("\u2028", r"\u2028")
    parsed = _Parsed(page.tag("td", NASTY, 3, None, aria_label=NASTY, hidden=False))
    assert parsed.elements == [("td", {"aria-label": visible})]
    assert parsed.text == visible + "3"


def test_a_name_that_is_no_unicode_is_spelt_out() -> None:
    assert page.escape("caf\udce9\n").encode() == rb"caf\udce9\n"


def test_a_very_long_text_is_cut() -> None:
    assert len(page.escape("x" * 10**6)) == page.LONGEST + 3


def test_markup_inside_of_markup_is_not_escaped_again() -> None:
    inner = page.tag("b", "1 < 2")
    assert page.tag("p", inner, " & so") == "<p><b>1 &lt; 2</b> &amp; so</p>"


def test_embedded_json_cannot_end_its_element() -> None:
    value = {"names": [NASTY, "caf\u00e9"], NASTY: 0.5}
    parsed = _Parsed(page.embedded("data", value) + "<i>after</i>")
    assert [name for name, _ in parsed.elements] == ["script", "i"]
    assert json.loads(parsed.text.removesuffix("after")) == value


def test_numbers_that_are_not_json_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page.embedded("data", float("nan"))


def test_a_document_runs_only_its_own_scripts_and_loads_nothing() -> None:
    text = page.document(NASTY, page.tag("p", "hello"), scripts=["album.js"])
    scripts = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()) for s in scripts]
    policy = next(
        attributes["content"] or ""
        for name, attributes in _Parsed(text).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digests[0].decode()}'"
    assert not re.search(r"(src|href)=.?(http|//)|url\(|@import", text)


def test_a_table_aligns_numbers_and_can_be_scrolled_by_keyboard() -> None:
    text = page.table(["a"], [[page.number(1234)], ["x"]], label="T")
    assert '<td class="number">1,234</td>' in text
    assert "<td>x</td>" in text
    assert 'tabindex="0"' in text
