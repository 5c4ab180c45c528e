"""What is done to one sample: the branches of the graph below it, the keys of its actions, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from forge_pipeline.batches import Halved
from forge_pipeline.cache.store import Payload
from forge_pipeline.compiled import Doing, Graph, Node
from forge_pipeline.digest import canonical_json, digest_bytes, spell_text
from forge_pipeline.sample import Fields, Json, Link, Sample, spell_header

FILE_KIND = "file"
"""Kind of the samples that a source's load takes: a file found, not yet loaded."""


# --- results: what an action gave -----------------------------------------------------------------


class ChildResult(NamedTuple):
    """One child, relative to its parent."""

    suffix: str
    digest: str
    fields: Fields
    header: Fields

    @property
    def text(self) -> str:
        """Its canonical JSON."""
        suffix, digest, fields, header = self
        spelled = canonical_json(dict(fields)) if fields else "{}"
        return f"[{spell_text(suffix)},{spell_text(digest)},{spelled},{spell_header(header)}]"


@dataclass(slots=True)
class Result:
    """What an action gave; exactly one of the four outcomes, told by `kind`. Never changed.

    Attributes:
        kind: `children`, `value` (a measure, an inspection, facts), `reject` or `failure`.
        children: in the order in which the operator yielded them.
        value: any JSON value.
        reason: of a reject, a failure, or of what makes `children` partial.
        message: of a failure: the whole sentence.
        values: what led to the reason.
        lasting: whether the result may be recorded; a failure of the machine may not.
    """

    kind: str
    children: tuple[ChildResult, ...] = ()
    value: Json = None
    reason: str = ""
    message: str = ""
    values: Fields = field(default_factory=dict)
    lasting: bool = True
    _text: str = field(default="", init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """Its canonical JSON, spelled once."""
        if not self._text:
            self._text = self._spell()
        return self._text

    def _spell(self) -> str:
        if self.kind == "children" and not (self.reason or self.message or self.values):
            # As canonical_json spells it, from pieces that are spelled already: most results are this.
            return f'{{"children":[{",".join([child.text for child in self.children])}],"kind":"children"}}'
        out: dict[str, Any] = {"kind": self.kind}
        if self.kind == "children":
            out["children"] = [[c.suffix, c.digest, dict(c.fields), dict(c.header)] for c in self.children]
        if self.kind == "value":
            out["value"] = self.value
        if self.reason:
            out["reason"] = self.reason
        if self.message:
            out["message"] = self.message
        if self.values:
            out["values"] = dict(self.values)
        return canonical_json(out)


def read_result(text: str) -> Result:
    """Read a recorded result."""
    import json

    raw = json.loads(text)
    raw["children"] = tuple([ChildResult(*child) for child in raw.get("children", ())])
    result = Result(**raw)
    result._text = text
    return result


# --- action keys ----------------------------------------------------------------------------------


def action_inputs(doing: Doing, sample: Sample) -> str:
    """Spell what an action sees of a sample, as JSON: its content, as far as it reads it, and fields it declares."""
    content: Json = dict(sample.header) if doing.reads == "header" else sample.digest
    if doing.fields_read:
        return canonical_json([content, declared_fields(doing, sample)])
    # What most actions see. Hex digits are spelled as they are.
    return f'["{content}"]' if content is sample.digest and content.isalnum() else canonical_json([content])


def declared_fields(doing: Doing, sample: Sample) -> dict[str, Json]:
    """Return the fields that an operator declares to read, None where the sample lacks one."""
    if not doing.fields_read:
        return {}
    fields = sample.fields
    fields["sample.key"] = sample.key
    return {name: fields.get(name) for name in doing.fields_read}


def action_key(doing: Doing, inputs: str) -> str:
    """Name an action: its configuration and its inputs, as JSON text; nothing else."""
    return digest_bytes(f"{doing.digest}\n{inputs}".encode())


# --- composing samples ----------------------------------------------------------------------------


def compose_child(node: Node, parent: Sample, child: ChildResult, origin: tuple[str, str]) -> Sample:
    """Give a child its place: a key, the inherited trail, and where its bytes can be made again."""
    key = f"{parent.key}/{child.suffix}" if child.suffix else parent.key
    if node.shape == "source":
        trail: tuple[Link, ...] = (Link(node.id, {**parent.fields, **child.fields, "source.content": child.digest}),)
        return Sample(key, node.makes, child.digest, child.header, trail, parent.location, origin)
    above = parent.trail
    if above and not above[-1].step:  # a rank, which is no child's
        above = above[:-1]
    return Sample(key, node.makes, child.digest, child.header, (*above, Link(node.id, child.fields)), None, origin)


def ranked(sample: Sample, index: int) -> Sample:
    """Return a sample that knows its rank in the sorted dataset, for an operator that reads `sample.index`.

    The rank stands on a link without a step, which no child inherits.
    """
    return replace(sample, trail=(*sample.trail, Link("", {"sample.index": index})))


def through(sample: Sample, variant: str) -> Sample:
    """Return a sample as a consumer sees it that names all variants of a matrix step at once."""
    if not variant:
        return sample
    return replace(sample, key=f"{sample.key}/{variant}")


# --- branches: what hangs below a step ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric to measure, for one port of one select."""

    select: str
    port: str
    label: str
    variant: str
    doing: Doing
    timeout_s: float | None = None
    retries: int = 0
    cpu_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """A load or an apply, and the branch that its children go down. A cut chain hands its children back instead."""

    node: Node
    variant: str
    branch: Branch
    timeout_s: float | None = field(init=False)
    retries: int = field(init=False)
    cpu_fallback: bool = field(init=False)

    def __post_init__(self) -> None:
        # Looked up here, and not in the node's resources for every sample.
        for name in ("timeout_s", "retries", "cpu_fallback"):
            object.__setattr__(self, name, getattr(self.node, name))


@dataclass(frozen=True, slots=True)
class EarlyInspection:
    """An export that inspects joined rows, where the images of all its ports come by in one branch, one of the other.

    So all of them are there anyway when the last one is made, and none is held for this.

    Attributes:
        node: the export.
        ports: the step at each port; one is the branch's own, the others lie one below the other.
    """

    node: Node
    ports: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Branch:
    """What one worker does back to back with a sample of one step."""

    step: str
    chains: tuple[Chain, ...] = ()
    measures: tuple[Measure, ...] = ()
    store: bool = False
    inspections: tuple[EarlyInspection, ...] = ()
    """Done where the images are at hand, and left to the export where they are not."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.chains or self.measures or self.store)


def grow_branch(graph: Graph, step: str, walked: frozenset[str]) -> Branch:
    """Collect what is to be done with the samples of a step, as far as one worker goes: to selects, exports and cuts.

    Args:
        walked: the steps that are not reused whole.
    """
    chains, measures = [], []
    for node, port, variant in graph.consumers[step]:
        if node.id not in walked:
            continue
        if node.shape == "select":
            metrics = node.metrics.get(port, {})
            limits = (node.timeout_s, node.retries, node.cpu_fallback)
            measures += [Measure(node.id, port, label, variant, doing, *limits) for label, doing in metrics.items()]
        elif node.shape == "transform" and not waits_for_all(node):
            chains.append(Chain(node, variant, _child_branch(graph, node, walked)))
    return Branch(step, tuple(chains), tuple(measures), stores(graph, step), tuple(_inspections(graph, step, chains)))


def _inspections(graph: Graph, step: str, chains: Iterable[Chain]) -> Iterator[EarlyInspection]:
    """Find the exports that inspect rows of a sample and what is made of it, one for one, in its own branch."""
    lines = [{step, *line} for line in _lines(chains)]
    for node, _, variant in graph.consumers[step]:
        # One that hangs must not take with it all that the branch has done.
        if node.shape != "export" or not node.inspects or variant or node.timeout_s is not None:
            continue
        ports = {port: refs[0].step for port, refs in node.inputs.items() if len(refs) == 1 and not refs[0].variant}
        if len(ports) == len(node.inputs) and any(line.issuperset(ports.values()) for line in lines):
            yield EarlyInspection(node, ports)


def _lines(chains: Iterable[Chain]) -> Iterator[tuple[str, ...]]:
    """List the ways down that give one child for one sample, to their ends."""
    further = [chain for chain in chains if not chain.node.many and not chain.variant]
    for chain in further:
        for line in _lines(chain.branch.chains):
            yield (chain.node.id, *line)
    if not further:
        yield ()


def bare(branch: Branch, stores: bool = True) -> Branch:
    """Return a branch without its inspections: each is left until its export is come to.

    Args:
        stores: whether it still stores what it should.
    """
    chains = tuple(replace(chain, branch=bare(chain.branch, stores)) for chain in branch.chains)
    return replace(branch, chains=chains, inspections=(), store=branch.store and stores)


def source_branch(graph: Graph, node: Node, walked: frozenset[str]) -> Branch:
    """Return the branch that the files of a source go down: its load, and what hangs below."""
    return Branch(node.id, (Chain(node, "", _child_branch(graph, node, walked)),))


def _child_branch(graph: Graph, node: Node, walked: frozenset[str]) -> Branch:
    if cuts(graph, node):
        return Branch(node.id, store=stores(graph, node.id))
    return grow_branch(graph, node.id, walked)


def waits_for_all(node: Node) -> bool:
    """Tell whether a transform needs the rank of each sample, and so must wait for the whole dataset."""
    return "sample.index" in node.doing.fields_read


def cuts(graph: Graph, node: Node) -> bool:
    """Tell whether the chain ends after a step: its children become samples of tasks of their own."""
    return node.makes == FILE_KIND or node.makes == "video" or node.kept


def stores(graph: Graph, step: str) -> bool:
    """Tell whether a step's outputs are kept in the store (videos are not: they lie where they lie)."""
    node = graph[step]
    if node.makes != "image":
        return False
    if node.shape == "select":
        return False  # what comes out went in, and was stored then
    takers = [taker for taker, _, _ in graph.consumers[step]]
    return node.kept or any(t.shape in ("select", "export") or waits_for_all(t) for t in takers)


# --- tasks and what came of them ------------------------------------------------------------------


class Known(NamedTuple):
    """What is known of a task's actions and payloads: it goes along to workers that cannot ask the index."""

    results: Mapping[str, str]
    """By action key: recorded results as JSON text."""
    payloads: Mapping[str, Payload]


class Task(NamedTuple):
    """A branch applied to one sample: a pure function that runs anywhere.

    Attributes:
        ignore_known: run every action though it is known (`--verify`).
        known: set for a worker in another process.
        doubts: bytes were missed: payloads are looked for where they lie, whatever was said of them before.
    """

    number: int
    sample: Sample
    branch: Branch
    seed: int
    ignore_known: bool = False
    known: Known | None = None
    doubts: bool = False


class Done(NamedTuple):
    """One action that was looked at: its result and how it came about."""

    key: str
    doing: Doing
    inputs: str
    result: Result
    state: str
    """`ran`, `reused` or `rebuilt`."""
    seconds: float = 0.0


class Inspected(NamedTuple):
    """A row that was inspected before its export was come to.

    Attributes:
        payloads: images that the export gave instead of those it saw.
        header: of the largest image.
    """

    node: Node
    done: Done
    payloads: tuple[Payload, ...]
    header: Fields


class Visit(NamedTuple):
    """What was done with one sample of one branch."""

    sample: Sample
    measures: tuple[tuple[Measure, Done], ...] = ()
    chains: tuple[tuple[Chain, Done, tuple[Visit, ...]], ...] = ()
    """Each with the visits of its children."""
    inspected: tuple[Inspected, ...] = ()
    payload: Payload | None = None
    """Bytes that were put into the store."""
    broke: tuple[str, Result] | None = None
    """The worker was lost, in this step: nothing that it did below this sample is known."""


class InspectionTask(NamedTuple):
    """An export's look at the images of one joined row."""

    number: int
    node: Node
    samples: Mapping[str, Sample]
    """By port."""
    known: Known | None = None
    doubts: bool = False
    """As of a task."""


class Tried(NamedTuple):
    """A step broke for a reason that may pass, and its worker tried it again; `attempt` counts from 2."""

    step: str
    attempt: int
    reason: str


class Outcome(NamedTuple):
    """What came of a task: what it did, or the payload of its own sample that is missing, or a fault.

    Attributes:
        payloads: bytes that an inspection put into the store.
        missing: digest of the missing payload.
        fault: of the machine, or a broken promise: it ends the run.
        seconds: worker time of the whole task.
        halved: batches of models that did not fit their device.
        tried: what was tried again.
    """

    number: int
    visit: Visit | None = None
    inspected: Done | None = None
    payloads: tuple[Payload, ...] = ()
    missing: str = ""
    fault: BaseException | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    halved: tuple[Halved, ...] = ()
    tried: tuple[Tried, ...] = ()


def payloads_put(outcome: Outcome) -> Iterator[Payload]:
    """List what a task put into the store."""
    yield from outcome.payloads
    visits = [outcome.visit] if outcome.visit is not None else []
    while visits:
        visit = visits.pop()
        if visit.payload is not None:
            yield visit.payload
        for inspected in visit.inspected:
            yield from inspected.payloads
        for _, _, below in visit.chains:
            visits.extend(below)


class Whereabouts(NamedTuple):
    """Where a worker is: in which task, in which of its steps."""

    task: int
    step: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tasks that one worker does one after the other: enough work to be worth the way to another process.

    Attributes:
        memory_bytes: the working set that is estimated for it.
    """

    number: int
    tasks: tuple[Task | InspectionTask, ...]
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """What came of a chunk: an outcome of each of its tasks, or how the worker was lost that had it.

    Attributes:
        lost: how the worker ended: "was killed by SIGSEGV"; empty where it did not.
        expired: it was ended because a step took longer than its `timeout_s`.
        killed: it was killed from outside (for its memory, say), which may be no fault of what it did.
        gone: it went with its machine, which says nothing of memory.
        at: where the worker was when it was lost, where that is known.
        worker: which one had it; empty where that is not known.
    """

    number: int
    outcomes: tuple[Outcome, ...] = ()
    lost: str = ""
    expired: bool = False
    killed: bool = False
    gone: bool = False
    at: Whereabouts | None = None
    worker: str = ""


def failed_outcome(task: Task | InspectionTask, step: str, reason: str, message: str) -> Outcome:
    """Let a task's sample break as a whole: whoever did it is gone. Nothing of it is recorded for later runs.

    Args:
        step: where it was; empty where that is not known.
    """
    result = Result("failure", reason=reason, message=message, lasting=False)
    if isinstance(task, InspectionTask):
        return Outcome(task.number, inspected=_broken(task.node.doing, result))
    branch = task.branch
    step = step or [*(chain.node.id for chain in branch.chains), *(m.select for m in branch.measures)][0]
    # A select waits for a measure of each of its samples, or for the word that there is none.
    measures = tuple((measure, _broken(measure.doing, result)) for measure in branch.measures)
    told = any(measure.select == step for measure in branch.measures)
    return Outcome(task.number, Visit(task.sample, measures, broke=None if told else (step, result)))


def _broken(doing: Doing, result: Result) -> Done:
    return Done("", doing, "", result, "ran")
