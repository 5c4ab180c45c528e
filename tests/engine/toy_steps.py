"""Light operators for tests of the engine: a file is a line of numbers, an image is those numbers in one gray row.

Copied into a test's own folder and imported by its recipe, so that a test can edit "the code" as a user would.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import toy_constants
from pydantic import Field

from forge_pipeline.errors import CommandError
from forge_pipeline.sample import Fields, Json, Location
from forge_pipeline.step import (
    LOCATOR,
    MACHINE,
    Child,
    Context,
    DataError,
    Drop,
    Entry,
    Export,
    ExportFile,
    File,
    Inspection,
    Joined,
    Keep,
    Metric,
    Params,
    Partial,
    Port,
    Reject,
    Select,
    Source,
    Table,
    Transform,
    metric,
    operator,
)
from tests.engine.calls import CALLS, SWITCHES


def image(values: Sequence[int] | Any) -> Any:
    return np.array(values, np.uint8).reshape(1, -1, 1)


def numbers(value: Any) -> list[int]:
    return [int(v) for v in value[0, :, 0]]


# --- a source -------------------------------------------------------------------------------------


class ReadParams(Params):
    path: Annotated[str, LOCATOR] = Field(description="folder")
    bias: int = Field(default=0, description="added to every number")
    shuffled: Annotated[int, MACHINE] = Field(default=0, description="seed of the order in which files are listed")


@operator("toy.read", version=1)
class Read(Source):
    """A file holds numbers, and behind `#` a comment that no pixel shows; `broken` and `small` are what they say."""

    Params = ReadParams
    libraries = ("numpy",)

    def entries(self, directory: Path) -> Iterator[Entry]:
        root = directory / self.params.path
        if not root.is_dir():
            raise CommandError(f"toy.read: {self.params.path} is not there")
        found = [path for path in sorted(root.rglob("*")) if path.is_file()]
        if self.params.shuffled:
            random.Random(self.params.shuffled).shuffle(found)
        for path in found:
            yield Entry(path.relative_to(root).as_posix(), Location(str(path)))

    def roots(self, directory: Path) -> list[Path]:
        return [directory / self.params.path]

    def facts(self, file: File) -> Fields:
        data = file.read()
        return {"source.bytes": len(data), "source.note": data.decode().partition("#")[2].strip()}

    def load(self, file: File, context: Context) -> Iterator[Child | Partial]:
        CALLS.append(f"load {file.name}")
        text = file.read().decode().partition("#")[0]
        if "broken" in text:
            raise DataError("truncated", "this file is truncated")
        if "small" in text:
            raise Reject("small", {"width": 0})
        if "crash" in text and SWITCHES.get("crash", True):
            raise RuntimeError("nobody foresaw this")
        values = [int(word) for word in text.split() if word.isdigit()]
        yield Child(image([(v + self.params.bias) % 256 for v in values]))
        if "partial" in text:
            yield Partial("truncated", {"read": len(values)})


# --- transforms -----------------------------------------------------------------------------------


class AddParams(Params):
    amount: int = Field(default=1, description="added to every number")
    by: Literal["amount", "key", "index", "note", "draw"] = Field(default="amount", description="what else is added")
    reject_over: int = Field(default=255, description="reject where the first number is larger")
    fail_over: int = Field(default=255, description="fail where the first number is larger")


@operator("toy.add", version=1)
class Add(Transform):
    """Add to every number; by the sample's key, rank, note or draw, where that is asked for."""

    Params = AddParams
    libraries = ("numpy",)
    draws = True

    def fields_read(self) -> frozenset[str]:
        fields = {"key": {"sample.key"}, "index": {"sample.index"}, "note": {"source.note"}}
        return frozenset(fields.get(self.params.by, ()))

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        values = numbers(value)
        CALLS.append(f"add {values}")
        if values[0] > self.params.fail_over:
            raise DataError("too_large", f"{values[0]} is over {self.params.fail_over}")
        if values[0] > self.params.reject_over:
            raise Reject("large", {"first": values[0]})
        more = {
            "amount": lambda: 0,
            "key": lambda: sum(context.fields["sample.key"].encode()),
            "index": lambda: context.fields["sample.index"],
            "note": lambda: len(context.fields["source.note"] or ""),
            "draw": lambda: context.draw("more").integer(100),
        }[self.params.by]()
        changed = [(v + self.params.amount + more + toy_constants.BIAS) % 256 for v in values]
        yield Child(image(changed), fields={"added": self.params.amount + more})


class SplitParams(Params):
    size: int = Field(default=2, ge=1, description="numbers a part")


class _Split(Transform):
    Params = SplitParams
    libraries = ("numpy",)
    many = True

    def apply(self, value: Any, context: Context) -> Iterator[Child | Partial]:
        values = numbers(value)
        CALLS.append(f"split {values}")
        for start in range(0, len(values), self.params.size):
            part = values[start : start + self.params.size]
            yield Child(image(part), f"p{start}", {"crop": [start, 0, len(part), 1]})
        if len(values) % self.params.size:
            yield Partial("uneven", {"left": len(values) % self.params.size})


@operator("toy.split", version=1)
class Split(_Split):
    """Cut an image into parts."""


@operator("toy.frames", version=1)
class Frames(_Split):
    """Cut an image into parts that are kept, as frames of a video are."""

    stored = True


@operator("toy.random", version=1)
class Random(Transform):
    """Not deterministic when its switch is on."""

    libraries = ("numpy",)

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        CALLS.append(f"random {numbers(value)}")
        yield Child(image([(v + SWITCHES.get("random", 0)) % 256 for v in numbers(value)]))


