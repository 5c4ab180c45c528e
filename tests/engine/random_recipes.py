"""Random recipes over the toy operators, and random edits of everything that a user can edit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from forge_pipeline import api
from forge_pipeline.events import Event, StepFinished
from tests.engine.worlds import World, restore_times

FOLDERS = ("one", "two")


@dataclass
class Step:
    """One line of a recipe."""

    id: str
    use: str
    source: Any = None
    params: dict[str, Any] = field(default_factory=dict)
    cache: str = "auto"
    matrix: bool = False

    def line(self) -> str:
        params = {**self.params, **({"amount": "${matrix.amount}"} if self.matrix else {})}
        parts: dict[str, Any] = {"use": self.use, "with": params}
        if self.source is not None:
            parts["from"] = self.source
        if self.cache != "auto":
            parts["cache"] = self.cache
        if self.matrix:
            parts["matrix"] = {"amount": [1, 2]}
        return f"{self.id}: {json.dumps(parts)}"


@dataclass
class Plan:
    """A recipe as it stands."""

    steps: list[Step]
    seed: int = 1
    bias: int = 0
    versions: dict[str, int] = field(default_factory=dict)

    def write(self, world: World) -> None:
        world.recipe("\n".join(step.line() for step in self.steps), seed=self.seed, defaults={"max_errors": "100%"})

    @property
    def uncached(self) -> bool:
        return any(step.cache == "off" for step in self.steps)


# --- recipes --------------------------------------------------------------------------------------

_LEVELS = st.sampled_from([0, 1, 2, 5, 9, 100, 255])
_PARAMS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "toy.read": st.fixed_dictionaries({"bias": st.sampled_from([0, 1])}),
    "toy.add": st.fixed_dictionaries(
        {},
        optional={
            "amount": st.integers(0, 3),
            "by": st.sampled_from(["amount", "key", "index", "note", "draw"]),
            "reject_over": _LEVELS,
            "fail_over": _LEVELS,
        },
    ),
    "toy.split": st.fixed_dictionaries({"size": st.integers(1, 3)}),
    "toy.frames": st.fixed_dictionaries({"size": st.integers(1, 3)}),
    "toy.shrink": st.just({}),
    "toy.random": st.just({}),
    "toy.keep": st.fixed_dictionaries(
        {}, optional={"least": _LEVELS, "most_width": st.integers(0, 4), "noted": st.booleans()}
    ),
    "toy.unique": st.fixed_dictionaries({}, optional={"most": st.integers(0, 6)}),
}
_MIDDLE = [name for name in _PARAMS if name != "toy.read"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Sources, up to five steps between, and one to three exports."""
    steps = [
        Step(f"src{n}", "toy.read", params={"path": folder, **draw(_PARAMS["toy.read"])})
        for n, folder in enumerate(FOLDERS[: draw(st.integers(1, 2))])
    ]
    for number in range(draw(st.integers(1, 5))):
        use = draw(st.sampled_from(_MIDDLE))
        names = [step.id for step in steps]
        source: Any = draw(st.sampled_from(names))
        if draw(st.integers(0, 3)) == 0:
            source = sorted({source, draw(st.sampled_from(names))})
        if use == "toy.keep" and draw(st.integers(0, 2)) == 0:
            source = {"in": source, "against": draw(st.sampled_from(names))}
        cache = draw(st.sampled_from(["auto", "auto", "auto", "keep", "off"]))
        matrix = use == "toy.add" and draw(st.integers(0, 4)) == 0
        params = {k: v for k, v in draw(_PARAMS[use]).items() if not (matrix and k == "amount")}
        steps.append(Step(f"step{number}", use, source, params, cache, matrix))
    last = steps[-1].id
    steps.append(Step("out", "toy.write", last, {"path": "out"}))
    if draw(st.booleans()):
        other = draw(st.sampled_from([step.id for step in steps[:-1]]))
        steps.append(Step("more", "toy.write", other, {"path": "more"}))
    if draw(st.booleans()):
        hr = draw(st.sampled_from([step for step in steps if step.use != "toy.write" and not step.matrix])).id
        use = draw(st.sampled_from(["toy.add", "toy.shrink"]))
        steps.append(Step("lr", use, hr, draw(_PARAMS[use]), matrix=use == "toy.add" and draw(st.booleans())))
        if steps[-1].matrix:
            steps[-1].params.pop("amount", None)
        steps.append(Step("pair", "toy.pair", {"a": hr, "b": "lr"}, {"path": "pair", "crop": draw(st.booleans())}))
    return Plan(steps)


