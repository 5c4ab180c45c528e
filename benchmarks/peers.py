"""The peers: which are installed, in which version, and how to install those that are not."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(frozen=True, slots=True)
class Peer:
    """A library beside which ours is measured."""

    name: str
    distribution: str
    module: str

    @property
    def version(self) -> str:
        """Its version, empty where it is not installed."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return ""

    def load(self, submodule: str = "") -> Any:
        """Import it or a part of it; None, told once, where that cannot be done."""
        name = f"{self.module}.{submodule}" if submodule else self.module
        if name in _unusable or importlib.util.find_spec(self.module) is None:
            return None
        try:
            if self.module in _USING_TORCHVISION:
                _make_torchvision_importable()
            return importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a peer does when it is imported: it is left out
            _unusable.add(name)
            print(f"{self.name} {self.version} is left out, it cannot be imported: {error}", file=sys.stderr)
            return None


_USING_TORCHVISION = ("pepedp", "imagededup")
_unusable: set[str] = set()


@functools.cache
def _make_torchvision_importable() -> Any:
    """Declare what torchvision misses where its own library does not load.

    PyPI's torchvision is built for CUDA. Beside a torch for CPUs it ends with `operator torchvision::nms does not
    exist` when it is imported. Nothing that is measured calls such an operator.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = importlib.import_module("torch.library").Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library  # whose end would take them back
    return None


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("pepedpid", "pepedpid", "pepedpid"),
        Peer("pepeline", "pepeline", "pepeline"),
        Peer("PepeDP", "pepedp", "pepedp"),
        Peer("imagehash", "ImageHash", "imagehash"),
        Peer("imagededup", "imagededup", "imagededup"),
        Peer("Pillow", "pillow", "PIL"),
        Peer("cv2", "opencv-python", "cv2"),
        Peer("PySceneDetect", "scenedetect", "scenedetect"),
        Peer("joblib", "joblib", "joblib"),
        Peer("Ray", "ray", "ray"),
        Peer("numpy", "numpy", "numpy"),
        Peer("PyAV", "av", "av"),
    )
}


def missing() -> list[str]:
    """Say, a line a peer, what is left out because it is not installed."""
    return [
        f"{peer.name} is not installed and left out: pip install -c constraints.txt -e '.[bench]'"
        for peer in PEERS.values()
        if not peer.version
    ]


def versions() -> dict[str, str]:
    """Return the versions of those that are installed."""
    return {name: peer.version for name, peer in PEERS.items() if peer.version}
