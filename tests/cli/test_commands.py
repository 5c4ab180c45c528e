"""The small commands: what they ask of the engine and what they print."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from forge_pipeline.api import CheckSummary, Sharing
from forge_pipeline.cache.merge import Conflict, Merged, Taken
from forge_pipeline.cache.sweep import CacheSize, Collected, Damage
from forge_pipeline.cli.main import forge
from forge_pipeline.executors.choose import Choice
from forge_pipeline.plan import PlanReport, PlanRow
from forge_pipeline.step import LOCATOR, MACHINE, Metric, Params, Port, Source, Transform, metric, operator

ROWS = (
    PlanRow("photos", "read.images", "reused", "", (), None),
    PlanRow("tiles", "tile.best", "to run", "", ("param 'max_tiles' 3 -> 4", "12 new inputs"), 1200),
    PlanRow("clean", "filter.iqa", "unknown", "tiles", (), None),
)
PLAN = """\
step    operator     plan                 actions  why
photos  read.images  reused                     -
tiles   tile.best    to run                 1,200  param 'max_tiles' 3 -> 4
                                                   12 new inputs
clean   filter.iqa   unknown until tiles        -
"""


class ReadParams(Params):
    path: Annotated[str | list[str], LOCATOR] = Field(description="Folder or files.")
    threads: Annotated[int, MACHINE, Field(ge=1, description="Decoding threads.")] = 2


@operator("read.images", version=2)
class Images(Source):
    """Read images from folders."""

    Params = ReadParams
    libraries = ("pillow",)
    entries = facts = load = None


class ResizeParams(Params):
    lambda_: float | Literal["auto"] = Field(0.5, alias="lambda", description="Weight of detail; 0 is a box filter.")


@operator("resize.dpid", version=1)
class Dpid(Transform):
    """Shrink an image so that details
    stay visible.

    A second paragraph.
    """

    Params = ResizeParams
    takes = {"in": Port("image", description="HR image")}  # noqa: RUF012
    many = True
    draws = True
    apply = None


@metric("laplacian", version=1)
class Laplacian(Metric):
    """Measure fine detail."""

    direction = "higher is better"
    range = (0, None)
    unit = "of full scale"
    source = "Pech-Pacheco 2000"
    measure = None


DPID = """\
resize.dpid: transform operator, version 1

Shrink an image so that details
stay visible.

A second paragraph.

reads      pixels
takes      in (image): HR image
makes      image
samples    one to many: each child's key gets a suffix
draws      yes: the recipe's seed and the step's salt enter its keys
libraries  none

parameters:
  lambda: number or "auto", default 0.5
      Weight of detail; 0 is a box filter.
"""
IMAGES = """\
read.images: source operator, version 2

Read images from folders.

reads      bytes
takes      nothing
makes      image
libraries  pillow

parameters:
  path: string or list of string, required
      Folder or files.
      a path: what it names enters the keys, the path does not
  threads: integer >= 1, default 2
      Decoding threads.
      a matter of this machine: never enters a key
"""
LAPLACIAN = """\
laplacian: metric, version 1

Measure fine detail.

reads      pixels
direction  higher is better
range      0 .. inf of full scale
source     Pech-Pacheco 2000
libraries  none

no parameters
"""
LIST = """\
operators:
  read.images  Read images from folders.
  resize.dpid  Shrink an image so that details stay visible.

metrics:
  laplacian  Measure fine detail.

