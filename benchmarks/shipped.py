"""Make the lifter of this package: train it on motion files, then write its weights, manifest and card.

    python -m benchmarks.shipped DATA --store STORE [--preset cpu] [--set pretrain.max_epochs=200] [--into FOLDER]

DATA is a folder of motion files; docs/results.md describes it. The lifter trains in one stage on all subjects except
`VALIDATION`. The weights are those of the last epoch, because an epoch selected on so few validation windows is worse;
they are stored as float16. The manifest of the training is shipped too, because promotion reads the training subjects
from it. The manifest also has the validation scores of the float16 weights, which tests/model/shipped reproduces.
Stages that are in STORE are not computed again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.lineage import TRAINING_DATA
from data_contracts.store.manifests import SHIPPED_RUN, read_manifest, write_manifest
from flows.stages import run_stage
from flows.terminal.running import computing
from model.data.loading import load_windows
from model.lifting.lifter import load_lifter
from model.scoring.evaluation import evaluate, method_of, score_robustness
from model.training.checkpoints import LAST_FILE, load_network, read_about, save_network
from model.training.devices import make_fabric
from tasks.stage import Context

VALIDATION = ["26", "38", "43"]
LICENCE = (
    "CMU Graphics Lab Motion Capture Database: free use, also in products, no resale of the data; obtained from"
    " mocap.cs.cmu.edu, created with funding from NSF EIA-0196217. UI-PRMD (Vakanski et al., Data 2018, 3(1), 2): Open"
    " Data Commons Public Domain Dedication and License 1.0"
)
RECIPE = (
    f"ingest.licence={json.dumps(LICENCE)}",
    "convert.split_by=groups",
    f"convert.val_groups={json.dumps(VALIDATION)}",
    "pretrain.max_epochs=200",
    "pretrain.patience=10000",
)
CARD_FILE, SCORES = "card.md", "scores"
NETWORKS = {"mlp": "A residual MLP", "dstformer": "A DSTformer"}
ROBUSTNESS_WINDOWS = 2000
CARD = """# The lifter of this package

{network} with {parameters:,} parameters, for windows of {window} frames ({fps:g} per second) of 17 joints
(Human3.6M). `uplift lift` uses it if the registry has no champion; `--model shipped` names it. The weights have the
licence of the package (Apache-2.0).

## Scores

On {windows:,} windows of subjects {validation}. The weights were not trained on them.
Perspective cameras, flip averaging. MPJPE and P-MPJPE in mm, MPJVE in mm per frame. *Noise*, *missing* (20 % of the
joints) and *skeleton* (the worst detector skeleton) are MPJPE on {some:,} of the windows.

| MPJPE | P-MPJPE | MPJVE | noise | missing | skeleton |
|---|---|---|---|---|---|
| {mpjpe_mm:.1f} | {p_mpjpe_mm:.1f} | {mpjve_mm:.2f} | {noise_mm:.1f} | {missing_mm:.1f} | {skeleton_mm:.1f} |

`docs/results.md` of the repository has scores on other held-out subjects, and compares recipes.

## Data

{clips:,} clips, {frames:,} frames of training and validation. Training subjects: {subjects}.

Licences: {licence}.

## Recipe

`python -m benchmarks.shipped DATA --store STORE`: the first stage of preset `{preset}`, {epochs} epochs in
{minutes:.0f} minutes. The weights of the last epoch are stored as float16.

## Limits

- One person per track. Metres need the height of the person.
- Motion that is far from the data has larger errors: lying, handstands, acrobatics.
- The data has no occlusion; training simulates it by missing joints.
"""


def main() -> None:
    """Train the lifter and write its folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of motion files with clip lists")
    parser.add_argument("--store", type=Path, required=True, help="store of the stages")
    parser.add_argument("--preset", default="cpu", help="preset whose first stage is trained; default: cpu")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="path.to.parameter=value")
    parser.add_argument("--into", type=Path, default=SHIPPED_RUN, help="folder to write; default: model/shipped")
    options = parser.parse_args()
    context = Context(options.store.resolve(), load_preset(options.preset, [*RECIPE, *options.changes]))
    with computing():
        windows = make_windows(options.data, context)
        run = run_stage("pretrain", context, windows=str(windows)).path
    write_shipped(options.into, run, windows, context.parameters, options.preset)
    print((options.into / CARD_FILE).read_text(encoding="utf-8"))


