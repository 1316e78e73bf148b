"""The whole network: geometry, a backbone (DSTformer or MLP), the last LayerNorm and a head."""

from torch import Tensor, nn

from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.skeleton import NUM_JOINTS
from model.network.backbone import LAYER_NORM_EPS, Backbone
from model.network.dstformer import DSTformer
from model.network.heads import JointsHead, PoseHead, make_head
from model.network.window_mlp import WindowMLP


class PoseNetwork(nn.Module):
    """Backbone, LayerNorm and head: from 2D poses to 2D or 3D poses, in the window's normalised units.

    Heads `joints` and `pose` return (B, T, 17, dim_out). Head `depth` returns (B, T, 17, 3) with x and y of the input.
    Geometry also takes x and y from the input, so `depth` with geometry raises a ValueError, as do `joints` and `depth`
    with an MLP, which has no tokens of joints.
    """

    def __init__(self, config: NetworkConfig, head: HeadKind = HeadKind.JOINTS) -> None:
        super().__init__()
        self.config, self.head_kind = config, head
        if head is HeadKind.DEPTH and config.geometry != "none":
            raise ValueError(
                f"head={head} cannot be combined with config.geometry={config.geometry}: both take x and y from the"
                " input; pass head=joints or head=pose, or config.geometry=none"
            )
        if config.kind == "mlp" and head is not HeadKind.POSE:
            raise ValueError(
                f"head={head} needs one token per joint, which config.kind=mlp does not have; pass head=pose"
            )
        self.backbone: Backbone = (
            WindowMLP(config) if config.kind == "mlp" else DSTformer(config, whole_windows=head is HeadKind.POSE)
        )
        self.norm = nn.LayerNorm(config.feature_shape[-1], eps=LAYER_NORM_EPS)
        self.head = make_head(config, head)
        self.apply(_initialise)
        self.backbone.initialise()
        if isinstance(self.head, PoseHead) or (isinstance(self.head, JointsHead) and config.geometry != "none"):
            self.head.begin_at_zero()

    def forward(self, pose_2d: Tensor, masked: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return the pose of every frame (B, T, 17, 2 or 3) in the normalised units of the window.

        The pose is in the coordinates of `pose_2d`; the pelvis is not subtracted.

        Parameters
        ----------
        pose_2d
            (B, T, 17, 3): x right, y down, confidence. Other shapes and T above `config.max_frames` raise a ValueError.
        masked
            (B, T, 17) bool: joints to replace by the learned mask token, if the network has one.
        features
            Cached output of `encode` for `pose_2d`: (B, P, 17, C), or (B, 1, 1, C) for the MLP. Not allowed if the
            head reads the stem.
        """
        if pose_2d.ndim != 4 or pose_2d.shape[2] != NUM_JOINTS or pose_2d.shape[3] < self.config.dim_in:
            raise ValueError(f"pose_2d has shape {tuple(pose_2d.shape)}; expected (batch, frames, {NUM_JOINTS}, 3)")
        if pose_2d.shape[1] > self.config.max_frames:
            raise ValueError(
                f"pose_2d has {pose_2d.shape[1]} frames; this network takes at most {self.config.max_frames}"
            )
        if self.backbone.geometry is None:
            return self._answer(pose_2d, masked, features)
        view = self.backbone.geometry(pose_2d)
        return self.backbone.geometry.pose(self._answer(view.inputs, masked, features), view)

    def _answer(self, x: Tensor, masked: Tensor | None, features: Tensor | None) -> Tensor:
        stem = None
        if features is None:
            features, stem = self.backbone.encode(x, masked)
        answer: Tensor = self.head(self.norm(features), x, stem)
        return answer

    def encode(self, pose_2d: Tensor) -> Tensor:
        """Return the backbone's features: (B, P, 17, C), one vector per token, or (B, 1, 1, C) of an MLP."""
        geometry = self.backbone.geometry
        return self.backbone(pose_2d if geometry is None else geometry(pose_2d).inputs)

    @property
    def reads_stem(self) -> bool:
        """Whether the head reads features of the stem in addition to the features of the tokens."""
        return self.backbone.stem is not None and self.head_kind is HeadKind.POSE


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
