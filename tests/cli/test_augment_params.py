"""`forge augment-params`: the contract of its command line."""

import json
import subprocess
import sys

import pytest

from forge_pipeline.cli.main import forge
from forge_steps.augment.dpa import stream_parameters


def _run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, list[str], str]:
    code = forge(["augment-params", *line.split()])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err


def test_the_contract_line_streams_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = _run(capsys, "--preset moderate --depth 10 --start 0 --stop 200")
    assert (code, errors, len(lines)) == (0, "", 200)
    assert list(json.loads(lines[42])) == ["id", "rotation", "brightness", "noise", "scale", "contrast", "hash"]
    assert json.loads(lines[42])["rotation"] == -14.343283834559362


def test_the_lines_are_what_json_dumps_gives(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = _run(capsys, "--preset aggressive --start 5 --stop 1505 --rank 1 --world-size 2 --base-seed 9")
    expected = stream_parameters("aggressive", 10, 5, 1505, rank=1, world_size=2, base_seed=9)
    assert lines == [json.dumps(row) for row in expected]


def test_rank_mode_adds_the_rank_last(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = _run(capsys, "--stop 43 --start 42 --rank 0 --world-size 1")
    assert list(json.loads(lines[0]))[-1] == "rank"
    assert json.loads(lines[0])["hash"] == "d48355fd7ef43d825a80e64e65dae7820081c5287026955b062b639f999eeebc"


def test_split_gives_a_rank_its_contiguous_share(capsys: pytest.CaptureFixture[str]) -> None:
    shares = []
    for rank in range(4):
        _, lines, _ = _run(capsys, f"--start 0 --stop 10 --rank {rank} --world-size 4 --split")
        shares.append([json.loads(line)["id"] for line in lines])
    assert shares == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]


def test_an_empty_range_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "--start 7 --stop 7") == (0, [], "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--stop 3 --rank 2",
            "forge augment-params: rank 2 is given without a world size\n  hint: add `--world-size 3`\n",
        ),
        (
            "--stop 3 --split",
            "forge augment-params: split is given without a rank\n  hint: add `--rank 0 --world-size 1`\n",
        ),
        (
            "--stop 3 --rank 4 --world-size 4",
            "forge augment-params: rank is 4, expected 0 to 3 (world size 4)\n  hint: forge augment-params --help\n",
        ),
        (
            "--stop 2 --start 5",
            "forge augment-params: stop is 2, expected start (5) or more\n  hint: forge augment-params --help\n",
        ),
        (
            "--stop three",
            "forge augment-params: argument --stop: invalid int value: 'three'\n  hint: forge augment-params --help\n",
        ),
        (
            "",
            "forge augment-params: the following arguments are required: --stop\n  hint: forge augment-params --help\n",
        ),
        (
            "--stop 2 --presets mild",
            "forge augment-params: unknown option '--presets'\n  hint: did you mean '--preset'?\n",
        ),
    ],
)
def test_a_wrong_line_exits_2_with_a_hint(capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    assert _run(capsys, line) == (2, [], message)


def test_a_reader_that_leaves_early_hears_no_complaint() -> None:
    program = "import sys; from forge_pipeline.cli.main import forge; sys.exit(forge())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "augment-params", "--stop", "1000000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None and writer.stderr is not None
        first = writer.stdout.readline()
        writer.stdout.close()
        errors = writer.stderr.read()
    assert json.loads(first)["id"] == 0
    assert errors == b""


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\nfrom forge_pipeline.cli.main import forge\nforge(['augment-params', '--stop', '1'])\n"
        "heavy = {'numpy', 'numba', 'cv2', 'pydantic', 'networkx', 'yaml', 'blake3', 'torch', 'ray'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"
