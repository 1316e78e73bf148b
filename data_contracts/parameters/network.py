"""Shape of the network."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.parameters.base import Parameters


class DSTformerConfig(Parameters):
    """Shape of the DSTformer (MotionBERT, Zhu et al., ICCV 2023, section 4.1)."""

    dim_in: Literal[2, 3] = Field(3, description="Input per joint: x, y, or x, y, confidence.")
    dim_out: Literal[2, 3] = Field(3, description="Output per joint: the 2D pose, or the 3D pose.")
    embed_dim: int = Field(64, ge=8, description="Features per joint.")
    heads: int = Field(8, ge=1)
    fusion_depth: int = Field(2, ge=1, description="Stages, each fusing an ST and a TS stream.")
    attn_depth: int = Field(1, ge=1, description="Blocks per stream in a stage; 1 is MotionBERT's network.")
    mlp_ratio: float = Field(2.0, gt=0)
    rep_dim: int | None = Field(None, ge=1, description="Width of Linear+tanh before the head; none leaves it out.")
    max_frames: int = Field(243, ge=1, description="Longest window; set from the windows when training starts.")
    mask_token: bool = Field(False, description="Learns what stands for a masked joint; set where a `token` fills any.")

    @model_validator(mode="after")
    def _heads_divide_features(self) -> "DSTformerConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of heads {self.heads}")
        return self


class HeadKind(StrEnum):
    """`joints`: a linear map to the pose. `depth`: the seed's 64-128-1, z only, with x and y taken from the input."""

    JOINTS = "joints"
    DEPTH = "depth"
