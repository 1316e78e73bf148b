"""Base class of scores that form a row of a table."""

from pydantic import BaseModel, ConfigDict, Field

MEAN = "mean"  # name of the row with the mean of the other rows


class LabelledScores(BaseModel):
    """Scores of some frames. The title of a field is its label in tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(title="frames")

    @classmethod
    def titles(cls) -> dict[str, str]:
        """Return field name -> label in tables, `frames` included."""
        return {name: field.title or name for name, field in cls.model_fields.items()}
