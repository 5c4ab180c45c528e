"""The bench of a worker: what is ready on it stays ready, whatever it remembers."""

from __future__ import annotations

from pathlib import Path

from forge_pipeline.bench import Bench
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Payload
from forge_pipeline.reuse import Sent
from forge_pipeline.task import Known


class Nothing:
    def known(self, key: str) -> str | None:
        return None

    def payload(self, digest: str) -> Payload | None:
        return None


def test_codecs_are_made_once_also_where_every_task_brings_what_is_known(tmp_path: Path) -> None:
    bench = Bench(FolderStore(tmp_path), Nothing())
    one, other = (bench.seeing(Sent(Known({}, {}), Nothing())) for _ in range(2))
    assert one.codecs["image"] is other.codecs["image"] is bench.codecs["image"]
