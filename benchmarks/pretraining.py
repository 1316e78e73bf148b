"""Ways to train a lifter, each given the same minutes on the same windows; scored on people that none has seen.

    python -m benchmarks.pretraining ../shared/data/cmu [--minutes 5] [--seed 0] [--set convert.window=9]

Rows: mean depth, linear and mlp (for what a model has to beat, the last in as many minutes), the DSTformer trained from
scratch, the seed's recipe (give back masked 2D, then a depth head of 64-128-1 on the frozen backbone), the same with
the whole network fine-tuned, and the paper's (lift from masked 2D, then the same from clean 2D) with the backbone
frozen and not. A recipe of two stages gives each half of the minutes; recipes that begin alike share the first stage.
One size of network (`benchmarks/small.yaml`, without stem or geometry), one batch size, cosine schedules; the minutes
become epochs at the speed measured for each stage, and the minutes it took in the end stand in the table (on CPU the
process's own, so that others on the machine count little). Best epoch by the validation people, scores by
`model.scoring.evaluation` on the test people, without flip averaging.

The last rows are no models but a question: do the features of the reconstruction hold depth at all? A ridge regression
from the features of one joint, as the seed's head sees them, and of a whole frame, to depth.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from data_contracts.parameters import (
    CorruptionParameters,
    DSTformerConfig,
    FinetuneParameters,
    HeadKind,
    MLPParameters,
    Objective,
    PipelineParameters,
    Runtime,
    TrainingParameters,
)
from data_contracts.presets import load_preset
from data_contracts.report import MethodScores
from model.baselines.linear import fit_linear, fit_mean_depth
from model.baselines.mlp import fit_mlp
from model.learning.checkpoints import load_network
from model.learning.devices import make_fabric
from model.network.dstformer import DSTformer
from model.network.lifting import Lifter, root_relative
from model.scoring.evaluation import evaluate, network_lifter
from model.training import build_network, fit
from model.windows.epochs import TrainingWindows
from model.windows.loading import Windows, load_windows
from tasks.finetune import with_head

SMALL = Path(__file__).with_name("small.yaml")
STEPS_TO_MEASURE = 40
PROBE_RIDGE = 1.0


@dataclass
class Bench:
    """Windows, and how to train on them for so many minutes."""

    windows: TrainingWindows
    test: Windows
    base: TrainingParameters
    runtime: Runtime
    minutes: float
    rows: list[tuple[str, float, MethodScores]] = field(default_factory=list)

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds: of the process on CPU, where others disturb it; else of the wall."""
        on_cpu = make_fabric(self.runtime, "32-true").device.type == "cpu"
        return time.process_time if on_cpu else time.monotonic

    def train(
        self, network: DSTformer, objective: Objective, share: float, **changes: object
    ) -> tuple[DSTformer, float]:
        """A trained copy of `network` after that share of the minutes, its best epoch; and the minutes it took."""
        parameters = self.base.model_copy(update=changes)
        seconds = self._seconds_per_epoch(network, parameters, objective)
        epochs = max(1, round(60 * self.minutes * share / seconds))
        parameters = parameters.model_copy(update={"max_epochs": epochs, "patience": epochs})
        started = self.clock()
        with TemporaryDirectory() as folder:
            self._fit(copy.deepcopy(network), parameters, objective, Path(folder))
            trained = load_network(Path(folder) / "model.safetensors")
        return trained, (self.clock() - started) / 60

    def score(self, name: str, minutes: float, lifter: Lifter) -> None:
        """A row of the table."""
        self.rows.append((name, minutes, evaluate(lifter, self.test, 256).scores))
        print(describe(*self.rows[-1]), flush=True)

    def score_network(self, name: str, minutes: float, network: nn.Module) -> None:
        """A row of the table."""
        self.score(name, minutes, network_lifter(network, make_fabric(self.runtime, "32-true"), flip=False))

    def _fit(
        self,
        network: DSTformer,
        parameters: TrainingParameters,
        objective: Objective,
        folder: Path,
        on_step: Callable[[int, int], None] = lambda step, steps: None,  # noqa: ARG005
    ) -> None:
        fabric = make_fabric(self.runtime, parameters.precision)
        fit(network, self.windows, parameters, objective, folder, fabric, self.runtime, _nothing, on_step)

    def _seconds_per_epoch(self, network: DSTformer, parameters: TrainingParameters, objective: Objective) -> float:
        """Of training alone, from some steps after the first ones."""
        times: list[float] = []

        def on_step(step: int, steps: int) -> None:  # noqa: ARG001 - as `fit` calls it
            times.append(self.clock())
            if len(times) > STEPS_TO_MEASURE:
                raise Measured

        endless = parameters.model_copy(update={"max_epochs": 1000, "patience": 1000})
        with TemporaryDirectory() as folder, suppress(Measured):
            self._fit(copy.deepcopy(network), endless, objective, Path(folder), on_step)
        middle = sorted(b - a for a, b in pairwise(times))[len(times) // 2 - 1]
        return middle * math.ceil(len(self.windows.train) / (parameters.batch_size * parameters.accumulate))


class Measured(Exception):
    """Enough steps were timed."""


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with an AMASS pickle and its clip_list.csv")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default=str(SMALL))
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    preset = load_preset(options.preset, [f"pretrain.seed={options.seed}", *options.set])
    with TemporaryDirectory() as store:
        folder = make_windows(options.folder, Path(store), preset)
        runtime = preset.runtime
        device = make_fabric(runtime, "32-true").device
        train = load_windows(folder, "train", runtime.memory_gb, device, flip=True)
        val = load_windows(folder, "val", runtime.memory_gb, device)
        test = load_windows(folder, "test", runtime.memory_gb)
        base = TrainingParameters(
            batch_size=preset.pretrain.batch_size,
            accumulate=preset.pretrain.accumulate,
            learning_rate=preset.pretrain.learning_rate,
            precision=preset.pretrain.precision,
            schedule="cosine",
            flip=True,
            seed=options.seed,
        )
        bench = Bench(TrainingWindows(train, val), test, base, runtime, options.minutes)
        print(f"{len(train)}, {len(val)}, {len(test)} windows of {train.window} frames; {base.batch_size} a step")
        print(f"{options.minutes:g} minutes a recipe on {device}, seed {options.seed}\n{HEADER}", flush=True)
        compare(bench, preset.pretrain.network.model_copy(update={"max_frames": train.window}))


def compare(bench: Bench, config: DSTformerConfig) -> None:
    """All rows, as each is done."""
    bench.score("mean depth", 0, fit_mean_depth(bench.windows.train))
    bench.score("linear", 0, fit_linear(bench.windows.train, bench.windows.val)[0])
    lift, seed = Objective.LIFT, bench.base.seed
    fabric = make_fabric(bench.runtime, "32-true")
    mlp = fit_mlp(bench.windows, MLPParameters(minutes=bench.minutes, seed=seed), fabric, _nothing)
    bench.score_network("mlp", mlp.minutes, mlp.network)
    clean = CorruptionParameters()

    def new(**changes: object) -> DSTformer:
        return build_network(lambda: DSTformer(config.model_copy(update=changes)), seed)

    def headed(pretrained: DSTformer, head: HeadKind, freeze: bool) -> DSTformer:
        return with_head(pretrained, FinetuneParameters(head=head, freeze_backbone=freeze, seed=seed))

    scratch, minutes = bench.train(new(dim_out=3), lift, 1.0)
    bench.score_network("from scratch", minutes, scratch)

    masked = CorruptionParameters(frame_share=0.15, joint_share=0.15, fill="normal")
    reconstructing, first = bench.train(new(dim_out=2), Objective.RECONSTRUCT, 0.5, corruption=masked, flip=False)
    for name, freeze in (("seed: 2D, then depth head, frozen", True), ("seed: 2D, then all fine-tuned", False)):
        tuned, second = bench.train(
            headed(reconstructing, HeadKind.DEPTH, freeze), lift, 0.5, corruption=clean, focal_gamma=2.0, flip=False
        )
        bench.score_network(name, first + second, tuned)
    masked = CorruptionParameters(joint_share=0.05, fill="zero")
    lifting, first = bench.train(new(dim_out=3), lift, 0.5, corruption=masked)
    bench.score_network("lift from masked 2D, half the minutes", first, lifting)
    for name, freeze in (("lift, then frozen", True), ("lift, then all fine-tuned", False)):
        tuned, second = bench.train(headed(lifting, HeadKind.JOINTS, freeze), lift, 0.5, corruption=clean)
        bench.score_network(name, first + second, tuned)
    for name, whole in (("probe: 2D features of a joint", False), ("probe: 2D features of a frame", True)):
        bench.score(name, 0, probe(reconstructing, bench.windows.train, whole))


@torch.no_grad()
def probe(network: DSTformer, train: Windows, whole_frame: bool) -> Lifter:
    """Ridge regression from backbone features to depth; x and y from the input."""

    def features(pose_2d: Tensor) -> Tensor:
        """(17, B * T, F): of each joint, or of all joints for every joint."""
        found = network.norm(network.backbone(pose_2d)).flatten(0, 1)  # (B * T, 17, C)
        seen = found.flatten(1).expand(17, -1, -1) if whole_frame else found.transpose(0, 1)
        return torch.cat((seen, seen.new_ones(*seen.shape[:2], 1)), dim=-1)

    network.eval()
    gram, moment = torch.zeros(()), torch.zeros(())
    for batch in train.batches(256):
        x = features(batch.pose_2d) * batch.frame_weight.flatten().view(1, -1, 1)
        gram = gram + ((x[0].T @ x[0]).expand(17, -1, -1) if whole_frame else x.transpose(1, 2) @ x).double()
        moment = moment + (x.transpose(1, 2) @ batch.pose_3d[..., 2].flatten(0, 1).T[..., None]).double()
    ridge = PROBE_RIDGE * torch.eye(gram.shape[-1], dtype=torch.float64)
    weights = torch.linalg.solve(gram + ridge, moment).float()  # (17, F, 1)

    @torch.no_grad()
    def predict(pose_2d: Tensor) -> Tensor:
        depth = (features(pose_2d) @ weights)[..., 0].T.reshape(pose_2d.shape[:3])
        return root_relative(torch.cat((pose_2d[..., :2], depth[..., None]), dim=-1))

    return predict


HEADER = f"{'':40} minutes   MPJPE  P-MPJPE  PCK@150  MPJVE"


def describe(name: str, minutes: float, scores: MethodScores) -> str:
    """A line of the table; mm, mm, %, mm per frame."""
    return (
        f"{name:40} {minutes:7.1f} {scores.mpjpe_mm:7.1f} {scores.p_mpjpe_mm:8.1f} {100 * scores.pck_150:7.1f}%"
        f" {scores.mpjve_mm:6.2f}"
    )


def make_windows(folder: Path, store: Path, preset: PipelineParameters) -> Path:
    """The windows folder of the motion in `folder`."""
    from benchmarks.kills import prefect_server
    from flows.convert import convert
    from flows.ingest import ingest

    (source,) = folder.glob("*.pkl")
    with prefect_server(store):
        clips = ingest(str(source), str(folder / "clip_list.csv"), preset.ingest, store=str(store))
        return convert(clips.folder, preset.convert, preset.workers, store=str(store)).path


def _nothing(*_: object) -> None:
    """Shows nothing."""


if __name__ == "__main__":
    main()