def make_windows(data: str, context: Context) -> Path:
    """Ingest and convert all motion files of folder `data`; return the windows folder."""
    clips = run_stage("ingest", context, source=data)
    return run_stage("convert", context, clips=clips.folder).path


def write_shipped(folder: Path, run: Path, windows: Path, parameters: PipelineParameters, preset: str) -> None:
    """Write the float16 weights of a training run, its manifest with the scores, and the card to `folder`."""
    folder.mkdir(exist_ok=True)
    weights, last = load_network(run / LAST_FILE), read_about(run / LAST_FILE)["history"][-1]
    about = read_about(run / CHECKPOINT_FILE) | last
    save_network(folder / CHECKPOINT_FILE, weights.half(), about)
    manifest = read_manifest(run)
    manifest["statistics"][SCORES] = scores_of(folder / CHECKPOINT_FILE, windows, parameters)
    manifest["statistics"][TRAINING_DATA]["licences"] = [parameters.ingest.licence]  # a cached ingest may lack it
    del manifest["statistics"]["history"], manifest["manifest_digest"]
    network = NETWORKS[parameters.pretrain.network.kind]
    card = card_of(manifest, read_manifest(windows), about, network=network, preset=preset)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    manifest["files"] = {name: file_digest(folder / name) for name in (CARD_FILE, CHECKPOINT_FILE)}
    write_manifest(folder, manifest)


def scores_of(checkpoint: Path, windows: Path, parameters: PipelineParameters) -> dict[str, float]:
    """Return the scores of a checkpoint on the validation windows, with flip averaging; lengths in mm."""
    validation = load_windows(windows, "val", parameters.runtime.memory_gb)
    fabric = make_fabric(parameters.runtime, parameters.evaluate.precision)
    method = method_of(load_lifter(checkpoint), fabric)
    scores = evaluate(method, validation, parameters.evaluate.batch_size).scores
    robust = score_robustness({"model": method}, validation, ROBUSTNESS_WINDOWS, parameters.evaluate.batch_size, fabric)
    errors = {name: of["model"] for name, of in robust.mpjpe_mm.items()}
    return {
        **{name: scores[name] for name in ("mpjpe_mm", "p_mpjpe_mm", "mpjve_mm")},
        **{f"{name}_mm": errors[name] for name in ("noise", "missing")},
        "skeleton_mm": max(errors[name] for name in errors if name in set(Detector)),
    }


def card_of(manifest: dict[str, Any], windows: dict[str, Any], about: dict[str, Any], **names: str) -> str:
    """Return the card of a shipped run from its manifest, the manifest of its windows, and `about` of its weights.

    `names` are `network` and `preset`: the text about the network, and the name of the preset.
    """
    counts, statistics = manifest["counts"], manifest["statistics"]
    subjects = [one for one in statistics[TRAINING_DATA]["people"] if one not in VALIDATION]
    of_validation = windows["counts"]["windows"]["val"]
    groups = windows["statistics"]["per_group"].values()
    return CARD.format(
        **names,
        parameters=counts["parameters"],
        window=about["window"],
        fps=about["fps"],
        windows=of_validation,
        some=min(ROBUSTNESS_WINDOWS, of_validation),
        validation=", ".join(VALIDATION),
        **statistics[SCORES],
        clips=sum(windows["counts"]["clips"].values()),
        frames=sum(group["frames"] for group in groups),
        subjects=", ".join(subjects),
        licence=", ".join(statistics[TRAINING_DATA]["licences"]),
        epochs=counts["epochs"],
        minutes=manifest["seconds"] / 60,
    )


if __name__ == "__main__":
    main()
