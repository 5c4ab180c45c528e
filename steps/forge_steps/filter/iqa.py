"""Keep the images whose measured quality fulfils a condition, or the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from forge_pipeline.sample import Fields
from forge_pipeline.step import Drop, Keep, Metric, Params, Select, Table, operator
from forge_steps._libraries import KERNELS
from forge_steps.filter._expression import parse
from forge_steps.filter._judgement import Row, is_kept, reason
from forge_steps.filter._tree import Node, names_in
from forge_steps.metrics.catalog import METRICS

SOURCE_PATH = "source.path"


class IqaParams(Params):
    """Parameters of `filter.iqa`; at least one of keep, top_fraction and top_count."""

    keep: str | None = Field(
        default=None,
        description="condition over metrics and source.* fields, such as 'blockiness < 30 and laplacian > 0.004'; "
        "knows and, or, not, < <= > >= == != (also chained), + - * /, in [..], is null, is not null, parentheses. "
        "A source field that a sample lacks is null, and a comparison with null never keeps a sample",
    )
    top_fraction: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="of the samples that keep leaves, this share stays: the best by the metric `by`; rounded down, "
        "but at least one of every group",
    )
    top_count: int | None = Field(
        default=None, ge=1, description="of the samples that keep leaves, so many stay: the best by the metric `by`"
    )
    by: str | None = Field(default=None, description="the metric that top_fraction or top_count ranks by")
    order: Literal["highest", "lowest"] | None = Field(
        default=None,
        description="which end of `by` is best; null is the metric's own direction (needed for metrics without one)",
    )
    per: Literal["all", "source"] = Field(
        default="all",
        description="rank all samples together, or those of each source file (field source.path) on their own",
    )

    @field_validator("keep")
    @classmethod
    def _keep_is_a_condition(cls, keep: str | None) -> str | None:
        if keep is not None:
            parse(keep, METRICS)
        return keep

    @field_validator("by")
    @classmethod
    def _by_is_a_metric(cls, by: str | None) -> str | None:
        if by is not None:
            node = parse(f"{by} > 0", METRICS)
            if names_in(node) != (by,) or by not in METRICS:
                raise ValueError(f"found '{by}', expected the name of one metric: {', '.join(METRICS)}")
        return by

    @model_validator(mode="after")
    def _fits_together(self) -> IqaParams:
        ranked = [name for name in ("top_fraction", "top_count") if getattr(self, name) is not None]
        if len(ranked) == 2:
            raise ValueError("found both top_fraction and top_count, expected one of them")
        if not ranked and self.keep is None:
            raise ValueError("found nothing to decide by, expected keep, top_fraction or top_count")
        if ranked and self.by is None:
            raise ValueError(f"{ranked[0]} needs a metric to rank by, such as 'by: laplacian'")
        for name in ("by", "order"):
            if not ranked and getattr(self, name) is not None:
                raise ValueError(f"found {name} without top_fraction or top_count")
        if not ranked and self.per != "all":
            raise ValueError("found per: source without top_fraction or top_count")
        if self.by is not None and self.order is None and METRICS[self.by].direction == "neither":
            raise ValueError(f"metric '{self.by}' has no better end, expected order: highest or lowest")
        return self


@operator("filter.iqa", version=1)
class Iqa(Select):
    """Measure only the metrics that are named, each cached on its own, and decide over all samples at once.

    First `keep` judges each sample. Then, of those it leaves, `top_fraction` or `top_count` keep the best by `by`, of
    all or per source file. A group of n keeps floor(n x top_fraction), computed exactly in decimals, but at least one.
    Equal values are ranked by content digest, then by sample key, so that the listing's order never matters.

    A dropped sample's reason is the name of the metric (or field) in the first comparison of `keep` that is not true,
    with `_missing` behind a source field that the sample lacks; or `top_fraction`, `top_count`. Its values are all that
    was measured. A kept sample carries its scores as fields.
    """

    Params = IqaParams
    params: IqaParams
    libraries = KERNELS
    work = "cpu"

    def __init__(self, params: IqaParams) -> None:
        super().__init__(params)
        self._keep: Node | None = parse(params.keep, METRICS) if params.keep is not None else None
        named = names_in(self._keep) if self._keep else ()
        ranked = (params.by,) if params.by else ()
        self._names = tuple(dict.fromkeys((*named, *ranked)))
        self._metrics = {name: METRICS[name](Params()) for name in self._names if name in METRICS}

    def fields_read(self) -> frozenset[str]:
        """Name the source fields of the condition, and `source.path` to group by."""
        fields = {name for name in self._names if name not in self._metrics}
        return frozenset(fields | ({SOURCE_PATH} if self.params.per == "source" else set()))

    def metrics(self, port: str) -> Mapping[str, Metric]:
        """Name the metrics of the condition and the one to rank by; no other is measured."""
        return self._metrics

    def decide(self, tables: Mapping[str, Table]) -> Sequence[Keep | Drop]:
        """Judge every row. Raises DataError where a source field has another type than the condition needs."""
        table = tables["in"]
        rows = _rows(table, self._names)
        verdicts = [self._judged(row) for row in rows]
        if self.params.by is not None:
            self._rank(table, rows, verdicts)
        return verdicts

    def _judged(self, row: Row) -> Keep | Drop:
        if self._keep is None or is_kept(self._keep, row):
            return Keep(self._scores(row))
        return Drop(reason(self._keep, row), dict(row))

    def _scores(self, row: Row) -> Fields:
        return {name: row[name] for name in self._metrics}

    def _rank(self, table: Table, rows: Sequence[Row], verdicts: list[Keep | Drop]) -> None:
        """Turn the verdict of every sample that is not among the best of its group into a Drop."""
        by = str(self.params.by)
        left = [i for i, verdict in enumerate(verdicts) if isinstance(verdict, Keep)]
        groups: dict[Any, list[int]] = {}
        sources = table.column(SOURCE_PATH) if self.params.per == "source" else [None] * len(rows)
        for i in left:
            groups.setdefault(sources[i], []).append(i)
        sign = -1 if self._highest_first(by) else 1
        for members in groups.values():
            members.sort(key=lambda i: (sign * rows[i][by], table.digests[i], table.keys[i]))
            stays = self._how_many(len(members))
            for rank, i in enumerate(members[stays:], start=stays + 1):
                slug = "top_count" if self.params.top_count is not None else "top_fraction"
                verdicts[i] = Drop(slug, {**rows[i], "rank": rank, "of": len(members)})

    def _highest_first(self, by: str) -> bool:
        if self.params.order is not None:
            return bool(self.params.order == "highest")
        return METRICS[by].direction == "higher is better"

    def _how_many(self, count: int) -> int:
        if self.params.top_count is not None:
            return min(count, int(self.params.top_count))
        # 0.29 of 100 is 29: the fraction as written, not as the nearest binary float.
        return max(1, int(Fraction(str(self.params.top_fraction)) * count))


def _rows(table: Table, names: Iterable[str]) -> list[Row]:
    columns = {name: table.column(name) for name in names}
    return [{name: column[i] for name, column in columns.items()} for i in range(len(table.keys))]
