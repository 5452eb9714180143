"""What the benchmarks share to print and to publish their tables."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path

import torch

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ASSETS = Path(__file__).parent.parent / "docs" / "assets"


def processor() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", information.read_text(encoding="utf-8"), re.MULTILINE)
        if names:
            return str(names[0])
    return platform.processor() or platform.machine()


def machine() -> str:
    """Where and when something was measured: a sentence."""
    return (
        f"Measured on {datetime.datetime.now(tz=datetime.UTC).date()} with Python {platform.python_version()} and "
        f"torch {torch.__version__} on {platform.system()}, {processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread(s)."
    )


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Rows as a Markdown table whose columns line up; columns of numbers are aligned to the right."""
    numbers = [all(re.fullmatch(r"[-+\d.,]*", row[place]) for row in rows) for place in range(len(heads))]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]

    def line(row: list[str]) -> str:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        return f"| {' | '.join(cells)} |"

    rule = [f"{'-' * (width - 1)}{':' if number else '-'}" for width, number in zip(widths, numbers, strict=True)]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Put a text between its markers, ``<!-- name: ... -->`` and ``<!-- end -->``, on a page."""
    marked = re.compile(rf"(<!-- {name}: .*?-->\n).*?(<!-- end -->)", re.DOTALL)
    content, found = marked.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page.read_text(encoding="utf-8"))
    if found != 1:
        raise SystemExit(f"{page} has {found} places for {name!r}")
    page.write_text(content, encoding="utf-8")
