"""Encoding tiles as PNG beside OpenCV and Pillow: how long, and how large."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image as PilImage

from benchmarks.case import Call, Case, WrongAnswer
from benchmarks.ours import encode_png
from benchmarks.peers import PEERS
from benchmarks.photographs import Image, drawing, many, tiles

Encode = Callable[[Image], Any]


def cases() -> Iterator[Case]:
    """Yield tiles of photographs, a flat drawing, and a photograph of 2K."""
    yield _case("12 photograph tiles 512x512 RGB", tiles(12), 3, 1.0)
    yield _case("flat drawing 512x512 RGB", [drawing(512, 512)], None, 1 / 1.3)
    yield _case("photograph 2048x1365 RGB", many(1, 1365, 2048), 3, 1.0)


def _case(name: str, images: Sequence[Image], floor: float | None, size_floor: float) -> Case:
    encoders: dict[str, Encode] = {"cv2 default": _by_cv2, "Pillow level 6": _by_pillow}
    peers: dict[str, Call] = {peer: _all(encode, images) for peer, encode in encoders.items()}
    versions = {"cv2 default": PEERS["cv2"].version, "Pillow level 6": PEERS["Pillow"].version}
    sizes = {name: _bytes(encode, images) for name, encode in {"ours": encode_png, **encoders}.items()}
    return Case(
        "encode_png",
        name,
        _all(encode_png, images),
        lambda: _check(images),
        peers,
        versions,
        {"cv2 default": floor} if floor else {},
        sizes=sizes,
        size_floors={"cv2 default": size_floor},
        slow=len(images) == 1 and images[0].shape[0] > 512,
    )


def _all(encode: Encode, images: Sequence[Image]) -> Call:
    def call() -> None:
        for image in images:
            encode(image)

    return call


def _bytes(encode: Encode, images: Sequence[Image]) -> Callable[[], float]:
    return lambda: float(sum(len(encode(image)) for image in images))


def _by_cv2(image: Image) -> Any:
    # OpenCV wants BGR: turned is what a caller has to do, and it is a thousandth of the time.
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]


def _by_pillow(image: Image) -> bytes:
    stream = io.BytesIO()
    PilImage.fromarray(image).save(stream, "png")
    return stream.getvalue()


def _check(images: Sequence[Image]) -> None:
    for image in images:
        data = encode_png(image)
        by_cv2: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        by_pillow = np.asarray(PilImage.open(io.BytesIO(data)))
        for reader, found in (("OpenCV", by_cv2), ("Pillow", by_pillow)):
            if found is None or not np.array_equal(found, image):
                raise WrongAnswer(f"{reader} reads other pixels than were encoded")
