"""A recipe and a registry become a checked DAG; `with` is checked here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import networkx as nx
from pydantic import ValidationError

from forge_pipeline.compiled import ENGINE_FORMAT, ClassRef, Doing, Graph, InputRef, Node, Shape
from forge_pipeline.digest import digest_file, digest_json
from forge_pipeline.errors import EnvironmentFault, Problem, RecipeError
from forge_pipeline.fingerprint import code_digest, import_closure
from forge_pipeline.params import Params, Role
from forge_pipeline.recipe import Recipe, StepSpec
from forge_pipeline.recipe.suggest import suggest
from forge_pipeline.recipe.validation import param_problems
from forge_pipeline.registry import Registry
from forge_pipeline.sample import Json
from forge_pipeline.shapes import Export, Metric, Operator, Select, Source, Transform


def operator_problems(recipe: Recipe, registry: Registry) -> list[Problem]:
    """Name unknown operators and wrong parameters of a recipe that is wrong elsewhere too."""
    problems: list[Problem] = []
    for path in recipe.imports:
        registry.add_file(path)
    for spec in recipe.steps:
        cls = _class(recipe, spec, registry, problems)
        if cls is not None:
            _operator(recipe, spec, cls, problems)
    return problems


def compile_graph(recipe: Recipe, registry: Registry, directory: Path = Path()) -> Graph:
    """Check every step against its operator, and join them.

    Args:
        directory: where the relative paths of side files (presets) start.

    Raises:
        RecipeError: everything that is wrong, at once.
    """
    problems: list[Problem] = []
    for path in recipe.imports:
        registry.add_file(path)
    classes: dict[str, type[Operator]] = {}
    operators: dict[str, Operator] = {}
    for spec in recipe.steps:
        cls = _class(recipe, spec, registry, problems)
        if cls is not None:
            classes[spec.id] = cls
            operator = _operator(recipe, spec, cls, problems)
            if operator is not None:
                operators[spec.id] = operator
    for spec in recipe.steps:
        if spec.id in classes:
            problems += _port_problems(recipe, spec, classes)
            problems += _priority_problems(recipe, spec, classes[spec.id])
        if spec.id in operators:
            problems += _field_problems(recipe, spec, operators[spec.id], classes)
    if problems:
        raise RecipeError(problems)
    nodes = {spec.id: _node(recipe, spec, operators[spec.id], registry, directory) for spec in recipe.steps}
    return Graph(
        name=recipe.name,
        seed=recipe.seed,
        digest=_recipe_digest(nodes.values()),
        nodes=tuple(nodes[step] for step in _order(recipe)),
        executor=recipe.executor,
        workers=recipe.workers,
    )


def _priority_problems(recipe: Recipe, spec: StepSpec, cls: type[Operator]) -> list[Problem]:
    """Refuse an order for samples that nobody waits for: they go on one by one as they come."""
    if not spec.prioritise or issubclass(cls, Source | Select):
        return []
    text = f"step '{spec.id}': {spec.use} hands each sample on as it comes, so there is none to put first"
    return [
        Problem(recipe.where(spec.id, "prioritise"), text, "set `prioritise` on a source, or on a filter before it")
    ]


# --- operators and their parameters ---------------------------------------------------------------


def _class(recipe: Recipe, spec: StepSpec, registry: Registry, problems: list[Problem]) -> type[Operator] | None:
    cls = registry.find(spec.use)
    if cls is None or issubclass(cls, Metric):
        near = suggest(spec.use, [n for n in registry.names() if "." in n])
        hint = f"did you mean '{near}'?" if near else "`forge steps` lists them"
        problems.append(Problem(recipe.where(spec.id, "use"), f"step '{spec.id}': no operator '{spec.use}'", hint))
        return None
    return cls


def _operator(recipe: Recipe, spec: StepSpec, cls: type[Operator], problems: list[Problem]) -> Operator | None:
    before = len(problems)
    problems += _env_problems(recipe, spec, cls.Params)
    try:
        params = cls.Params.model_validate(dict(spec.params))
    except ValidationError as error:
        problems += param_problems(error, recipe, spec.id, spec.use, cls.Params)
        return None
    return cls(params) if len(problems) == before else None


def _env_problems(recipe: Recipe, spec: StepSpec, model: type[Params]) -> list[Problem]:
    locators = set(_names_with_role(model, "locator")) | set(_names_with_role(model, "machine"))
    return [
        Problem(
            recipe.where(spec.id, "with", *path),
            f"step '{spec.id}': parameter '{path[0]}' changes bytes, so it cannot come from the environment",
            f"--set steps.{spec.id}.with.{'.'.join(path)}=...",
        )
        for path in sorted(spec.env_paths)
        if path and path[0] not in locators
    ]


def _names_with_role(model: type[Params], role: str) -> list[str]:
    return [
        name
        for field_name, field in model.model_fields.items()
        if any(isinstance(mark, Role) and mark.name == role for mark in _marks(field))
        for name in {field_name, field.alias or field_name}
    ]


def _marks(field: Any) -> Iterable[Any]:
    yield from field.metadata
    for argument in get_args(field.annotation):
        yield from getattr(argument, "__metadata__", ())


def keyed_params(operator: Operator) -> dict[str, Json]:
    """Return the parameters that enter keys: all but locators and machine settings, defaults filled in."""
    unkeyed = {*_names_with_role(operator.Params, "locator"), *_names_with_role(operator.Params, "machine")}
    return {name: value for name, value in _all_params(operator).items() if name not in unkeyed}


def _all_params(operator: Operator) -> dict[str, Json]:
    return operator.params.model_dump(mode="json", by_alias=True)  # type: ignore[no-any-return]


# --- ports ----------------------------------------------------------------------------------------


def _port_problems(recipe: Recipe, spec: StepSpec, classes: Mapping[str, type[Operator]]) -> list[Problem]:
    takes = classes[spec.id].takes
    where = recipe.where(spec.id, "from")
    who = f"step '{spec.id}', {spec.use}"
    found = []
    for port, description in takes.items():
        if not description.optional and not spec.inputs.get(port):
            needs = "an input" if port == "in" else f"an input for its port '{port}'"
            example = "from: some_step" if port == "in" else f"from: {{{', '.join(f'{p}: some_step' for p in takes)}}}"
            found.append(Problem(where, f"{who}: needs {needs}", example))
    for port, refs in spec.inputs.items():
        if port not in takes:
            has = f"it has: {', '.join(takes)}" if takes else "a source takes none: remove `from`"
            found.append(Problem(where, f"{who}: has no port '{port}'", has))
            continue
        for ref in refs:
            kind = _kind(ref.step, recipe, classes)
            if kind and kind != takes[port].kind:
                message = f"{who}: port '{port}' takes {takes[port].kind} samples, but '{ref.step}' gives {kind}"
                hint = "put `video.frames` between them" if kind == "video" else ""
                found.append(Problem(where, message, hint))
    return found


def _kind(step: str, recipe: Recipe, classes: Mapping[str, type[Operator]]) -> str:
    """Follow selects up to what made the samples; empty where that has no operator."""
    by_id = {spec.id: spec for spec in recipe.steps}
    cls = classes.get(step)
    seen = set()
    while cls is not None and issubclass(cls, Select) and step not in seen:
        seen.add(step)
        refs = by_id[step].inputs.get("in", ())
        if not refs:
            return ""
        step = refs[0].step
        cls = classes.get(step)
    if cls is not None and issubclass(cls, Source | Transform):
        return cls.makes
    return "nothing: it is an export" if cls is not None and issubclass(cls, Export) else ""


def _field_problems(
    recipe: Recipe, spec: StepSpec, operator: Operator, classes: Mapping[str, type[Operator]]
) -> list[Problem]:
    """Find `source.*` fields that no source above can have: they would be missing for every sample, in silence."""
    ordered = {spec.prioritise["by"]} if spec.prioritise else set[str]()
    asked = operator.fields_read() | ordered
    wanted = sorted(name.removeprefix("source.") for name in asked if name.startswith("source."))
    sources = _sources_above(recipe, spec, classes)
    if not wanted or not sources or not all(source.tells for source in sources):
        return []
    known = sorted({"path", "digest", "content"}.union(*(source.tells for source in sources)))
    who = " and ".join(sorted({source.name for source in sources}))
    found = []
    for name in wanted:
        if name not in known:
            near = suggest(name, known)
            hint = f"did you mean 'source.{near}'?" if near else f"known: {', '.join(f'source.{one}' for one in known)}"
            message = f"step '{spec.id}', {spec.use}: no sample has a field 'source.{name}' from {who}"
            written = [param for param, value in spec.params.items() if f"source.{name}" in str(value)]
            path = ("prioritise", "by") if f"source.{name}" in ordered else ("with", *written[:1])
            found.append(Problem(recipe.where(spec.id, *path), message, hint))
    return found


def _sources_above(recipe: Recipe, spec: StepSpec, classes: Mapping[str, type[Operator]]) -> list[type[Source]]:
    by_id = {one.id: one for one in recipe.steps}
    pending, seen, found = [spec.id], set[str](), []
    while pending:
        step = pending.pop()
        if step in seen:
            continue
        seen.add(step)
        cls = classes.get(step)
        if cls is not None and issubclass(cls, Source):
            found.append(cls)
        pending += [ref.step for refs in by_id[step].inputs.values() for ref in refs]
    return found


# --- nodes ----------------------------------------------------------------------------------------


def _node(recipe: Recipe, spec: StepSpec, operator: Operator, registry: Registry, directory: Path) -> Node:
    metrics: dict[str, dict[str, Doing]] = {}
    if isinstance(operator, Select):
        metrics = {
            port: {label: _doing(metric, registry, directory) for label, metric in operator.metrics(port).items()}
            for port in operator.takes
            if spec.inputs.get(port)
        }
    extra: dict[str, Json] = {}
    if metrics:
        extra["metrics"] = {
            label if port == "in" else f"{port}.{label}": dict(metric.config)
            for port, labels in metrics.items()
            for label, metric in labels.items()
        }
    if operator.draws:
        extra |= {"seed": recipe.seed, "salt": getattr(operator.params, "salt", None) or spec.id}
    params = dict(operator.decide_params()) if isinstance(operator, Select) else keyed_params(operator)
    doing = _doing(operator, registry, directory, params, extra)
    facts = None
    if isinstance(operator, Source):
        facts = _doing(operator, registry, directory, {}, {"half": "facts"})
    limits = spec.max_errors
    return Node(
        id=spec.id,
        use=spec.use,
        shape=_shape(operator),
        doing=doing,
        inputs={port: tuple(InputRef(r.step, r.variant) for r in refs) for port, refs in spec.inputs.items()},
        makes=operator.makes if isinstance(operator, Source | Transform) else "image",
        many=isinstance(operator, Transform) and operator.many,
        facts=facts,
        finder=_finder(operator, doing.operator) if isinstance(operator, Source) else None,
        metrics=metrics,
        inspects=isinstance(operator, Export) and operator.inspects,
        folder=operator.folder() if isinstance(operator, Export) else "",
        kept=spec.cache == "keep" or (isinstance(operator, Transform) and operator.stored),
        cached=spec.cache != "off",
        on_error=spec.on_error,
        max_errors_count=limits.count,
        max_errors_share=limits.share,
        work=_work(operator),
        memory_expansion=_expansion(operator),
        child_share=operator.child_share() if isinstance(operator, Transform) else 1.0,
        child_px_max=operator.child_px_max() if isinstance(operator, Transform) else None,
        resources=spec.resources,
        prioritise=spec.prioritise,
    )


def _finder(source: Source, operator: ClassRef) -> ClassRef | None:
    """Say where a source's finder can be had without the operator; None where it is the operator that finds files."""
    cls = type(source)
    if cls.finder is None or cls.entries is not Source.entries or cls.roots is not Source.roots:
        return None
    module, name = cls.finder.__module__, cls.finder.__qualname__
    if not operator.file or module == operator.module:
        return ClassRef(module, name, operator.file)
    beside = import_closure(operator.module, operator.file).files.get(module)
    if beside is None:  # installed
        return ClassRef(module, name)
    # What lies in a package beside the file can be imported by that file alone.
    return ClassRef(module, name, str(beside)) if "." not in module else None