forge steps NAME describes one of them
"""


@pytest.fixture
def registered(engine):
    engine.answers["operators"] = {"resize.dpid": Dpid, "read.images": Images}
    engine.answers["metrics"] = {"laplacian": Laplacian}
    return engine


def test_check_says_in_one_line_that_all_is_well(engine, capsys) -> None:
    engine.answers["check"] = CheckSummary("sr_dataset", 9)
    assert forge(["check", "recipe.yaml"]) == 0
    assert capsys.readouterr() == ("recipe.yaml: 'sr_dataset' is in order, 9 steps\n", "")


@pytest.mark.parametrize(
    ("rows", "seconds", "size", "estimate"),
    [
        (ROWS, 125.0, 34_000_000, "estimate: 2m 05s of work, 34 MB of disk\n"),
        (ROWS, 125.0, None, "estimate: 2m 05s of work, an unknown amount of disk\n"),
        (ROWS, None, None, "estimate: not known yet, nothing like it has run here\n"),
        (ROWS[:1], None, None, "estimate: nothing to run\n"),
    ],
)
def test_plan_ends_in_an_estimate(engine, capsys, rows, seconds, size, estimate) -> None:
    engine.answers["plan"] = PlanReport(rows, seconds, size, Choice("threads", 2, "asked for; 2 workers for 2 cores"))
    assert forge(["plan", "recipe.yaml"]) == 0
    assert capsys.readouterr().out.splitlines(keepends=True)[-2:] == [
        estimate,
        "executor: threads (asked for; 2 workers for 2 cores)\n",
    ]


def test_a_dry_run_prints_the_plan_and_runs_nothing(engine, capsys) -> None:
    engine.answers["plan"] = PlanReport(ROWS, None, None, Choice("inline", 1, "asked for"))
    assert forge(["run", "recipe.yaml", "--dry-run", "--sample", "2"]) == 0
    assert capsys.readouterr() == (PLAN, "")
    [(name, (_, options, _))] = engine.asked
    assert (name, options.sample) == ("plan", 2)


def test_explain_prints_the_text_of_a_sample(engine, capsys) -> None:
    engine.answers["explain"] = lambda recipe, options, sample, announce: f"{sample}: came from somewhere"
    assert forge(["explain", "recipe.yaml", "photos/a.png"]) == 0
    assert capsys.readouterr() == ("photos/a.png: came from somewhere\n", "")


def test_graph_prints_the_kind_that_is_asked_for(engine, capsys) -> None:
    engine.answers["graph_text"] = lambda recipe, options, kind: f"{kind} text\n"
    assert [forge(["graph", "recipe.yaml"]), forge(["graph", "recipe.yaml", "--format", "dot"])] == [0, 0]
    assert capsys.readouterr() == ("mermaid text\ndot text\n", "")


def test_schema_is_printed_or_written_under_the_working_folder(engine, capsys, tmp_path) -> None:
    engine.answers["schema"] = {"title": "é"}
    assert forge(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"title": "é"}
    (tmp_path / "work").mkdir()
    assert forge(["schema", "--write", "--directory", "work"]) == 0
    assert capsys.readouterr().out == f"{Path('schemas/recipe.schema.json')} written\n"
    assert (tmp_path / "work/schemas/recipe.schema.json").read_text(encoding="utf-8") == printed


def test_steps_lists_operators_and_metrics(registered, capsys) -> None:
    assert forge(["steps"]) == 0
    assert capsys.readouterr() == (LIST, "")


@pytest.mark.parametrize(("name", "text"), [("resize.dpid", DPID), ("read.images", IMAGES), ("laplacian", LAPLACIAN)])
def test_steps_describes_one_of_them(registered, capsys, name, text) -> None:
    assert forge(["steps", name]) == 0
    assert capsys.readouterr() == (text, "")


def test_a_mistyped_operator_names_the_nearest(registered, capsys) -> None:
    assert forge(["steps", "resize.dipd"]) == 2
    assert capsys.readouterr().err == (
        "there is no operator or metric 'resize.dipd'\n  hint: did you mean 'resize.dpid'?\n"
    )


def test_cache_size_tells_payloads_and_index(engine, capsys, tmp_path) -> None:
    (tmp_path / "c").mkdir()
    engine.answers["cache_size"] = CacheSize(payloads=2, payload_bytes=3_400_000, index_bytes=9_000, actions=12_000)
    assert forge(["cache", "size", "--cache", "c"]) == 0
    told = f"{tmp_path / 'c'}\n  2 payloads, 3.4 MB\n  12,000 actions in the index, 9.0 kB\n"
    assert capsys.readouterr() == (told, "")


def test_cache_verify_exits_1_when_a_payload_is_damaged(engine, capsys, tmp_path) -> None:
    (tmp_path / "c").mkdir()
    engine.answers["cache_verify"] = [Damage(digest="3fa9c1", where="c/3f/a9", problem="its content is 77b1e0")]
    assert forge(["cache", "verify", "--cache", "c"]) == 1
    assert capsys.readouterr().out == (
        "payload 3fa9c1: its content is 77b1e0 (c/3f/a9)\n"
        "1 payload put aside; the next run that needs one makes it again\n"
    )


def test_cache_verify_exits_0_when_all_is_sound(engine, capsys, tmp_path) -> None:
    (tmp_path / "c").mkdir()
    engine.answers["cache_verify"] = []
    assert forge(["cache", "verify", "--cache", "c"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c'}: every payload is sound\n"


def test_cache_collect_keeps_the_last_runs(engine, capsys, tmp_path) -> None:
    (tmp_path / "c").mkdir()
    engine.answers["cache_collect"] = Collected(payloads=1, bytes=5_000_000, rows=40)
    assert forge(["cache", "collect", "--keep", "last:3", "--cache", "c"]) == 0
    assert capsys.readouterr().out == "1 payload deleted (5.0 MB), 40 rows of the index\n"
    assert engine.asked == [("cache_collect", (tmp_path / "c", 3, Sharing(), False))]


MERGED = Merged(
    Path("c"),
    (Taken(Path("a"), 12_000, 3, 2, 3_400_000, 1, 4), Taken(Path("b"))),
    (Conflict(Path("b"), "ab12", "operator 'x' is not deterministic"),),
)


def test_cache_merge_counts_what_came_and_names_what_differs(engine, capsys, tmp_path) -> None:
    engine.answers["cache_merge"] = MERGED
    assert forge(["cache", "merge", "a", "/far/b", "--cache", "c"]) == 1
    assert capsys.readouterr() == (
        "c\n"
        "  from a: 12,000 new actions, 3 known; 2 payloads copied (3.4 MB), 1 known; 4 missing\n"
        "  from b: 0 new actions, 0 known; 0 payloads copied, 0 known\n"
        "  hint: forge cache merge FROM... --store URL, where the shards kept their images in a store\n"
        "1 conflict; what c had was kept:\n"
        "  b: operator 'x' is not deterministic\n"
        "  hint: set `cache: off` on their steps until the operators are mended\n",
        "",
    )
    [(name, given)] = engine.asked
    assert (name, given[:2]) == ("cache_merge", (tmp_path / "c", [tmp_path / "a", Path("/far/b")]))


def test_cache_merge_can_be_read_by_a_script(engine, capsys) -> None:
    engine.answers["cache_merge"] = replace(MERGED, conflicts=(), taken=MERGED.taken[:1])
    assert forge(["cache", "merge", "a", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "into": "c",
        "from": [
            {
                "cache": "a",
                "actions": {"new": 12_000, "known": 3},
                "payloads": {"copied": 2, "known": 1, "missing": 4, "bytes": 3_400_000},
            }
        ],
        "conflicts": [],
    }
    assert err.startswith("c\n  from a: ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["cache", "merge"],
            "forge cache merge: needs the folders of other caches\n  hint: forge cache merge FROM...\n",
        ),
        (
            ["cache", "size", "a"],
            "forge cache size: takes no further folder\n  hint: forge cache merge FROM...\n",
        ),
        (["cache", "size", "--json"], "forge cache size: takes no --json\n  hint: forge cache --help\n"),
        (["cache", "collect"], "forge cache collect: needs --keep\n  hint: forge cache collect --keep last:10\n"),
        (
            ["cache", "size", "--keep", "last:2"],
            "forge cache size: takes no --keep\n  hint: forge cache collect --keep last:10\n",
        ),
        (
            ["cache", "szie"],
            "forge cache: argument VERB: found 'szie', expected size, verify, collect or merge\n"
            "  hint: forge cache --help\n",
        ),
    ],
)
def test_a_wrong_cache_command_says_how_to_type_it(engine, capsys, words, text) -> None:
    assert forge(words) == 2
    assert capsys.readouterr().err == text


def test_a_missing_cache_is_never_made(engine, capsys, tmp_path) -> None:
    assert forge(["cache", "size"]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path / '.forge/cache'}: there is no cache\n  hint: name its folder with --cache DIR\n"
    )
    assert not (tmp_path / ".forge").exists()