# --- files ----------------------------------------------------------------------------------------

_NUMBERS = st.lists(st.sampled_from([0, 1, 2, 5, 9, 200, 255]), min_size=1, max_size=4)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A file's text: numbers, now and then a word that says what is wrong with it, now and then a note."""
    words = [str(number) for number in draw(_NUMBERS)]
    words += draw(st.sampled_from([[], [], [], [], ["broken"], ["small"], ["partial"]]))
    note = draw(st.sampled_from(["", "", " # sunny", " # rain"]))
    return " ".join(words) + note


NAMES = st.sampled_from(["a.txt", "b.txt", "c.txt", "d/a.txt", "é.txt"])
FILES = st.dictionaries(st.tuples(st.sampled_from(FOLDERS), NAMES), texts(), min_size=1, max_size=6)


def write_files(world: World, files: dict[tuple[str, str], str]) -> None:
    for folder in FOLDERS:
        (world.root / folder).mkdir(exist_ok=True)
    for (folder, name), text in files.items():
        world.file(f"{folder}/{name}", text)


# --- edits ----------------------------------------------------------------------------------------

Edit = Callable[[World, Plan], None]


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, Edit]:
    """One edit, with words for it."""
    kind = draw(st.sampled_from(sorted(_EDITS)))
    return kind, draw(_EDITS[kind])


@st.composite
def _change_params(draw: st.DrawFn) -> Edit:
    index, values = draw(st.integers(0, 20)), {use: draw(params) for use, params in _PARAMS.items()}

    def edit(world: World, plan: Plan) -> None:
        steps = [step for step in plan.steps if step.use in values]
        step = steps[index % len(steps)]
        kept = {name: value for name, value in step.params.items() if name == "path"}
        new = {name: value for name, value in values[step.use].items() if not (step.matrix and name == "amount")}
        step.params = {**kept, **new}
        plan.write(world)

    return edit


@st.composite
def _change_cache(draw: st.DrawFn) -> Edit:
    index, cache = draw(st.integers(0, 20)), draw(st.sampled_from(["auto", "keep", "off"]))

    def edit(world: World, plan: Plan) -> None:
        steps = [step for step in plan.steps if step.use not in ("toy.write", "toy.pair")]
        steps[index % len(steps)].cache = cache
        plan.write(world)

    return edit


@st.composite
def _change_source(draw: st.DrawFn) -> Edit:
    index, other = draw(st.integers(0, 20)), draw(st.integers(0, 20))

    def edit(world: World, plan: Plan) -> None:
        at = [n for n, step in enumerate(plan.steps) if step.use in _MIDDLE and not step.id.startswith("lr")]
        if at:
            step = plan.steps[at[index % len(at)]]
            above = [s.id for s in plan.steps[: plan.steps.index(step)]]
            step.source = above[other % len(above)]
            plan.write(world)

    return edit


@st.composite
def _write_file(draw: st.DrawFn) -> Edit:
    folder, name, text = draw(st.sampled_from(FOLDERS)), draw(NAMES), draw(texts())
    return lambda world, plan: _ignore(world.file(f"{folder}/{name}", text))


@st.composite
def _with_a_file(draw: st.DrawFn, change: Callable[[World, Any], None]) -> Edit:
    index = draw(st.integers(0, 20))

    def edit(world: World, plan: Plan) -> None:
        paths = sorted(path for folder in FOLDERS for path in (world.root / folder).rglob("*.txt"))
        if paths:
            change(world, paths[index % len(paths)])

    return edit


def _ignore(_: object) -> None:
    """Take anything."""


def _save_again(world: World, path: Any) -> None:
    path.write_text(path.read_text().replace(" ", "  ", 1) + " ")


def _replace_unseen(world: World, path: Any) -> None:
    before = path.stat()
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1) if "1" in text else text.replace("5", "9", 1))
    restore_times(path, before)


def _rename(world: World, path: Any) -> None:
    path.rename(path.with_name(f"z{path.name}"))


def _copy(world: World, path: Any) -> None:
    path.with_name(f"y{path.name}").write_bytes(path.read_bytes())


