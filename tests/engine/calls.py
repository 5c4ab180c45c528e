"""What the toy operators were really asked to do, told apart from what the engine counts; and switches for them."""

from __future__ import annotations

from typing import Any

CALLS: list[str] = []
"""One entry a call, in order of completion."""
SWITCHES: dict[str, Any] = {}
"""`random` (an offset that changes a result behind the engine's back), `crash`, `inspect crashes`."""
