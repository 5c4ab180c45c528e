"""DPID downscaling beside pepedpid, and beside a plain box mean, which says what reading the pixels costs at least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import dpid
from benchmarks.peers import PEERS
from benchmarks.photographs import enlarged, photograph
from tests.steps.resize.reference import dpid_reference

_SIDE_PX = 2048
# Where nearly all pixels of a cell equal their guidance its weights are ill-conditioned in pepedpid, which rounds
# its guidance more often: so many samples in a million may differ by more than 1e-6.
_ILL_CONDITIONED_PPM = 1000
_AGREE = 1e-6
_AGREE_ILL = 1e-4
# The reference works cell by cell in Python: a part of the picture is enough for it.
_CHECKED_PX = 96


def cases() -> Iterator[Case]:
    """Yield whole and fractional ratios, the usual and any other lambda, uint8 and float32."""
    for ratio, lam, floor in ((4, 0.5, 30), (8, 0.5, 30), (4, 1.0, 30), (8, 1.0, 30), (3.3, 0.5, 14), (4, 0.7, 15)):
        yield _case(ratio, lam, floor, np.uint8)
    yield _case(4, 0.5, 20, np.float32)


def _case(ratio: float, lam: float, floor: float, kind: type) -> Case:
    bytes_image = enlarged("astronaut", _SIDE_PX, _SIDE_PX)
    floats: Any = bytes_image.astype(np.float32) / np.float32(255)
    image: Any = bytes_image if kind is np.uint8 else floats
    size = round(_SIDE_PX / ratio)
    peers: dict[str, Call] = {
        "cv2 area": lambda: cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA),
    }
    if pepedpid := PEERS["pepedpid"].load():
        peers["pepedpid"] = lambda: pepedpid.dpid_resize(floats, size, size, lam)

    def check() -> None:
        _check_by_reference(ratio, lam, kind)
        if "pepedpid" in peers:
            _check_by_peer(dpid(floats, size, size, lam), peers["pepedpid"]())

    return Case(
        "dpid",
        f"{_SIDE_PX}x{_SIDE_PX} RGB {np.dtype(kind)}, x{ratio}, lambda {lam:g}",
        lambda: dpid(image, size, size, lam),
        check,
        peers,
        {"pepedpid": PEERS["pepedpid"].version, "cv2 area": PEERS["cv2"].version},
        {"pepedpid": floor},
        slow=lam == 1 or ratio == 8 or kind is np.float32,
    )


def _check_by_reference(ratio: float, lam: float, kind: type) -> None:
    """Compare with the paper's equations in float64; of uint8 the result is rounded to whole levels."""
    part: Any = photograph("chelsea")[80 : 80 + _CHECKED_PX, 120 : 120 + _CHECKED_PX]
    size = round(_CHECKED_PX / ratio)
    levels = dpid_reference(part, size, size, lam)
    if kind is np.uint8:
        error = float(np.abs(dpid(part, size, size, lam) - levels).max())
        allowed = 0.5 + 255 * _AGREE_ILL
    else:
        found = dpid(part.astype(np.float32) / np.float32(255), size, size, lam)
        error, allowed = float(np.abs(found - levels / 255).max()), 2e-6
    if error > allowed:
        raise WrongAnswer(f"differs by {error:.2g} from the paper in float64, expected at most {allowed:.2g}")


def _check_by_peer(found: Any, theirs: Any) -> None:
    apart = np.abs(found.astype(np.float64) - np.asarray(theirs).reshape(found.shape))
    ppm = 1e6 * float(np.mean(apart > _AGREE))
    if apart.max() > _AGREE_ILL or ppm > _ILL_CONDITIONED_PPM:
        raise WrongAnswer(f"differs from pepedpid by up to {apart.max():.2g}, by over {_AGREE:g} in {ppm:.0f} ppm")
