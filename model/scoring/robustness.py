"""Score lifters under the errors of detectors: noise, missing joints, another skeleton.

Windows are evenly drawn from a split and scored by `evaluate`. All methods and machines get the same random numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from lightning_fabric import Fabric

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters, DetectorNoise
from data_contracts.report import Robustness
from model.data.corruption import corrupt, derived_joints
from model.data.loading import Windows, WindowTensors, some_of
from model.data.seeding import generator_at
from model.scoring.evaluation import Method, evaluate

_CORRUPTIONS = {
    "noise": CorruptionParameters(noise=DetectorNoise()),
    "missing": CorruptionParameters(joint_share=0.2, fill="zero"),
}
_SEED = 0


def score_robustness(
    methods: Mapping[str, Method], windows: Windows, count: int, batch_size: int, fabric: Fabric
) -> Robustness:
    """Return the MPJPE of each of `methods` under each condition, on at most `count` of `windows`."""
    some = evenly_drawn(windows, count)
    scores: dict[str, dict[str, float]] = {}
    for names, corrupted in conditions(some):
        done = {name: evaluate(method, corrupted, batch_size, fabric) for name, method in methods.items()}
        errors = {name: evaluation.scores["mpjpe_mm"] for name, evaluation in done.items()}
        scores |= dict.fromkeys(names, errors)
    return Robustness(windows=len(some), mpjpe_mm=scores)


def conditions(windows: WindowTensors) -> Iterator[tuple[list[str], WindowTensors]]:
    """Yield the clean windows, then corrupted ones; detectors with the same joints share one condition."""
    yield ["clean"], windows
    for name, corruption in _CORRUPTIONS.items():
        generator = generator_at(windows.scale.device, _SEED, 0, 0)
        yield [name], replace(windows, pose_2d=corrupt(windows.pose_2d, corruption, generator)[0])
    alike: dict[bytes, list[Detector]] = {}
    for detector in Detector:
        if detector is not Detector.H36M17:
            alike.setdefault(SKELETONS[detector].derived.round(5).tobytes(), []).append(detector)
    for detectors in alike.values():
        shown = torch.from_numpy(SKELETONS[detectors[0]].derived).to(windows.scale.device)
        boxed, inputs = derived_joints(windows, shown[None])
        yield [detector.value for detector in detectors], replace(boxed, pose_2d=inputs)


def evenly_drawn(windows: Windows, count: int) -> WindowTensors:
    """Return at most `count` of the windows, evenly drawn, in memory."""
    count = min(count, len(windows))
    return some_of(windows, np.linspace(0, len(windows) - 1, count).round().astype(int).tolist())
