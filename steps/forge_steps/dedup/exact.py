"""Keep one of all samples whose pixels are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge_pipeline.step import Drop, Keep, Metric, Select, Table, operator


@operator("dedup.exact", version=1)
class Exact(Select):
    """Drops samples with the content of another one; the first by sample key stays. Nothing is measured.

    Content is size, channels, depth and pixels: images of one colour but of swapped sides are two contents.
    """

    def metrics(self, port: str) -> Mapping[str, Metric]:
        """Name nothing: the digests are known."""
        return {}

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        """Keep the first sample of each digest."""
        table = tables["in"]
        keepers: dict[str, str] = {}
        for digest, key in sorted(zip(table.digests, table.keys, strict=True)):
            keepers.setdefault(digest, key)
        return [
            Keep() if keepers[digest] == key else Drop("duplicate", {"keeper": keepers[digest]})
            for digest, key in zip(table.digests, table.keys, strict=True)
        ]
