"""Draw the pictures in docs/assets: the first Python block of README.md writes ``graph.svg``, and this puts it there.

To draw, and to fail where the picture that is checked in isn't what the code draws::

    python tools/pictures.py
    python tools/pictures.py --check
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "assets" / "ten-lines.svg"


def first_block(page: Path) -> str:
    """The first Python block of a page."""
    block = re.search(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if block is None:
        raise SystemExit(f"{page} has no Python block")
    return block.group(1)


def draw() -> str:
    """The SVG that the block draws, run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere):
            exec(compile(first_block(ROOT / "README.md"), "README.md", "exec"), {"__name__": "__main__"})
        return Path("graph.svg").read_text(encoding="utf-8")


def main() -> None:
    """Draw, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the picture is out of date")
    drawn = draw()
    if not parser.parse_args().check:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(drawn, encoding="utf-8")
    elif PICTURE.read_text(encoding="utf-8") != drawn:
        sys.exit(f"{PICTURE.relative_to(ROOT)} isn't what README.md draws; draw it again: python tools/pictures.py")


if __name__ == "__main__":
    main()
