"""The site of docs/ builds without a warning, and asks no other host for anything."""

import html.parser
import os
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from scripts import load

site_links = load("tools/site_links.py")
ROOT = Path(__file__).parents[1]


def _build(root: Path, to: Path) -> subprocess.CompletedProcess[str]:
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    # Not --quiet: it would hide warnings from --strict as well.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*command, "--site-dir", str(to)],
        cwd=root,
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("site")
    built = _build(ROOT, to)
    assert built.returncode == 0, built.stderr
    return to


class _Page(html.parser.HTMLParser):
    """Collects what a page loads, where its links go, and the ids they may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values:
            self.loads.append(values["href"])
        if "src" in values:
            self.loads.append(values["src"])


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        loads = _Page(page).loads
        assert loads
        assert not [x for x in loads if urllib.parse.urlsplit(x).netloc], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "@import" not in text
        assert "url(http" not in text
        assert "url(//" not in text


def test_internal_links_and_anchors_lead_somewhere(site: Path) -> None:
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    count = 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links start at the root of a server
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in pages:
                count += 1
                anchor = urllib.parse.unquote(parts.fragment)
                assert anchor in pages[target].ids, f"{path.name}: {link}"
    assert count > 100


def test_the_home_page_is_the_readme(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "images/quickstart_film.webp" in text
    assert 'href="metrics.html"' in text
    assert "as a functional JAX and Flax library" in text


def test_the_api_is_that_of_the_docstrings(site: Path) -> None:
    text = (site / "api" / "networks.html").read_text(encoding="utf-8")
    assert 'id="sagan_jax.networks.resnet.Generator"' in text
    assert "standard normal distribution" in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[there](training.md#no-such-heading)", "no-such-heading"),
        ("[there](no_such_page.md)", "no_such_page.md"),
        ("[there](../no_such_file.py)", "no_such_file.py"),
    ],
)
def test_a_broken_link_fails_the_build(
    tmp_path: Path, text: str, complaint: str
) -> None:
    for name in ("docs", "tools"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "tools" / "site_links.py", tmp_path / "tools")
    (tmp_path / "README.md").write_text("# Home\n")
    (tmp_path / "docs" / "index.md").write_text("# Home\n")
    (tmp_path / "docs" / "training.md").write_text(f"# Training\n\n{text}\n")
    settings = (ROOT / "mkdocs.yml").read_text().split("nav:")[0]
    settings = (
        settings.split("  - mkdocstrings:")[0]
        + "validation:"
        + (settings.split("validation:")[1])
    )
    (tmp_path / "mkdocs.yml").write_text(settings)
    built = _build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert complaint in built.stderr


@pytest.mark.parametrize(
    ("link", "place", "expected"),
    [
        ("[a](docs/data.md#x)", "README.md", "[a](data.md#x)"),
        ("[a](LICENSE)", "README.md", "[a](https://host/us/blob/main/LICENSE)"),
        ("[a](../LICENSE)", "docs/data.md", "[a](https://host/us/blob/main/LICENSE)"),
        ("[a](../data.md)", "docs/api/data.md", "[a](../data.md)"),
        ("[a](https://x/LICENSE)", "README.md", "[a](https://x/LICENSE)"),
        ("[a](#b)", "docs/data.md", "[a](#b)"),
        ("[a](nowhere.md)", "docs/data.md", "[a](nowhere.md)"),
    ],
)
def test_links_out_of_docs_lead_to_the_repository(
    link: str, place: str, expected: str
) -> None:
    assert site_links.rewritten(link, place, "https://host/us/") == expected


def test_without_a_repository_a_file_is_named() -> None:
    text = "See [the licence](LICENSE) and `x[0](y)`."
    expected = "See the licence and `x[0](y)`."
    assert site_links.rewritten(text, "README.md") == expected
