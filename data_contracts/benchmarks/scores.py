"""Scores of a benchmark; `model.scoring.benchmarks` defines and computes these scores."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from data_contracts.labelled_scores import MEAN, LabelledScores


class BenchmarkScores(LabelledScores):
    """Scores of some frames: errors in mm, PCK and AUC as shares in [0, 1], which tables show in %."""

    mpjpe_mm: float = Field(title="MPJPE")
    distance_mpjpe_mm: float = Field(title="MPJPE, true distance")
    n_mpjpe_mm: float = Field(title="N-MPJPE")
    p_mpjpe_mm: float = Field(title="P-MPJPE")
    pck_150: float = Field(title="PCK@150")
    auc_150: float = Field(title="AUC")

    def cells(self) -> list[str]:
        """Return the scores as the cells of a table row, in the order of `titles`."""
        values = self.model_dump(exclude={"frames"})
        percents = {name: 100 * values[name] for name in ("pck_150", "auc_150")}
        return [f"{self.frames:,}", *(f"{value:.1f}" for value in (values | percents).values())]


def with_mean(groups: Mapping[str, BenchmarkScores], by_group: bool) -> dict[str, BenchmarkScores]:
    """Return `groups` and, as `MEAN`, the mean in which each group (if `by_group`) or each frame has equal weight."""
    return {**groups, MEAN: weighted_mean(list(groups.values()), by_group)}


def weighted_mean(parts: Sequence[BenchmarkScores], equal: bool = False) -> BenchmarkScores:
    """Return the sum of the frames, and the mean of each score: unweighted if `equal`, else weighted by frames."""
    weights = [1 if equal else part.frames for part in parts]
    names = BenchmarkScores.model_fields.keys() - {"frames"}
    means = {
        name: sum(weight * getattr(part, name) for weight, part in zip(weights, parts, strict=True)) / sum(weights)
        for name in names
    }
    return BenchmarkScores(frames=sum(part.frames for part in parts), **means)
