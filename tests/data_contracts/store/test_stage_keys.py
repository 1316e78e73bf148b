"""Keys of the stages: a digest covers exactly the parameters that change the result, on every machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.parameters import (
    ConvertParameters,
    EvaluateParameters,
    IngestParameters,
    PipelineParameters,
    PretrainParameters,
)
from data_contracts.parameters.presets import load_preset
from data_contracts.sources import MotionFile
from data_contracts.store import digests
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import StageKey, stage_key
from data_contracts.store.folders import find_stage, open_stage, resolve
from data_contracts.store.manifests import read_manifest

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def windows(tmp_path):
    with open_stage(tmp_path, StageKey("windows", "convert", IngestParameters(), {})) as stage:
        pass
    return stage.folder


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def pretrain(windows, **changed):
    return stage_key("pretrain", {"windows": windows}, PretrainParameters(**changed)).digest


EXPONENTIAL = {"schedule": "exponential"}
MASKS = {"joint_share": 0.1}
NOISE = {"noise": {"outlier_share": 0.1}}


@pytest.mark.parametrize(
    ("common", "changed"),
    [
        ({}, {"gradient_checkpointing": True}),
        ({}, {"auto_batch": True}),
        ({}, {"max_bad_steps": 3}),
        ({}, {"decay": 0.5}),
        ({"schedule": "cosine"}, {"decay": 0.5}),
        ({"learning_rate": 0.01}, {"norm_learning_rate": 0.01}),
        ({"max_epochs": 10}, {"patience": 11}),
        ({}, {"corruption": {"fill": "token"}}),
        ({}, {"corruption": {"skeletons": ["coco17"]}}),
        (
            {"corruption": {"noise": {"outlier_share": 0}}},
            {"corruption": {"noise": {"outlier_share": 0, "outlier_range": 1}}},
        ),
        ({}, {"network": {"mask_token": True, "max_frames": 9}}),
        ({}, {"augmentation": {"bodies": None, "limbs_share": 0, "varied_share": 0.5}}),
        ({}, {"augmentation": {"varied_share": 0, "tilt_deg": 5}}),
        ({"augmentation": {"bodies": {}}}, {"augmentation": {"bodies": {}, "varied_share": 0.5}}),
        (
            {"augmentation": {"cameras": {"perspective_share": 0}}},
            {"augmentation": {"cameras": {"perspective_share": 0, "nearest_m": 2, "max_off_axis_deg": 0}}},
        ),
    ],
)
def test_parameters_without_effect_on_the_result_do_not_change_the_digest(windows, common, changed):
    assert pretrain(windows, **{**common, **changed}) == pretrain(windows, **common)


@pytest.mark.parametrize(
    ("common", "changed"),
    [
        (EXPONENTIAL, {"decay": 0.5}),
        ({}, {"norm_learning_rate": 0.01}),
        ({"max_epochs": 10}, {"patience": 9}),
        ({"corruption": MASKS}, {"corruption": {**MASKS, "fill": "token"}}),
        ({"corruption": NOISE}, {"corruption": {"noise": {"outlier_share": 0.1, "outlier_range": 1}}}),
        ({}, {"corruption": {"noise": {}}}),
        ({}, {"corruption": {"skeletons_share": 0.5}}),
        ({"corruption": {"skeletons_share": 0.5}}, {"corruption": {"skeletons_share": 0.5, "skeletons": ["coco17"]}}),
        ({}, {"network": {"embed_dim": 32}}),
        ({}, {"batch_size": 32}),
        ({}, {"augmentation": {"cameras": {}}}),
        ({}, {"augmentation": {"bodies": {}}}),
        ({}, {"augmentation": {"tilt_deg": 1}}),
        ({"augmentation": {"cameras": {}}}, {"augmentation": {"cameras": {"nearest_m": 2}}}),
        ({}, {"keep_top": 1}),
        ({}, {"checkpoint_every": 2}),
        ({}, {"precision": "bf16-mixed"}),
        ({"precision": "bf16-mixed"}, {"precision": "16-mixed"}),
    ],
)
def test_parameters_that_change_the_result_change_the_digest(windows, common, changed):
    assert pretrain(windows, **{**common, **changed}) != pretrain(windows, **common)


def test_the_digest_of_an_evaluation_covers_split_and_precision_and_not_the_batch_size(windows, checkpoint):
    def digest(**changed):
        return stage_key(
            "evaluate",
            {"windows": windows, "checkpoint": checkpoint, "baselines": "abc"},
            EvaluateParameters(**changed),
        ).digest

    assert digest(batch_size=8) == digest()
    changed = ({"precision": "bf16-mixed"}, {"split": "val"}, {"flip": False}, {"robustness_windows": 0})
    assert len({digest(), *(digest(**one) for one in changed)}) == 5


def test_the_digest_of_windows_covers_only_the_parameters_of_the_chosen_split(windows):
    def digest(**changed):
        return stage_key("convert", {"clips": windows}, ConvertParameters(**changed)).digest

    names = {"val_groups": ["a"], "test_groups": ["b", "c"]}
    by_share = {"val_share": 0.3, "test_share": 0.3, "split_seed": 1}
    by_name = {"split_by": "groups", **names}
    assert digest(**names) == digest()
    assert digest(split_by="amass", **names, **by_share) == digest(split_by="amass")
    assert digest(**by_name, **by_share) == digest(**by_name)
    assert digest(**by_name | {"test_groups": ["c", "b", "c"]}) == digest(**by_name)
    others = [by_name, by_name | {"val_groups": []}, by_name | {"test_groups": ["b"]}, by_share]
    others.append({"split_by": "groups", "test_groups": "all"})
    assert len({digest(), *(digest(**other) for other in others)}) == 6


def test_the_digest_of_a_pipeline_run_covers_the_parameters_of_its_stages_and_not_the_runtime(checkpoint):
    def digest(**changed):
        return stage_key("pipeline", {"source": [MotionFile(checkpoint)]}, PipelineParameters(**changed)).digest

    for idle in (
        {"runtime": {"accelerator": "cpu"}},
        {"workers": {"processes": 2}},
        {"promote": {"min_gain_mm": 1}},
        {"synthetic": {"people": 3}},
        {"finetune": {"gradient_checkpointing": True}},
    ):
        assert digest(**idle) == digest()
    assert digest(finetune={"precision": "bf16-mixed"}) != digest()


def test_the_manifest_contains_exactly_the_parameters_of_the_digest(tmp_path, windows):
    parameters = load_preset("demo").pretrain
    with open_stage(tmp_path, stage_key("pretrain", {"windows": windows}, parameters)) as stage:
        pass
    recorded = read_manifest(stage.folder)["parameters"]
    assert recorded["network"]["stem_width"] == parameters.network.stem_width
    assert recorded["learning_rate"] == parameters.learning_rate
    assert not {"decay", "max_bad_steps"} & recorded.keys()
    assert "embed_dim" not in recorded["network"]  # an MLP has no tokens
    assert find_stage(tmp_path, stage_key("pretrain", {"windows": windows}, parameters)).parameters == recorded


def test_a_digest_is_computed_without_pytorch():
    """The import of PyTorch takes seconds, and the digest must not depend on the machine."""
    script = (
        "import sys; from data_contracts.store.digests import StageKey; from data_contracts.parameters import *;"
        "StageKey('runs', 'pretrain', PretrainParameters(precision='16-mixed'), {}).digest;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_folder_of_an_earlier_contract_is_read_by_its_path_and_not_found_by_its_key(tmp_path, monkeypatch):
    key = StageKey("synthetic", "synthesise", load_preset("demo").synthetic, {})
    with monkeypatch.context() as patch:
        for module in (digests, "data_contracts.store.folders"):
            patch.setattr(f"{module if isinstance(module, str) else module.__name__}.CONTRACT_VERSION", 3)
        with open_stage(tmp_path, key) as stage:
            (stage.folder / "motion.txt").write_text("walks")
    assert find_stage(tmp_path, key) is None  # its stage runs again
    folder = resolve(tmp_path, "synthetic", stage.digest)
    assert read_manifest(folder)["contract_version"] == 3
    assert check_folder(folder).files == 1
