"""`forge doctor`: what this machine is for a run, what is broken, and what could be better."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge_pipeline.cli.arguments import add_cache, add_directory, cache_folder
from forge_pipeline.errors import EXIT_DONE, EXIT_ENVIRONMENT

if TYPE_CHECKING:
    from forge_pipeline.doctor import Diagnosis, Place
    from forge_pipeline.libraries import Library


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    parser.add_argument(
        "--deep", action="store_true", help="import every library that is installed, and let it do a little (a minute)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    add_directory(parser)
    add_cache(parser)
    parser.epilog = "exit codes: 0 runs can be done here, 3 something is broken that would stop one"


def execute(arguments: argparse.Namespace) -> int:
    """Look, print, and return 3 when something would stop a run."""
    from forge_pipeline import api

    found = api.diagnose(cache_folder(arguments), Path.cwd(), arguments.deep)
    text = json.dumps(diagnosis_json(found), indent=2) if arguments.json else "\n".join(diagnosis_lines(found))
    sys.stdout.write(f"{text}\n")
    return EXIT_ENVIRONMENT if found.broken else EXIT_DONE


def diagnosis_lines(found: Diagnosis) -> list[str]:
    """Lay out all that was looked at, what is broken and what could be better last, where it is read."""
    lines = [*_machine_lines(found), "", *_library_lines(found.libraries), *_missing_lines(found.libraries), ""]
    for finding in found.findings:
        lines.append(f"{finding.level}: {finding.text}")
        lines += [f"  hint: {finding.hint}"] if finding.hint else []
    broken = sum(finding.level == "broken" for finding in found.findings)
    return [*lines, f"{broken} broken: a run would stop" if broken else "nothing is broken"]


def _machine_lines(found: Diagnosis) -> list[str]:
    from forge_pipeline.report.numbers import bytes_text

    cores, memory = found.cores, found.memory
    quota = f"a quota of {cores.quota:g}" if cores.quota is not None else "no quota"
    limit = "no limit of a container"
    if memory.limit_bytes is not None:
        limit = f"a container's limit of {bytes_text(memory.limit_bytes)}, {bytes_text(memory.limit_used_bytes)} in use"
    gpus = [
        f"{gpu.name}, {bytes_text(gpu.memory_bytes)}, {bytes_text(gpu.memory_used_bytes)} in use" for gpu in found.gpus
    ]
    threads = ", ".join(f"{name}={value}" for name, value in found.threads.items())
    rows = [
        ("python", f"{found.python} on {found.system}"),
        ("processor", ", ".join([found.processor, *found.features])),
        ("cores", f"{cores.usable}: {cores.present} built in, {cores.allowed} by affinity, {quota}"),
        ("memory", f"{bytes_text(memory.usable_now_bytes)} to be had of {bytes_text(memory.usable_bytes)}; {limit}"),
        ("gpu", "; ".join(gpus) or "none"),
        ("threads", threads or "nothing is set; every library of a worker process gets one"),
        *((place.role, _place_text(place)) for place in found.places),
        ("ray", _ray_text(found)),
        ("auto", f"{found.chosen.name}: {found.chosen.reason}"),
        ("", f"a step that holds Python's lock: processes, {found.chosen_holding.workers} at once"),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _place_text(place: Place) -> str:
    from forge_pipeline.report.numbers import bytes_text

    facts = [
        str(place.path),
        place.file_system,
        f"{bytes_text(place.free_bytes)} free" if place.free_bytes is not None else "",
        f"writes {place.write_mb_s:.0f} MB/s" if place.write_mb_s is not None else "cannot be written",
    ]
    return ", ".join(fact for fact in facts if fact)


def _ray_text(found: Diagnosis) -> str:
    ray = found.ray
    installed = f"{ray.version}" if ray.version else "not installed"
    if ray.problem:
        return f"{installed}, no cluster can be reached"
    return f"{installed}, a cluster at {ray.address} answers" if ray.address else f"{installed}, no cluster is named"


def _library_lines(libraries: tuple[Library, ...]) -> list[str]:
    from forge_pipeline.report.table import Column, Table, plain_lines

    there = [one for one in libraries if one.version is not None]
    columns = tuple(Column(heading) for heading in ("library", "version", "needs", "for", ""))
    rows = tuple(
        (one.name, one.version or "", one.wanted, one.extra or "every run", one.problem or one.told) for one in there
    )
    return plain_lines(Table(columns, rows))


def _missing_lines(libraries: tuple[Library, ...]) -> list[str]:
    """Name what is not there by the line that installs it."""
    missing: dict[str, list[str]] = {}
    for one in libraries:
        if one.version is None:
            missing.setdefault(one.install, []).append(one.name)
    return [f"not installed: {', '.join(names)}: {install}" for install, names in missing.items()]


def diagnosis_json(found: Diagnosis) -> dict[str, Any]:
    """Return all of it as JSON has it."""
    from dataclasses import asdict

    value = asdict(found)
    memory = found.memory
    value["cores"] = {**found.cores._asdict(), "usable": found.cores.usable}
    value["memory"] = {
        **memory._asdict(),
        "usable_bytes": memory.usable_bytes,
        "usable_now_bytes": memory.usable_now_bytes,
    }
    value["gpus"] = [gpu._asdict() for gpu in found.gpus]
    for place in value["places"]:
        place["path"] = str(place["path"])
    for library, one in zip(value["libraries"], found.libraries, strict=True):
        library["install"] = one.install
    return {**value, "broken": found.broken}
