"""`forge cache`: how large the cache is, whether it is sound, how to shrink it, and how to join several."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forge_pipeline.cli.arguments import (
    add_cache,
    add_directory,
    add_machine,
    cache_folder,
    one_of,
    profile_path,
    tell_notes,
)
from forge_pipeline.errors import EXIT_DONE, EXIT_FAILED, CommandError

if TYPE_CHECKING:
    from forge_pipeline.api import Sharing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    parser.add_argument(
        "verb",
        metavar="VERB",
        type=one_of("size", "verify", "collect", "merge"),
        help="size, verify, collect or merge (see below)",
    )
    parser.add_argument("others", metavar="FROM", nargs="*", help="for merge: the folders of other caches")
    parser.add_argument(
        "--keep", metavar="last:N", type=_keep_last, help="for collect: keep what the last N runs used, delete the rest"
    )
    parser.add_argument("--json", action="store_true", help="for merge: print what it did as one JSON object on stdout")
    add_directory(parser)
    add_cache(parser)
    add_machine(parser)
    parser.add_argument(
        "--shared",
        action="store_true",
        help="for collect: delete from a shared store too what no run of this cache uses, though others may use it",
    )
    parser.epilog = (
        "size     say how much the cache holds\n"
        "verify   read every payload and compare it with its digest; exit 1 when one differs\n"
        "collect  delete what the last N runs did not use (--keep last:N); a run that needs it makes it again;\n"
        "         payloads in a shared store stay, unless --shared\n"
        "merge    let the cache know all that other caches know, such as those of shards; exit 1 when two differ"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    if (arguments.verb == "collect") != (arguments.keep is not None):
        wanted = "needs --keep" if arguments.verb == "collect" else "takes no --keep"
        raise CommandError(f"forge cache {arguments.verb}: {wanted}", hint="forge cache collect --keep last:10")
    if arguments.shared and arguments.verb != "collect":
        raise CommandError(
            f"forge cache {arguments.verb}: takes no --shared", hint="forge cache collect --keep last:10 --shared"
        )
    if (arguments.verb == "merge") != bool(arguments.others):
        wanted = "needs the folders of other caches" if arguments.verb == "merge" else "takes no further folder"
        raise CommandError(f"forge cache {arguments.verb}: {wanted}", hint="forge cache merge FROM...")
    if arguments.json and arguments.verb != "merge":
        raise CommandError(f"forge cache {arguments.verb}: takes no --json", hint="forge cache --help")
    folder = cache_folder(arguments)
    if arguments.verb == "merge":
        return _merge(folder, [Path.cwd() / other for other in arguments.others], arguments)
    if not folder.is_dir():
        raise CommandError(f"{folder}: there is no cache", hint="name its folder with --cache DIR")
    if arguments.verb == "size":
        return _size(folder, _sharing(arguments))
    if arguments.verb == "verify":
        return _verify(folder, _sharing(arguments))
    return _collect(folder, arguments.keep, _sharing(arguments), arguments.shared)


def _sharing(arguments: argparse.Namespace) -> Sharing:
    from forge_pipeline.api import Sharing

    return Sharing(arguments.store or "", profile_path(arguments))


def _size(folder: Path, sharing: Sharing) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import bytes_text, count_text

    size = api.cache_size(folder, sharing)
    payloads = f"{count_text(size.payloads, 'payload')}, {bytes_text(size.payload_bytes)}"
    index = f"{count_text(size.actions, 'action')} in the index, {bytes_text(size.index_bytes)}"
    if size.shared_in:
        payloads = f"{payloads} in {size.shared_in}, of all who share it; {bytes_text(size.kept_bytes)} kept here"
    sys.stdout.write(f"{folder}\n  {payloads}\n  {index}\n")
    return EXIT_DONE


def _verify(folder: Path, sharing: Sharing) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import count_text

    found = api.cache_verify(folder, sharing)
    for damage in found:
        sys.stdout.write(f"payload {damage.digest}: {damage.problem} ({damage.where})\n")
    if found:
        sys.stdout.write(f"{count_text(len(found), 'payload')} put aside; the next run that needs one makes it again\n")
        return EXIT_FAILED
    sys.stdout.write(f"{folder}: every payload is sound\n")
    return EXIT_DONE


def _collect(folder: Path, keep_last: int, sharing: Sharing, delete_shared: bool) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import bytes_text, count_text

    gone = api.cache_collect(folder, keep_last, sharing, delete_shared)
    sys.stdout.write(
        f"{count_text(gone.payloads, 'payload')} deleted ({bytes_text(gone.bytes)}), "
        f"{count_text(gone.rows, 'row')} of the index\n"
    )
    if gone.left_in:
        sys.stdout.write(f"payloads in {gone.left_in} stay, since others may use them; --shared deletes them too\n")
    return EXIT_DONE


def _merge(into: Path, others: list[Path], arguments: argparse.Namespace) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.merged import merged_json, merged_lines

    merged = api.cache_merge(into, others, _sharing(arguments), tell_notes)
    if arguments.json:
        sys.stdout.write(merged_json(merged) + "\n")
    lines = merged_lines(merged)
    (sys.stderr if arguments.json else sys.stdout).write("".join(f"{line}\n" for line in lines))
    return EXIT_FAILED if merged.conflicts else EXIT_DONE


def _keep_last(text: str) -> int:
    word, _, count = text.partition(":")
    if word != "last" or not count.isascii() or not count.isdigit() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected last:N such as last:10")
    return int(count)
