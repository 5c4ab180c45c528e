"""What a merge of caches did, for a person and as JSON."""

from __future__ import annotations

import json

from forge_pipeline.cache.merge import Merged, Taken
from forge_pipeline.report.numbers import bytes_text, count_text


def merged_lines(merged: Merged) -> list[str]:
    """Say what came from each cache, then all that two of them know differently."""
    lines = [str(merged.into), *(f"  from {taken.cache}: {_taken_text(taken)}" for taken in merged.taken)]
    if not merged.shared and any(taken.payloads_missing for taken in merged.taken):
        lines.append("  hint: forge cache merge FROM... --store URL, where the shards kept their images in a store")
    if merged.conflicts:
        lines.append(f"{count_text(len(merged.conflicts), 'conflict')}; what {merged.into} had was kept:")
        lines += [f"  {conflict.cache}: {conflict.message}" for conflict in merged.conflicts]
        lines.append("  hint: set `cache: off` on their steps until the operators are mended")
    return lines


def merged_json(merged: Merged) -> str:
    """Spell a merge as one JSON object, in ASCII, without a newline at its end."""
    return json.dumps(
        {
            "into": str(merged.into),
            "from": [
                {
                    "cache": str(taken.cache),
                    "actions": {"new": taken.actions, "known": taken.actions_known},
                    "payloads": {
                        "copied": taken.payloads,
                        "known": taken.payloads_known,
                        "missing": taken.payloads_missing,
                        "bytes": taken.payload_bytes,
                    },
                }
                for taken in merged.taken
            ],
            "conflicts": [
                {"cache": str(conflict.cache), "name": conflict.name, "message": conflict.message}
                for conflict in merged.conflicts
            ],
        },
        indent=2,
    )


def _taken_text(taken: Taken) -> str:
    copied = f" ({bytes_text(taken.payload_bytes)})" if taken.payloads else ""
    parts = [
        f"{count_text(taken.actions, 'new action')}, {taken.actions_known:,} known",
        f"{count_text(taken.payloads, 'payload')} copied{copied}, {taken.payloads_known:,} known",
        f"{taken.payloads_missing:,} missing" if taken.payloads_missing else "",
    ]
    return "; ".join(part for part in parts if part)
