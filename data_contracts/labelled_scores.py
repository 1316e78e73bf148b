"""Base of scores that are a row of a table."""

from pydantic import BaseModel, ConfigDict, Field

MEAN = "mean"  # name of the row with the mean of the others


class LabelledScores(BaseModel):
    """Scores of some frames. Titles of fields are the labels in tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(title="frames")

    @classmethod
    def titles(cls) -> dict[str, str]:
        """Return the label of each score by its name."""
        return {name: field.title or name for name, field in cls.model_fields.items()}
