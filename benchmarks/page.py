"""The table in the documentation, between its two marks, with the machine and the commands."""

from __future__ import annotations

from pathlib import Path

from benchmarks.baseline import Measurement
from benchmarks.table import markdown_table, verdict

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
BEGIN = "<!-- measured: written by `python -m benchmarks --write-page` -->"
END = "<!-- end -->"


def write_page(measured: Measurement, page: Path = PAGE) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n\n{section(measured)}\n\n{END}{after}")


def section(measured: Measurement) -> str:
    """Spell what stands between the marks."""
    return "\n\n".join([_where(measured), f"{verdict(measured.rows)}.", markdown_table(measured.rows)])


def _where(measured: Measurement) -> str:
    machine = measured.machine
    vectors = "with AVX-512" if machine["avx512"] else "without AVX-512"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commands = " and ".join(f"`{command}`" for command in measured.commands)
    return (
        f"Measured with {commands} at {machine['commit']}: {machine['processor']} {vectors}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GiB, {machine['system']}, Python {machine['python']}; "
        f"load {machine['load_before']} from other work when it began. Peers: {versions}."
    )
