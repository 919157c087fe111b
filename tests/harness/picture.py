"""The README's picture of a page: what one sees first, 1,200 wide, in few colours.

    python tests/harness/picture.py data/demo/report.html docs/report.png

Fonts are those of this machine: `apt install fonts-inter` makes it look as it does for most.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from test_page_in_a_browser import drawn, installed

WIDTH, HEIGHT, COLOURS = 1200, 920, 64


def picture(page: Path, to: Path) -> int:
    """Photograph the top of a page; the size of the picture in bytes."""
    path, why = installed()
    if path is None:
        raise SystemExit(why)
    with sync_playwright() as driver, driver.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser:
        shown = drawn(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), page)
        whole = Image.open(io.BytesIO(shown.screenshot()))
    whole.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(to, optimize=True)
    return to.stat().st_size


if __name__ == "__main__":
    source, target = (Path(name).resolve() for name in sys.argv[1:3])
    sys.stdout.write(f"{target.name}: {picture(source, target):,} bytes\n")
