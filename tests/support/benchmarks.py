"""What the benchmarks share: the machine's line, Markdown tables, sections of a document."""

import datetime as dt
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line: processor, how many of them this process may use, memory, system, Python."""
    about = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", about)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{name[1] if name else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GiB, {platform.system()} {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def versions(*packages: str) -> str:
    """Name installed packages with their versions."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def today() -> str:
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(cells):
        first, *rest = zip(cells, widths, strict=True)
        return f"| {first[0].ljust(first[1])} | " + " | ".join(c.rjust(w) for c, w in rest) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(cells) for cells in [head, rule, *rows])


def replace_section(document: Path, name: str, text: str) -> None:
    """Put ``text`` between a document's marks of this name: lines ``<!-- bench:NAME -->`` and
    ``<!-- /bench:NAME -->``."""
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    before, found, rest = document.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{document}: no section {name}; expected {start} and {end}")
    document.write_text(f"{before}{start}\n{text.strip()}\n{end}{after}")
