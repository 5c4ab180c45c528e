"""Numbers as people read them: bytes, durations, counts with their noun."""

from __future__ import annotations

_BYTE_UNITS = ("kB", "MB", "GB", "TB", "PB")


def bytes_text(count: int) -> str:
    """Spell a number of bytes with three digits at most after rounding: `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _BYTE_UNITS:
        value /= 1000
        # Judged after rounding, so that 999,999 bytes read `1.0 MB` and not `1000 kB`.
        if value < 999.5 or unit == _BYTE_UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def seconds_text(seconds: float) -> str:
    """Spell a duration: `12 ms`, `3.4 s`, `2m 05s`, `3h 07m`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def each_text(seconds: float) -> str:
    """Spell what one of many took: `0.17 ms`, `6.3 ms`, else as any duration."""
    return f"{seconds * 1000:.2g} ms" if 0 < seconds < 0.00995 else seconds_text(seconds)


def count_text(count: int, noun: str) -> str:
    """Spell a count with its noun: `1 sample`, `12,000 samples`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
