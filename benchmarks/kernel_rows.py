"""From the cases of a kernel to rows of the table: check, measure, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.case import Case, Row, WrongAnswer
from benchmarks.kernels import cases_of
from benchmarks.measure import QUICK, Effort, side_by_side
from benchmarks.threads import pin_imported

LIMIT = "limit"


def kernel_rows(kernel: str, quick: bool, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure every case of a kernel; a wrong answer is a row without figures."""
    for case in cases_of(kernel):
        if quick and case.slow:
            continue
        pin_imported()
        tell(f"{case.kernel}: {case.input}")
        try:
            case.check()
        except WrongAnswer as wrong:
            yield Row(case.kernel, case.input, "", "ms", floor=1.0, error=f"wrong answer: {wrong}")
            continue
        medians_ms = side_by_side({"ours": case.ours, **case.peers}, QUICK if quick else Effort())
        yield from rows_of(case, medians_ms, {name: size() for name, size in case.sizes.items()})


def rows_of(case: Case, medians_ms: Mapping[str, float], sizes: Mapping[str, float]) -> Iterator[Row]:
    """Compare ours with each peer and each limit of a case: medians and bytes by name, ours under `ours`."""
    ours = medians_ms["ours"]
    if case.at_most_ms is not None:
        ratio = case.at_most_ms / ours
        yield Row(case.kernel, case.input, LIMIT, "ms", ours, case.at_most_ms, ratio, 1.0, comparable=False)
    elif not case.peers:
        yield Row(case.kernel, case.input, "", "ms", ours, comparable=False)
    for peer in case.peers:
        theirs, version = medians_ms[peer], case.versions.get(peer, "")
        yield Row(case.kernel, case.input, peer, "ms", ours, theirs, theirs / ours, case.floors.get(peer), version)
    for peer in sizes:
        if peer != "ours":
            own, theirs = sizes["ours"] / 1000, sizes[peer] / 1000
            floor, version = case.size_floors.get(peer), case.versions.get(peer, "")
            yield Row(case.kernel, case.input, peer, "KB", own, theirs, theirs / own, floor, version)
