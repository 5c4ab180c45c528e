"""A recipe file into a Recipe: read, merge, override, check, build."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe.check import Check, Draft
from forge_pipeline.recipe.include import read_bundle
from forge_pipeline.recipe.model import StepModel, share_of
from forge_pipeline.recipe.override import with_overrides
from forge_pipeline.recipe.resolved import Defaults, MaxErrors, Recipe, StepSpec
from forge_pipeline.recipe.terms import UNRESOLVED
from forge_pipeline.sample import Json


def load_recipe(path: Path, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Recipe:
    """Load a recipe of any of the three formats.

    Args:
        path: the file; its suffix tells the format (.yaml, .yml, .hcl, .json).
        sets: assignments of the command line, `vars.scale=2` or `steps.clean.with.keep=...`.
        environ: what `${env:NAME}` sees; default: the environment of this process.

    Raises:
        CommandError: the file is not there.
        RecipeError: everything wrong with the recipe.
    """
    bundle = read_bundle(path)
    if bundle.root is None or not bundle.complete:
        raise RecipeError(bundle.problems)
    root, problems = with_overrides(bundle.root, sets)
    try:
        checked = Check(root, [*bundle.problems, *problems], os.environ if environ is None else environ).checked()
    except RecipeError as error:
        specs = [_partial_spec(draft) for draft in error.partial]
        steps = tuple(spec for spec in specs if spec is not None)
        error.partial = Recipe(
            path, path.stem, 0, "", Defaults(), steps, tuple(bundle.imports), tuple(bundle.files), {}, tree=root
        )
        raise
    model = checked.model
    defaults = Defaults(model.defaults.on_error, max_errors_of(model.defaults.max_errors))
    return Recipe(
        path=path,
        name=model.name if "name" in model.model_fields_set else path.stem,
        seed=model.seed,
        description=model.description,
        defaults=defaults,
        steps=tuple(_spec(draft, model.steps[draft.id], defaults) for draft in checked.drafts),
        imports=tuple(bundle.imports),
        files=tuple(bundle.files),
        vars=checked.vars,
        executor=model.executor or "",
        workers=model.workers,
        tree=root,
    )


def max_errors_of(value: int | float | str) -> MaxErrors:
    """Read a checked `max_errors`: a count, a share, or a percentage."""
    if isinstance(value, str):
        return MaxErrors(share=float(share_of(value)))
    return MaxErrors(count=value) if isinstance(value, int) else MaxErrors(share=value)


def _partial_spec(draft: Draft) -> StepSpec | None:
    """Return what an operator's parameters can be checked by, of a step whose recipe is wrong elsewhere."""
    if not isinstance(draft.data, dict) or not isinstance(draft.data.get("use"), str):
        return None
    params = draft.data.get("with", {})
    if not isinstance(params, dict) or _has_unresolved(params):
        return None
    return StepSpec(
        id=draft.id,
        use=draft.data["use"],
        inputs={},
        params=params,
        on_error="",
        max_errors=MaxErrors(),
        cache="",
        resources={},
        prioritise={},
        note="",
        matrix={},
        base_id=draft.base,
        env_paths=draft.env_paths,
    )


def _has_unresolved(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_has_unresolved, value.values()))
    if isinstance(value, list):
        return any(map(_has_unresolved, value))
    return value is UNRESOLVED


def _spec(draft: Draft, step: StepModel, defaults: Defaults) -> StepSpec:
    said = step.model_fields_set
    return StepSpec(
        id=draft.id,
        use=step.use,
        inputs=draft.inputs,
        params=draft.data.get("with", {}),
        on_error=step.on_error if "on_error" in said else defaults.on_error,
        max_errors=max_errors_of(step.max_errors) if "max_errors" in said else defaults.max_errors,
        cache=step.cache,
        resources=step.resources.model_dump(exclude_none=True),
        prioritise=step.prioritise.model_dump() if step.prioritise is not None else {},
        note=step.note,
        matrix=dict(draft.variant.values) if draft.variant else {},
        base_id=draft.base,
        env_paths=draft.env_paths,
    )
