"""What a recipe may say: one pydantic model for the three formats, and which of its keys can change bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from forge_pipeline.recipe.terms import NAME, UNRESOLVED
from forge_pipeline.sample import Json

OnError = Literal["quarantine", "stop"]
Cache = Literal["auto", "keep", "off"]
Executor = Literal["auto", "inline", "threads", "processes", "ray"]
Told = tuple[str, tuple[str | int, ...]]
"""A sentence, and the path inside the checked value that it is about."""

BYTE_KEYS = frozenset(
    (
        *("forge", "name", "seed", "vars", "defaults", "include", "import", "steps"),
        *("use", "from", "with", "on_error", "max_errors", "matrix", "override"),
    )
)
"""Keys that decide what a run makes. Of these, an environment variable may enter `with` alone, and there only paths."""

MACHINE_KEYS = frozenset(("executor", "workers", "resources", "prioritise", "cache", "description", "note", "$schema"))
"""Keys of this machine, and words for people: they never enter an action key and never change bytes.

But for `resources.cpu_fallback`: it may change pixels, and what came of that is marked and not remembered.
"""

MAX_SEED = 2**64 - 1


def is_free_key(key: str) -> bool:
    """Tell whether a key is the user's own (`x-owner`): the engine looks at none of these."""
    return key.startswith("x-")


def told(*problems: Told) -> PydanticCustomError:
    """Make one validation error of sentences of our own, each about what stands at a path inside the value."""
    sentences = "; ".join(sentence for sentence, _ in problems)
    return PydanticCustomError("recipe", "{sentences}", {"sentences": sentences, "problems": problems})


def share_of(text: str) -> Decimal:
    """Read `1%` as a share. Raises ValueError for other text."""
    number = text.strip()
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", number):
        raise ValueError(text)
    share = Decimal(number[:-1].strip()) / 100
    if share > 1:
        raise ValueError(text)
    return share


def _checked_max_errors(value: Any) -> Any:
    """Take a count (5), a share (0.01) or a percentage ("1%")."""
    expected = 'expected a count such as 5, or a share such as "1%" or 0.01'
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise told((f"is {shown(value)}, {expected}", ()))
    if isinstance(value, str):
        try:
            share_of(value)
        except (ValueError, InvalidOperation):
            raise told((f"is {shown(value)}, {expected}", ())) from None
    elif value < 0 or (isinstance(value, float) and value > 1):
        raise told((f"is {shown(value)}, {expected}", ()))
    return value


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Make a check of a text's form that says in words what is expected."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise told((f"is {shown(value)}, expected {expected}", ()))
        return value

    return check