@operator("toy.shrink", version=1)
class Shrink(Transform):
    """Leave out the last number."""

    libraries = ("numpy",)

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        CALLS.append(f"shrink {numbers(value)}")
        yield Child(image(numbers(value)[:-1]))


class TableParams(Params):
    table: Annotated[str, LOCATOR] = Field(description="file with one number")


@operator("toy.table", version=1)
class AddTable(Transform):
    """Add the number that a side file holds."""

    Params = TableParams
    libraries = ("numpy",)

    def files_read(self) -> Mapping[str, str]:
        return {"table": self.params.table}

    def apply(self, value: Any, context: Context) -> Iterator[Child]:
        CALLS.append(f"table {numbers(value)}")
        more = int(Path(self.params.table).read_text())
        yield Child(image([(v + more) % 256 for v in numbers(value)]))


# --- metrics and selects --------------------------------------------------------------------------


@metric("toy.mean", version=1)
class Mean(Metric):
    """The integer mean; of 255 first, it cannot be told."""

    libraries = ("numpy",)

    def measure(self, value: Any) -> Json:
        values = numbers(value)
        CALLS.append(f"mean {values}")
        if values[0] == 255:
            raise DataError("no_mean", "255 has no mean")
        return sum(values) // len(values)


@metric("toy.width", version=1)
class Width(Metric):
    """The width, from the header alone."""

    reads = "header"

    def measure(self, value: Any) -> Json:
        CALLS.append("width")
        return value["width"]


class KeepParams(Params):
    least: int = Field(default=0, description="smallest mean that stays")
    most_width: int = Field(default=1000, description="largest width that stays")
    noted: bool = Field(default=False, description="only samples whose source has a note")


@operator("toy.keep", version=1)
class KeepOver(Select):
    """Keep what is bright and narrow enough, and unlike all of `against`."""

    Params = KeepParams
    takes: ClassVar[Mapping[str, Port]] = {"in": Port("image"), "against": Port("image", optional=True)}

    def metrics(self, port: str) -> Mapping[str, Metric]:
        return {"mean": Mean(Params()), "width": Width(Params())} if port == "in" else {"mean": Mean(Params())}

    def fields_read(self) -> frozenset[str]:
        return frozenset({"source.note"}) if self.params.noted else frozenset()

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        CALLS.append("decide keep")
        table = tables["in"]
        taken = set(tables["against"].column("mean")) if "against" in tables else set()
        notes = table.column("source.note") if self.params.noted else ["-"] * len(table.keys)
        columns = zip(table.column("mean"), table.column("width"), notes, strict=True)
        return [self._judge(mean, width, note, taken) for mean, width, note in columns]

    def _judge(self, mean: int, width: int, note: str, taken: set[int]) -> Keep | Drop:
        if mean < self.params.least:
            return Drop("dark", {"mean": mean})
        if width > self.params.most_width:
            return Drop("wide", {"width": width})
        if mean in taken:
            return Drop("taken", {"mean": mean})
        return Keep({"mean": mean}) if note else Drop("unnoted")


class UniqueParams(Params):
    most: int = Field(default=1000, description="samples that stay at most")


@operator("toy.unique", version=1)
class Unique(Select):
    """Keep the first of equal images, and so many in all; measures nothing."""

    Params = UniqueParams

    def metrics(self, port: str) -> Mapping[str, Metric]:
        return {}

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        CALLS.append("decide unique")
        first: dict[str, str] = {}
        verdicts: list[Keep | Drop] = []
        for key, digest in zip(tables["in"].keys, tables["in"].digests, strict=True):
            if digest in first:
                verdicts.append(Drop("same", {"as": first[digest]}))
            elif len(first) >= self.params.most:
                verdicts.append(Drop("many"))
            else:
                first[digest] = key
                verdicts.append(Keep({"rank": len(first) - 1}))
        return verdicts


# --- exports --------------------------------------------------------------------------------------


class WriteParams(Params):
    path: Annotated[str, LOCATOR] = Field(description="folder")


@operator("toy.write", version=1)
class Write(Export):
    """Publish one dataset."""

    Params = WriteParams

    def folder(self) -> str:
        return self.params.path

    def files(self, rows: Sequence[Joined]) -> Iterator[ExportFile]:
        for row in rows:
            yield ExportFile(f"images/{row.stem}.png", row.key, "in")


class PairParams(WriteParams):
    crop: bool = Field(default=False, description="make `a` as wide as `b`, where it is wider")


@operator("toy.pair", version=1)
class Pair(Export):
    """Publish two datasets as pairs of equal width."""

    Params = PairParams
    takes: ClassVar[Mapping[str, Port]] = {"a": Port("image"), "b": Port("image")}
    inspects = True
    libraries = ("numpy",)

    def folder(self) -> str:
        return self.params.path

    def inspect(self, values: Mapping[str, Any]) -> Inspection:
        a, b = numbers(values["a"]), numbers(values["b"])
        CALLS.append(f"inspect {a} {b}")
        if SWITCHES.get("inspect crashes"):
            raise RuntimeError("nobody foresaw this")
        if len(a) == len(b):
            return Inspection({"widths": "equal"})
        if self.params.crop and len(a) > len(b):
            return Inspection({"widths": "cropped"}, {"a": image(a[: len(b)])})
        raise DataError("size_mismatch", f"a is {len(a)} wide, b {len(b)}")

    def files(self, rows: Sequence[Joined]) -> Iterator[ExportFile]:
        for row in rows:
            yield ExportFile(f"a/{row.stem}.png", row.key, "a")
            yield ExportFile(f"b/{row.stem}.png", row.key, "b")
