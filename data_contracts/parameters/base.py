"""What all parameter models have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Parameters(BaseModel):
    """Base of all parameter models: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
