"""Takes a picture of a run's page, with a point of the attention explorer chosen.

    python tools/screenshot.py runs/quickstart/report.html docs/images/report.png
    python tools/screenshot.py PAGE OUT --width 390 --dark --point 0.3,0.7

It needs `pip install -e '.[browser]'` and Chromium: Debian's, or the one that the
variable CHROMIUM names.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from sagan_jax.files import whole


def screenshot(
    page: Path, *, width: int, height: int, dark: bool, point: tuple[float, float]
) -> bytes:
    """Returns a PNG of the top of a page in a window.

    Args:
      page: the HTML file.
      width: width of the window in pixels.
      height: its height.
      dark: whether the system prefers dark colours.
      point: where the pointer is over the explorer's image, from the top left corner,
        as parts of its height and width.
    """
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
        )
        tab.goto(page.absolute().as_uri())
        stage = tab.locator("#explorer-stage")
        if stage.count():
            stage.evaluate(
                """(stage, [y, x]) => {
                  const box = stage.getBoundingClientRect();
                  stage.dispatchEvent(new PointerEvent("pointermove", {
                    clientX: box.left + x * box.width, clientY: box.top + y * box.height
                  }));
                }""",
                list(point),
            )
        content: bytes = tab.screenshot()
        browser.close()
    return content


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and writes the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1180)
    parser.add_argument("--height", type=int, default=1180)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--point", default="0.5,0.5", help="row, column; 0 to 1")
    options = parser.parse_args(argv)
    y, x = map(float, options.point.split(","))
    picture = screenshot(
        options.page,
        width=options.width,
        height=options.height,
        dark=options.dark,
        point=(y, x),
    )
    whole.write_bytes(options.out, picture)


if __name__ == "__main__":
    main()
