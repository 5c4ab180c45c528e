"""What a machine's profile may say: one pydantic model, read from YAML with the errors of a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from forge_pipeline.cache.url import read_store_url
from forge_pipeline.errors import CommandError, Problem, ProfileError, RecipeError, Where
from forge_pipeline.machine import MemorySize, read_memory_size
from forge_pipeline.recipe.model import Executor
from forge_pipeline.recipe.resolved import place
from forge_pipeline.recipe.suggest import did_you_mean
from forge_pipeline.recipe.terms import TermError
from forge_pipeline.recipe.text import Text
from forge_pipeline.recipe.tree import MapNode, Node, plain, tree_problems
from forge_pipeline.recipe.validation import Finding, findings, known_keys, wrong_value
from forge_pipeline.recipe.yaml_format import parse_yaml
from forge_pipeline.sample import Json


def _size_bytes(value: Any) -> int:
    """Read a size in bytes."""
    size = _read_size(value)
    if size is None or size.share:
        raise PydanticCustomError("size", "a size such as 8 GiB or 500 MB")
    return size.size_bytes


def _memory_size(value: Any) -> str:
    """Check a size or a share, and leave it as it was said."""
    if _read_size(value) is None:
        raise PydanticCustomError("size", "a size such as 8 GiB or 500 MB, or a share such as 40%")
    return str(value)


def _read_size(value: Any) -> MemorySize | None:
    """Read a number of bytes, or a text as the command line takes it; None where it is neither."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        return None
    try:
        return read_memory_size(str(value))
    except ValueError:
        return None


SizeBytes = Annotated[int, BeforeValidator(_size_bytes, json_schema_input_type=int | str)]


class RayModel(BaseModel):
    """How a Ray cluster is reached."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str = Field(
        "auto", min_length=1, description="`auto`, `local`, or where the cluster's head is: HOST:PORT."
    )


class ProfileModel(BaseModel):
    """What is so on this machine, for every recipe: nothing of it enters a key or changes a byte of a result."""

    model_config = ConfigDict(extra="forbid", strict=True)

    executor: Executor | None = Field(None, description="Where tasks run, where neither command nor recipe says.")
    workers: int | None = Field(
        None, ge=1, description="How many tasks at once, where neither command nor recipe says."
    )
    memory: Annotated[str, BeforeValidator(_memory_size, json_schema_input_type=int | str)] | None = Field(
        None,
        description="What the tasks that run at once may take together: `12 GiB`, or `40%` of what is available.",
    )
    store: str | None = Field(None, description="URL of the store that this machine shares with others.")
    store_cache: SizeBytes | None = Field(
        None, description="How much of a shared store is kept on this machine, such as `8 GiB`."
    )
    ray: RayModel | None = Field(None, description="How a Ray cluster is reached.")


def read_profile(path: Path) -> dict[str, Json]:
    """Read a profile's file: what it says, sizes in bytes.

    Raises:
        CommandError: it cannot be read.
        ProfileError: everything that is wrong with it.
    """
    try:
        text = Text(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"profile {path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except UnicodeDecodeError as error:
        raise ProfileError([Problem(Where(str(path)), f"byte {error.start} is no UTF-8")]) from None
    try:
        root = parse_yaml(text)
    except RecipeError as error:
        raise ProfileError(error.problems) from None
    if root is None:
        return {}
    if not isinstance(root, MapNode):
        raise ProfileError([root.span.problem("the file holds no keys, expected a mapping such as 'workers: 8'")])
    problems = tree_problems(root)
    if problems:
        raise ProfileError(problems)
    return _checked(root)


def _checked(root: MapNode) -> dict[str, Json]:
    try:
        data = plain(root)
    except TermError as error:
        raise ProfileError([error.span.problem(error.message, error.hint)]) from None
    problems: list[Problem] = []
    said: dict[str, Json] = {}
    try:
        said = ProfileModel.model_validate(data).model_dump(exclude_none=True)
    except ValidationError as error:
        problems += [_told(finding, root) for finding in findings(error, data)]
    problems += _url_problems(root, data)
    if problems:
        raise ProfileError(problems)
    return said


def _told(finding: Finding, root: Node) -> Problem:
    def where(path: tuple[str | int, ...], key: bool) -> Where:
        return place(root, path, key=key)

    if finding.kind == "unknown":
        section = f"'{finding.path[0]}'" if len(finding.path) > 1 else "the profile"
        names = known_keys(ProfileModel, finding.path[:-1])
        hint = did_you_mean(str(finding.path[-1]), names)
        return Problem(where(finding.path, True), f"unknown key '{finding.path[-1]}' in {section}", hint)
    return wrong_value(finding, "", where)


def _url_problems(root: Node, data: Any) -> list[Problem]:
    """Check the store's URL; the line that it stands on is not shown, since it may hold a secret."""
    if not isinstance(data.get("store"), str):
        return []
    try:
        read_store_url(data["store"])
    except CommandError as error:
        return [Problem(replace(place(root, ("store",)), source_line=""), error.message, error.hint)]
    return []