def _text_like(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def _checked_from(value: Any) -> Any:
    """Take an id, a list of ids, or a mapping of ports to either."""
    if isinstance(value, dict) and value:
        found = [one for port, ids in value.items() for one in _id_problems(ids, (port,), "a step id or a list of ids")]
    else:
        found = list(_id_problems(value, (), "a step id, a list of ids, or a mapping of ports to them"))
    if found:
        raise told(*found)
    return value


def _id_problems(ids: Any, path: tuple[str | int, ...], expected: str) -> Iterator[Told]:
    if isinstance(ids, list) and ids:
        for position, one in enumerate(ids):
            if one is not UNRESOLVED and (not isinstance(one, str) or not one):
                yield f"is {shown(one)}, expected a step id", (*path, position)
    elif ids is not UNRESOLVED and (not isinstance(ids, str) or not ids):
        yield f"is {shown(ids)}, expected {expected}", path


def _checked_matrix(value: Any) -> Any:
    """Take a mapping of names to lists of different scalars whose spelling can stand in a step id."""
    if not isinstance(value, dict) or not value:
        raise told((f"is {shown(value)}, expected a mapping such as {{kind: [jpeg, webp]}}", ()))
    found = [problem for name, choices in value.items() for problem in _choice_problems(name, choices)]
    if found:
        raise told(*found)
    return value


def _choice_problems(name: str, choices: Any) -> Iterator[Told]:
    if not re.fullmatch(NAME, name):
        yield f"has the name {shown(name)}, expected letters, digits, '_' and '-'", ()
    if choices is UNRESOLVED:
        return
    if not isinstance(choices, list) or not choices:
        yield f"is {shown(choices)}, expected a list of values", (name,)
        return
    spellings = [choice_text(choice) for choice in choices]
    for position, (choice, spelling) in enumerate(zip(choices, spellings, strict=True)):
        if choice is not UNRESOLVED and not re.fullmatch(r"[^\s\[\],=/{}$]+", spelling):
            yield f"is {shown(choice)}, expected a number or a word without any of []{{}},=/$", (name, position)
        elif choice is not UNRESOLVED and spelling in spellings[:position]:
            yield f"is {shown(choice)}, which stands in the list already", (name, position)


def choice_text(choice: Json) -> str:
    """Spell a matrix value as it stands in a step id; an empty text when it cannot."""
    if isinstance(choice, bool):
        return "true" if choice else "false"
    if isinstance(choice, str):
        return choice
    return repr(choice) if isinstance(choice, int | float) else ""


def shown(value: Any) -> str:
    """Spell a value for a message, in JSON, cut where it is long."""
    spelled = json.dumps(value, ensure_ascii=False, default=repr)
    return spelled if len(spelled) <= 60 else spelled[:57] + "..."


_OPERATOR = rf"^{NAME}(\.{NAME})*$"
_RECIPE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_COUNT = {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_PERCENTAGE = _text_like(r"^[0-9]+(\.[0-9]+)?\s*%$")
OperatorName = Annotated[
    str, AfterValidator(_matching(_OPERATOR, "an operator such as tile.best")), WithJsonSchema(_text_like(_OPERATOR))
]
RecipeName = Annotated[
    str,
    AfterValidator(_matching(_RECIPE_NAME, "letters, digits, '.', '_' and '-'")),
    WithJsonSchema(_text_like(_RECIPE_NAME)),
]
Ids = str | list[str]
From = Annotated[Ids | dict[str, Ids], BeforeValidator(_checked_from)]
MaxErrors = Annotated[
    int | float | str, BeforeValidator(_checked_max_errors), WithJsonSchema({"anyOf": [_COUNT, _SHARE, _PERCENTAGE]})
]
Matrix = Annotated[dict[str, list[str | int | float | bool]], BeforeValidator(_checked_matrix)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ResourcesModel(_Model):
    """What a step asks of a machine. Never enters a key."""

    # Lax: an environment variable is text, and here a number may come from one.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    cpus: float | None = Field(None, gt=0, description="Processor cores that one task of this step keeps busy.")
    gpus: float | None = Field(
        None, ge=0, description="Graphics cards that one task needs; 0.25 shares one among four."
    )
    memory_bytes: int | None = Field(None, gt=0, description="Memory that one task needs at its peak, in bytes.")
    timeout_s: float | None = Field(
        None, gt=0, description="Seconds that this step may take for one sample; a sample that takes longer fails."
    )
    retries: int | None = Field(
        None, ge=0, description="How often a sample is tried again that broke for a reason which may pass (default 0)."
    )
    cpu_fallback: bool | None = Field(
        None,
        description="Lets the processor do what a graphics card has no memory for (default false). Pixels or scores "
        "may then differ: the manifest marks such samples, and what came of them is not remembered.",
    )


class PrioritiseModel(_Model):
    """In which order a step's samples go on. Changes what is done first, never what comes out."""

    by: str = Field(min_length=1, description="A field of the samples, such as a score; those without it come last.")
    order: Literal["ascending", "descending"] = Field(
        "descending", description="`descending`: those with the largest value first."
    )


class DefaultsModel(_Model):
    """What holds for every step that does not say otherwise."""

    on_error: OnError = Field(
        "quarantine", description="What to do with a sample that breaks: set it aside and go on, or stop the run."
    )
    max_errors: MaxErrors = Field(
        "5%",
        description="Failed samples that a step may have: a count, or a share of the samples that entered it. "
        "When exceeded, nothing is exported.",
    )


class StepModel(_Model):
    """One step: an operator, where its samples come from, its parameters."""

    use: OperatorName = Field(description="The operator, such as `tile.best`.")
    from_: From = Field(
        [],
        alias="from",
        description="Where samples come from: a step id, a list of ids (merged), or a mapping of ports to ids. "
        "`lr[kind=jpeg]` names one variant of a matrix step, `lr` all of them.",
    )
    with_: dict[str, Json] = Field({}, alias="with", description="Parameters of the operator.")
    on_error: OnError = Field("quarantine", description="Overrides `defaults.on_error` for this step.")
    max_errors: MaxErrors = Field("5%", description="Overrides `defaults.max_errors` for this step.")
    cache: Cache = Field(
        "auto", description="`keep` stores every image that this step makes, `off` none; `auto` lets the engine decide."
    )
    resources: ResourcesModel = Field(
        default_factory=ResourcesModel,
        description="What a task of this step asks of the machine; only `cpu_fallback` can change a result.",
    )
    prioritise: PrioritiseModel | None = Field(
        None,
        description="In which order the samples that leave this step go on; of a source or a select. "
        "With `forge-run --budget`, the best part of a dataset is made first.",
    )
    note: str = Field("", description="Words for people.")
    matrix: Matrix = Field(
        {}, description="Makes one step of each combination of these values; `${matrix.NAME}` stands for one."
    )
    override: bool = Field(
        False, description="Says that this step changes the one of the same id in an included recipe."
    )


class RecipeModel(_Model):
    """A recipe: steps from sources to datasets, and what they share."""

    forge: Literal[1] = Field(description="Version of the recipe language.")
    name: RecipeName = Field("recipe", description="Name of the recipe; default: the file's name without suffix.")
    description: str = Field("", description="Words for people.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of every random draw.")
    vars: dict[str, Json] = Field(
        {}, description="Values used as `${vars.NAME}`; one without a value must be given by `--set vars.NAME=VALUE`."
    )
    defaults: DefaultsModel = Field(
        default_factory=DefaultsModel,
        description="What holds for every step that does not say otherwise.",
    )
    include: str | list[str] = Field(
        [], description="Recipes to start from, relative to this file; this one's keys win."
    )
    import_: str | list[str] = Field(
        [], alias="import", description="Python files with operators of your own, relative to this file."
    )
    executor: Executor | None = Field(None, description="Where tasks run; never changes a result.")
    workers: int | None = Field(
        None, ge=1, strict=False, description="Tasks at a time (default: the processor cores); never changes a result."
    )
    steps: dict[str, StepModel] = Field(min_length=1, description="The steps, by id.")


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that a model takes, as users type them, in the order of its fields."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


STEP_KEYS = frozenset(keys_of(StepModel))
TOP_KEYS = frozenset((*keys_of(RecipeModel), "$schema"))
