"""The table in the documentation, between its two marks, with the machine and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.case import Row
from benchmarks.table import markdown_table, verdict

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
_BEGIN = "<!-- measured: written by `python -m benchmarks --write-page` -->"
_END = "<!-- end -->"


def write_page(rows: Sequence[Row], machine: Mapping[str, Any], command: str, page: Path = PAGE) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    after = rest.split(_END, 1)[1]
    told = "\n\n".join([_where(machine, command), f"{verdict(rows)}.", markdown_table(rows)])
    page.write_text(f"{before}{_BEGIN}\n\n{told}\n\n{_END}{after}")


def _where(machine: Mapping[str, Any], command: str) -> str:
    vectors = "with AVX-512" if machine["avx512"] else "without AVX-512"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Measured with `{command}` at {machine['commit']}: {machine['processor']} {vectors}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GiB, {machine['system']}, Python {machine['python']}; "
        f"load {machine['load_before']} from other work when it began. Peers: {versions}."
    )
