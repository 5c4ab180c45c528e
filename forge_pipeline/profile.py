"""The profile of this machine: found, read once, and kept, so that an unchanged run parses nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_pipeline.digest import digest_bytes
from forge_pipeline.disk import DISK
from forge_pipeline.errors import CommandError

VARIABLE = "FORGE_PROFILE"
_KEPT = "profile.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is so on this machine. None of it enters a key; empty where the file does not say.

    Attributes:
        memory: what the tasks that run at once may take together: `12 GiB` or `40%`.
        store: URL of the store that is shared with other machines.
        store_cache_bytes: how much of it is kept here; 0 stands for the default.
        ray_address: `auto`, `local` or HOST:PORT.
    """

    executor: str = ""
    workers: int | None = None
    memory: str = ""
    store: str = ""
    store_cache_bytes: int = 0
    ray_address: str = ""


def find_profile(given: str | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that the command line, the environment or the user's settings name, if any.

    Raises:
        CommandError: the file that somebody named is not there.
    """
    environ = os.environ if environ is None else environ
    for name, where in ((given, "--profile"), (environ.get(VARIABLE), f"${VARIABLE}")):
        if name:
            path = Path(name).expanduser()
            if not path.exists() or path.is_dir():
                raise CommandError(f"{where}: there is no file '{name}'", "/dev/null stands for no profile")
            return path.absolute()
    settings = environ.get("XDG_CONFIG_HOME") or ""
    # A relative XDG path is to be ignored, says its specification.
    folder = Path(settings) if settings.startswith("/") else Path.home() / ".config"
    path = folder / "forge-pipeline" / "machine.yaml"
    return path if path.is_file() else None


def load_profile(path: Path | None, cache: Path) -> Profile:
    """Read a profile, or take it from the cache's folder where the file is the one that was read last.

    Raises:
        CommandError: it cannot be read.
        ProfileError: everything that is wrong with it.
    """
    if path is None:
        return Profile()
    try:
        key = digest_bytes(path.read_bytes(), b"\n", Path(__file__).with_name("profile_model.py").read_bytes())
    except OSError as error:
        raise CommandError(f"profile {path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    said = _kept(cache / _KEPT, key)
    if said is None:
        from forge_pipeline.profile_model import read_profile

        said = read_profile(path)
        if cache.is_dir():
            with contextlib.suppress(OSError):  # then it is parsed again the next time
                DISK.write_atomic(cache / _KEPT, json.dumps({"key": key, "said": said}).encode(), sync=False)
    return Profile(
        executor=said.get("executor", ""),
        workers=said.get("workers"),
        memory=said.get("memory", ""),
        store=said.get("store", ""),
        store_cache_bytes=said.get("store_cache", 0),
        ray_address=said.get("ray", {}).get("address", ""),
    )


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_bytes())
        return dict(kept["said"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: the profile itself is read
        return None
