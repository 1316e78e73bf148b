"""Shape of the network."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.parameters.base import Parameters


class DSTformerConfig(Parameters):
    """Shape of the DSTformer (MotionBERT, Zhu et al., ICCV 2023, section 4.1), and what was added to it.

    With `stem`, `patch`, `cosines` and `geometry` left as they are, and `attn_depth` 1, it is MotionBERT's network.
    """

    dim_in: Literal[2, 3] = Field(3, description="Input per joint: x, y, or x, y, confidence.")
    dim_out: Literal[2, 3] = Field(3, description="Output per joint: the 2D pose, or the 3D pose.")
    embed_dim: int = Field(64, ge=8, description="Features per joint.")
    heads: int = Field(8, ge=1, description="Of attention; they divide the features.")
    fusion_depth: int = Field(
        2, ge=0, description="Stages, each fusing an ST and a TS stream; 0: none, stem and head alone."
    )
    attn_depth: int = Field(1, ge=1, description="Blocks per stream in a stage; 1 is MotionBERT's network.")
    mlp_ratio: float = Field(2.0, gt=0, description="Hidden features of a block's MLP for each feature.")
    rep_dim: int | None = Field(None, ge=1, description="Width of Linear+tanh before the head; none leaves it out.")
    max_frames: int = Field(243, ge=1, description="Longest window; set from the windows when training starts.")
    mask_token: bool = Field(False, description="Learns what stands for a masked joint; set where a `token` fills any.")
    stem: Literal["none", "window"] = Field(
        "none",
        description="An MLP from all joints of the window to every token, before attention; head `pose` too.",
    )
    stem_width: int = Field(384, ge=8, le=8192, description="Features of that MLP.")
    patch: int = Field(1, ge=1, le=243, description="Frames of a joint that make one token.")
    cosines: int | None = Field(
        None, ge=1, description="Stem and head `pose` see a window as its first cosines; none: frame by frame."
    )
    geometry: Literal["none", "foreshortening"] = Field(
        "none",
        description="Poses from the pelvis in lengths of the body; how short a bone looks says how deep it reaches.",
    )

    @model_validator(mode="after")
    def _heads_divide_features(self) -> "DSTformerConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _geometry_lifts_what_was_seen(self) -> "DSTformerConfig":
        if self.geometry != "none" and (self.dim_in, self.dim_out) != (3, 3):
            raise ValueError(
                f"geometry {self.geometry} needs dim_in 3, whose confidence says what was seen, and dim_out 3, a 3D"
                f" pose; got {self.dim_in} and {self.dim_out}"
            )
        return self

    @property
    def features_in(self) -> int:
        """Numbers per joint and frame that the backbone sees: geometry adds how deep the joint's bone reaches."""
        return self.dim_in + (self.geometry != "none")

    @property
    def features_out(self) -> int:
        """Numbers per joint and frame that the head gives: geometry adds the share of that reach."""
        return self.dim_out + (self.geometry != "none")

    @property
    def max_tokens(self) -> int:
        """Tokens of a joint in the longest window."""
        return -(-self.max_frames // self.patch)

    def idle(self) -> set[str]:
        """Return `stem_width` where there is no stem."""
        return {"stem_width"} if self.stem == "none" else set()


class HeadKind(StrEnum):
    """From features to poses.

    `joints`: a linear map from each token to its joint's positions. `depth`: the seed's 64-128-1, z only, with x and y
    taken from the input. `pose`: a linear map from all tokens of the window, and the stem, to all its poses.
    """

    JOINTS = "joints"
    DEPTH = "depth"
    POSE = "pose"
