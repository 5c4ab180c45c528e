"""The four shapes of operators, and what they see and give; no pydantic, which an unchanged run can do without."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, Protocol

from forge_pipeline.digest import digest_bytes
from forge_pipeline.finder import Entry, Finder
from forge_pipeline.sample import Fields, Json

if TYPE_CHECKING:
    from forge_pipeline.params import Params as AnyParams

Reads = Literal["bytes", "header", "pixels"]
Work = Literal["io", "cpu", "cpu_gil", "gpu"]


# --- what an operator sees and gives --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """An input of an operator: the kind of samples it takes, and whether it may be left open."""

    kind: str
    optional: bool = False
    description: str = ""


class File(Protocol):
    """The bytes of a source file, wherever they lie (on disk or inside an archive)."""

    @property
    def name(self) -> str:
        """Relative path with suffix."""

    @property
    def digest(self) -> str:
        """BLAKE3 of the bytes."""

    def read(self) -> bytes:
        """Return all bytes."""

    def open(self) -> BinaryIO:
        """Open the bytes for reading from the start, seekable: a header costs no more than itself."""

    def on_disk(self) -> contextlib.AbstractContextManager[Path]:
        """Lend a path of a real file with these bytes; an archive's member is unpacked for the time of the block."""


@dataclass(slots=True)
class Child:
    """One thing that an operator made; never changed (a frozen one takes three times as long to make).

    `suffix` is appended to the sample key by 1 to N operators, and empty of others.
    """

    value: Any
    suffix: str = ""
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Partial:
    """Yielded last by a Source or Transform that could use only a part of its input (a truncated video).

    Where nothing else was yielded, the input is dropped for this reason.
    """

    reason: str
    values: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draw:
    """A random source of its own: the same for the same seed, salt, input, variant and name, whatever else is drawn."""

    key: int
    """128 bits, to seed a generator of the operator's choice."""

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * ((self.key >> 75) / (1 << 53))

    def integer(self, count: int) -> int:
        """Return an integer in 0 .. count - 1 (bias under 2**-64 for any count below 2**64)."""
        return (self.key * count) >> 128


@dataclass(frozen=True, slots=True)
class Context:
    """What an operator may know beside its input: the declared fields and its draws."""

    fields: Fields = field(default_factory=dict)
    draw_key: bytes = b""
    """Recipe seed, step salt and input digest; empty for an operator that does not declare `draws`."""

    def draw(self, name: str, variant: int = 0) -> Draw:
        """Return the draw of that name: a new name or variant shifts no other."""
        if not self.draw_key:
            raise TypeError("this operator draws without declaring `draws = True`")
        material = f"{len(name)}:{name}:{variant}".encode()
        return Draw(int(digest_bytes(self.draw_key, material)[:32], 16))


# --- the shapes -----------------------------------------------------------------------------------


class Operator(ABC):
    """What the four shapes have in common. Class attributes are an operator's declaration; the engine trusts them."""

    name: ClassVar[str] = ""
    """The name in recipes: `tile.best` lives in tile/best.py. Set by the decorator."""
    version: ClassVar[int] = 0
    """Goes up when the pixels or fields it makes change. Set by the decorator."""
    Params: ClassVar[type[AnyParams]]
    """Its parameters. Where it names no model it has none."""
    takes: ClassVar[Mapping[str, Port]] = {"in": Port("image")}
    reads: ClassVar[Reads] = "pixels"
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions (as pip names them) whose version can change a result; all that the module's closure imports."""
    work: ClassVar[Work] = "cpu"
    memory_expansion: float = 2.0
    """Peak bytes in memory while it runs, as a multiple of the decoded bytes of an RGB image: its input counts, what it
    yields does not (see `Transform.child_share`); of a source, the decoded image counts, and its file does not.
    Tasks are admitted by it: measure it on a large photograph. Where it hangs on parameters, set it in `__init__`.
    """
    draws: ClassVar[bool] = False
    """Uses `context.draw`: the recipe's seed and the step's salt enter its keys."""

    def __init__(self, params: AnyParams) -> None:
        self.params: Any = params

    def fields_read(self) -> frozenset[str]:
        """Name the fields that change the result; they enter the key.

        `sample.key` and `sample.index` (rank in the sorted input, which makes the step wait for it) are the engine's.
        """
        return frozenset()

    def files_read(self) -> Mapping[str, str]:
        """Name side files (presets, look-up tables) by a label: their digests enter the key, their paths do not."""
        return {}


