"""Write anew what the Python blocks of a page say that they print: the lines ``#> …`` at a block's end.

For instance after the generated code has changed, which *The life of a gradient* shows::

    python tools/printed.py docs/life-of-a-gradient.md

Read the difference before you commit it: this makes a page say what the code does, right or wrong.  Blocks with ``...``
among these lines, or with such lines in between, are left as they are.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Code, then nothing but expected lines.
EXPECTING = re.compile(r"(?P<code>(?:(?!#>)[^\n]*\n)+)(?P<printed>(?:#>[^\n]*\n)+)\Z")


def rewritten(page: str, name: str) -> str:
    """The page with what its blocks print now; they share their names and run from top to bottom."""
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def run(block: re.Match[str]) -> str:
        source = block.group(1)
        if source.lstrip().startswith(">>>"):
            return block.group()
        printed = io.StringIO()
        before = "\n" * page.count("\n", 0, block.start(1))  # so that a traceback shows the page's own line
        with contextlib.redirect_stdout(printed):
            exec(compile(before + source, name, "exec"), namespace)
        expecting = EXPECTING.match(source)
        if expecting is None or "#> ..." in source:
            return block.group()
        lines = [f"#> {line}".rstrip() + "\n" for line in printed.getvalue().splitlines()]
        return block.group().replace(source, expecting["code"] + "".join(lines))

    return BLOCK.sub(run, page)


def main() -> None:
    """Rewrite the pages that are named on the command line."""
    if len(sys.argv) < 2:
        sys.exit("name the pages, as in: python tools/printed.py docs/life-of-a-gradient.md")
    for path in [Path(argument).resolve() for argument in sys.argv[1:]]:
        before = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            after = rewritten(before, str(path))
        path.write_text(after, encoding="utf-8")
        print(f"{path.name}: {'as it was' if after == before else 'rewritten'}")


if __name__ == "__main__":
    main()
