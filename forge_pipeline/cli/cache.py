"""`forge cache`: how large the cache is, whether it is sound, and how to shrink it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from forge_pipeline.cli.arguments import add_cache, add_directory, cache_folder, one_of
from forge_pipeline.errors import EXIT_DONE, EXIT_FAILED, CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed."""
    parser.add_argument(
        "verb", metavar="VERB", type=one_of("size", "verify", "collect"), help="size, verify or collect (see below)"
    )
    parser.add_argument(
        "--keep", metavar="last:N", type=_keep_last, help="for collect: keep what the last N runs used, delete the rest"
    )
    add_directory(parser)
    add_cache(parser)
    parser.epilog = (
        "size     say how much the cache holds\n"
        "verify   read every payload and compare it with its digest; exit 1 when one differs\n"
        "collect  delete what the last N runs did not use (--keep last:N); a run that needs it makes it again"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    if (arguments.verb == "collect") != (arguments.keep is not None):
        wanted = "needs --keep" if arguments.verb == "collect" else "takes no --keep"
        raise CommandError(f"forge cache {arguments.verb}: {wanted}", hint="forge cache collect --keep last:10")
    folder = cache_folder(arguments)
    if not folder.is_dir():
        raise CommandError(f"{folder}: there is no cache", hint="name its folder with --cache DIR")
    if arguments.verb == "size":
        return _size(folder)
    return _verify(folder) if arguments.verb == "verify" else _collect(folder, arguments.keep)


def _size(folder: Path) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import bytes_text, count_text

    size = api.cache_size(folder)
    payloads = f"{count_text(size.payloads, 'payload')}, {bytes_text(size.payload_bytes)}"
    index = f"{count_text(size.actions, 'action')} in the index, {bytes_text(size.index_bytes)}"
    sys.stdout.write(f"{folder}\n  {payloads}\n  {index}\n")
    return EXIT_DONE


def _verify(folder: Path) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import count_text

    found = api.cache_verify(folder)
    for damage in found:
        sys.stdout.write(f"payload {damage.digest}: {damage.problem} ({damage.where})\n")
    if found:
        sys.stdout.write(f"{count_text(len(found), 'payload')} put aside; the next run that needs one makes it again\n")
        return EXIT_FAILED
    sys.stdout.write(f"{folder}: every payload is sound\n")
    return EXIT_DONE


def _collect(folder: Path, keep_last: int) -> int:
    from forge_pipeline import api
    from forge_pipeline.report.numbers import bytes_text, count_text

    gone = api.cache_collect(folder, keep_last)
    sys.stdout.write(
        f"{count_text(gone.payloads, 'payload')} deleted ({bytes_text(gone.bytes)}), "
        f"{count_text(gone.rows, 'row')} of the index\n"
    )
    return EXIT_DONE


def _keep_last(text: str) -> int:
    word, _, count = text.partition(":")
    if word != "last" or not count.isascii() or not count.isdigit() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected last:N such as last:10")
    return int(count)