def _expansion(operator: Operator) -> float:
    """Return what a task of this step needs of memory; a select's task measures, and decides over no pixels."""
    if not isinstance(operator, Select):
        return operator.memory_expansion
    asked = [metric for port in operator.takes for metric in operator.metrics(port).values()]
    return max((metric.memory_expansion for metric in asked if metric.reads != "header"), default=1.0)


def _work(operator: Operator) -> str:
    """Name the most demanding class of work among an operator and the metrics it asks for."""
    asked = {operator.work}
    if isinstance(operator, Select):
        asked |= {metric.work for port in operator.takes for metric in operator.metrics(port).values()}
    return max(asked, key=("io", "cpu", "cpu_gil", "gpu").index)


def _doing(
    operator: Operator,
    registry: Registry,
    directory: Path,
    params: Mapping[str, Json] | None = None,
    extra: Mapping[str, Json] | None = None,
) -> Doing:
    ref = registry.ref(type(operator))
    config: dict[str, Json] = {
        "operator": operator.name,
        "version": operator.version,
        "code": code_digest(ref.module, ref.file),
        "libraries": {name: library_version(name) for name in sorted(operator.libraries)},
        "params": dict(keyed_params(operator) if params is None else params),
        "engine": ENGINE_FORMAT,
        **(extra or {}),
    }
    files = {label: directory / path for label, path in sorted(operator.files_read().items())}
    if files:
        config["files"] = {label: _side_file(path) for label, path in files.items()}
    fields_read = tuple(sorted(operator.fields_read()))
    if fields_read:
        config["fields"] = list(fields_read)
    return Doing(
        name=operator.name,
        operator=ref,
        params=_all_params(operator),
        config=config,
        digest=digest_json(config),
        reads=operator.reads,
        fields_read=fields_read,
        draws=operator.draws,
        side_files=tuple(str(path.absolute()) for path in files.values()),
    )


def library_version(distribution: str) -> str:
    """Return the version of an installed distribution.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        hint = f"pip install {distribution}  (or: pip install 'forge-pipeline[all]')"
        raise EnvironmentFault(f"package '{distribution}' is not installed, and a step needs it", hint) from None


def _side_file(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}", "check the path") from error


def _shape(operator: Operator) -> Shape:
    if isinstance(operator, Source):
        return "source"
    if isinstance(operator, Transform):
        return "transform"
    return "select" if isinstance(operator, Select) else "export"


def _order(recipe: Recipe) -> list[str]:
    """Return step ids in topological order, ties in the recipe's own order."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    position = {spec.id: i for i, spec in enumerate(recipe.steps)}
    graph.add_nodes_from(position)
    graph.add_edges_from((ref.step, spec.id) for spec in recipe.steps for refs in spec.inputs.values() for ref in refs)
    return list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))


def _recipe_digest(nodes: Iterable[Node]) -> str:
    """Name what a recipe means: configurations and edges by step, no path, no machine setting, no spelling."""
    return digest_json(
        {
            node.id: [
                node.use,
                node.doing.digest,
                {port: sorted([r.step, r.variant] for r in refs) for port, refs in node.inputs.items()},
            ]
            for node in nodes
        }
    )