@st.composite
def _harm_payloads(draw: st.DrawFn) -> Edit:
    share, sort = draw(st.integers(1, 3)), draw(st.sampled_from(["delete", "flip"]))

    def edit(world: World, plan: Plan) -> None:
        for path in world.payloads():
            if int(path.stem[:6], 16) % share == 0:
                if sort == "delete":
                    path.unlink()
                else:
                    data = bytearray(path.read_bytes())
                    data[-20] ^= 4
                    path.write_bytes(data)

    return edit


@st.composite
def _options(draw: st.DrawFn) -> Edit:
    """A partial run, or a plan, in between."""
    what = draw(st.sampled_from(["sample", "until", "plan", "threads"]))
    index = draw(st.integers(0, 20))

    def edit(world: World, plan: Plan) -> None:
        if what == "plan":
            world.plan()
        elif what == "sample":
            world.run(sample=1 + index % 3)
        elif what == "threads":
            world.run(executor="threads", workers=3)
        else:
            steps = [step.id for step in plan.steps if not step.matrix]
            world.run(until=steps[index % len(steps)])

    return edit


@st.composite
def _interrupt(draw: st.DrawFn) -> Edit:
    """A run that Ctrl-C ends after so many steps."""
    nth, executor = draw(st.integers(1, 6)), draw(st.sampled_from(["inline", "threads"]))

    def edit(world: World, plan: Plan) -> None:
        finished = 0

        def announce(event: Event) -> None:
            nonlocal finished
            if isinstance(event, StepFinished):
                finished += 1
                if finished == nth:
                    os.kill(os.getpid(), signal.SIGINT)

        api.run(world.recipe_path, world.options(executor=executor, workers=2), announce)

    return edit


@st.composite
def _export_more(draw: st.DrawFn) -> Edit:
    """One more export, of a step whose images may never have been kept."""
    index = draw(st.integers(0, 20))

    def edit(world: World, plan: Plan) -> None:
        steps = [step.id for step in plan.steps if step.use not in ("toy.write", "toy.pair")]
        name = f"extra{len(plan.steps)}"
        plan.steps.append(Step(name, "toy.write", steps[index % len(steps)], {"path": name}))
        plan.write(world)

    return edit


@st.composite
def _rename_step(draw: st.DrawFn) -> Edit:
    index = draw(st.integers(0, 20))

    def edit(world: World, plan: Plan) -> None:
        step = plan.steps[index % len(plan.steps)]
        old, new = step.id, f"{step.id}x"

        def renamed(source: Any) -> Any:
            if isinstance(source, dict):
                return {port: renamed(ref) for port, ref in source.items()}
            if isinstance(source, list):
                return [renamed(ref) for ref in source]
            return new if source == old else source

        step.id = new
        for other in plan.steps:
            other.source = renamed(other.source)
        plan.write(world)

    return edit


def _bias(world: World, plan: Plan) -> None:
    plan.bias = 1 - plan.bias
    world.bias(plan.bias)


def _seed(world: World, plan: Plan) -> None:
    plan.seed = 3 - plan.seed
    plan.write(world)


def _version(world: World, plan: Plan) -> None:
    now = plan.versions.get("toy.add", 1)
    plan.versions["toy.add"] = now + 1
    world.edit_code(f'@operator("toy.add", version={now})', f'@operator("toy.add", version={now + 1})')


def _collect(world: World, plan: Plan) -> None:
    api.cache_collect(world.root / "cache", 1)


_EDITS: dict[str, st.SearchStrategy[Edit]] = {
    "params": _change_params(),
    "cache": _change_cache(),
    "source": _change_source(),
    "write": _write_file(),
    "remove": _with_a_file(lambda world, path: path.unlink()),
    "rename": _with_a_file(_rename),
    "copy": _with_a_file(_copy),
    "touch": _with_a_file(lambda world, path: os.utime(path)),
    "save again": _with_a_file(_save_again),
    "replace unseen": _with_a_file(_replace_unseen),
    "harm payloads": _harm_payloads(),
    "interrupt": _interrupt(),
    "one more export": _export_more(),
    "rename step": _rename_step(),
    "other run": _options(),
    "code beside": st.just(_bias),
    "seed": st.just(_seed),
    "version": st.just(_version),
    "collect": st.just(_collect),
    "unpublish": st.just(lambda world, plan: world.forget_exports()),
}