class Source(Operator):
    """No input: finds files, tells what their headers say, and loads them."""

    takes: ClassVar[Mapping[str, Port]] = {}
    reads: ClassVar[Reads] = "bytes"
    makes: ClassVar[str] = "image"
    tells: ClassVar[tuple[str, ...]] = ()
    """All `source.*` fields that `facts` can give, without `source.`: a recipe that names another is refused.

    Empty where it is not stated, and any is taken.
    """
    finder: ClassVar[type[Finder] | None] = None
    """What finds the files, where that needs no operator: an unchanged run then imports none of this source's code."""

    def entries(self, directory: Path) -> Iterator[Entry]:
        """Find the files, in any order; relative paths start at `directory`. A source without a `finder` says how.

        Raises CommandError for a path that is not there.
        """
        return self._finder().entries(directory)

    def roots(self, directory: Path) -> Sequence[Path]:
        """Name the folders that it searches, where no export may write; files that it finds need no naming."""
        return self._finder().roots(directory) if self.finder is not None else ()

    def _finder(self) -> Finder:
        if self.finder is None:
            raise TypeError("this source has neither a `finder` nor `entries` of its own")
        return self.finder(self.params.model_dump(mode="json", by_alias=True))

    @abstractmethod
    def facts(self, file: File) -> Fields:
        """Read what the header says, without decoding: `source.*` fields.

        An unreadable header gives fewer facts, never an error.
        """

    def load_expansion(self, facts: Fields) -> float:
        """Say what loading one file takes, as `memory_expansion` does, where that hangs on the facts of its header."""
        return self.memory_expansion

    @abstractmethod
    def load(self, file: File, context: Context) -> Iterator[Child | Partial]:
        """Turn a file into one sample with an empty suffix; raises DataError or Reject by the stated policies."""


class Transform(Operator):
    """One sample in, zero or more out; pure."""

    makes: ClassVar[str] = "image"
    many: ClassVar[bool] = False
    """1 to N: every child has a suffix, unique under its parent. Else one child, no suffix, the sample key stays."""
    stored: ClassVar[bool] = False
    """Its outputs are expensive or many: they are kept in the store and the chain is cut after it."""

    @abstractmethod
    def apply(self, value: Any, context: Context) -> Iterator[Child | Partial]:
        """Yield children one by one; never change `value`. Raises DataError, or Reject before the first child."""

    def child_share(self) -> float:
        """Say how many pixels a child has, as a share of its input's: it is held beside its input, and what follows
        needs memory for it.
        """
        return 1.0

    def child_px_max(self) -> int | None:
        """Say how many pixels a child has at most, where the parameters bound it."""
        return None


class Metric(Operator):
    """Measures one number (or short text, or list) of one sample. Shared by every step that names it."""

    direction: ClassVar[Literal["higher is better", "lower is better", "neither"]] = "neither"
    range: ClassVar[tuple[float | None, float | None]] = (None, None)
    unit: ClassVar[str] = ""
    source: ClassVar[str] = ""
    """Paper, equation or the convention it follows."""

    @abstractmethod
    def measure(self, value: Any) -> Json:
        """Return the measure of pixels (or of the header, where `reads` says so). Raises DataError."""


class Table(Protocol):
    """A dataset as columns, in sample key order."""

    @property
    def keys(self) -> Sequence[str]:
        """Sample keys, ascending by code point."""

    @property
    def digests(self) -> Sequence[str]:
        """Content digests, in the same order."""

    def column(self, name: str) -> Sequence[Any]:
        """Return a measured metric by its label, or a declared field (None where a sample lacks it)."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The sample stays; `fields` are added to it."""

    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """The sample is rejected, for a reason and with the values that led to it."""

    reason: str
    fields: Fields = field(default_factory=dict)


class Select(Operator):
    """Decides which samples of a whole dataset stay: measures one by one, then one decision over the columns."""

    @abstractmethod
    def metrics(self, port: str) -> Mapping[str, Metric]:
        """Name what must be measured on each sample of a port: label -> metric."""

    @abstractmethod
    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        """Judge every row of the port `in`, in its order. Tables of open optional ports are absent."""

    def decide_params(self) -> Fields:
        """Return the parameters that the decision depends on (default: all keyed ones)."""
        return self.params.model_dump(mode="json", by_alias=True)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a check of joined samples found: facts for the manifest, and images to export instead (a cropped HR)."""

    facts: Fields = field(default_factory=dict)
    replaced: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Joined:
    """One row of an export: the samples of all ports that share a sample key, and the file stem made from it."""

    key: str
    stem: str
    headers: Mapping[str, Fields]
    """By port: width, height, channels, dtype."""
    fields: Mapping[str, Fields]
    """By port: the fields named by `fields_read`."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One image file of an export: its path in the folder, and which joined sample and port fills it."""

    path: str
    key: str
    port: str
    encoding: Literal["payload", "source"] = "payload"
    """`payload`: the stored encoding (PNG). `source`: the source file's own bytes."""


class Export(Operator):
    """Writes a finished dataset to a folder; decides names and side files, the engine publishes them."""

    inspects: ClassVar[bool] = False
    """Has an `inspect` that looks at the pixels of every joined row."""

    @abstractmethod
    def folder(self) -> str:
        """Return the path it publishes to (a locator)."""

    def inspect(self, values: Mapping[str, Any]) -> Inspection:
        """Check the images of one joined row, by port. Raises DataError for a row that must not be exported."""
        return Inspection()

    @abstractmethod
    def files(self, rows: Sequence[Joined]) -> Iterable[ExportFile]:
        """Name the image files."""

    def side_files(self, rows: Sequence[Joined]) -> Mapping[str, bytes]:
        """Return small files beside the image folders (lists, snippets), by relative path."""
        return {}
