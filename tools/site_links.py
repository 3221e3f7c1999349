"""Links of the documentation's pages that leave docs/, as a site of its own needs them.

A hook of mkdocs (mkdocs.yml). Pages are written for a reader of the repository, where a
link to a file works everywhere. The site holds only docs/: the home page takes in the
README, and a link to another file of the repository becomes the file's name, or a link
to the repository where `repo_url` of mkdocs.yml says where that is.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = "index.md"

# [text](target), with an optional anchor; not an image.
_LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)]*)?\)"
)
_IMAGE = re.compile(r"(?<=\]\()docs/(?=images/)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Returns the text of a page with the links of the site."""
    source, place = page.file.src_uri, posixpath.join("docs", page.file.src_uri)
    if source == HOME:
        place = "README.md"
        markdown = (ROOT / place).read_text(encoding="utf-8")
        markdown = _IMAGE.sub("", markdown)
    return rewritten(markdown, place, config.repo_url or "")


def rewritten(markdown: str, place: str, repository: str = "") -> str:
    """Returns Markdown whose links work from the site.

    Links that are broken are left as they are, for mkdocs to report.

    Args:
      markdown: the text.
      place: the path of the text in the repository; README.md is the home page.
      repository: address of the repository; '' if it has none.
    """
    folder = posixpath.dirname(place)
    # The home page stands in docs/ on the site, wherever its text is from.
    shown_in = folder or "docs"

    def new(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match["path"]))
        if not (ROOT / path).exists():
            return match[0]
        anchor = match["anchor"] or ""
        if path.startswith("docs/"):
            return f"[{match['text']}]({posixpath.relpath(path, shown_in)}{anchor})"
        if repository:
            address = f"{repository.rstrip('/')}/blob/main/{path}{anchor}"
            return f"[{match['text']}]({address})"
        return str(match["text"])

    return _LINK.sub(new, markdown)
