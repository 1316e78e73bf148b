import time
from pathlib import Path

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, Objective
from data_contracts.parameters.presets import (
    MAX_CHARACTERS,
    MAX_VALUES,
    PRESETS,
    load_preset,
    nearest_preset,
    preset_and_overrides,
    preset_names,
)


def test_every_preset_is_complete_and_within_bounds():
    assert preset_names() == ["cpu", "demo", "dstformer", "gpu", "motionbert", "seed"]
    for name in preset_names():
        load_preset(name)


def test_the_seed_preset_has_the_settings_of_the_seed():
    seed = load_preset("seed")
    network = seed.pretrain.network
    assert (network.embed_dim, network.heads, network.fusion_depth, network.attn_depth) == (64, 8, 2, 2)
    assert (seed.convert.window, seed.ingest.min_frames) == (10, 1000)
    assert (seed.pretrain.batch_size, seed.pretrain.accumulate) == (32, 4)
    assert (seed.pretrain.objective, seed.finetune.head) == (Objective.RECONSTRUCT, HeadKind.DEPTH)
    assert (seed.finetune.learning_rate, seed.finetune.norm_learning_rate) == (1e-3, 5e-4)


def test_overrides_reach_nested_parameters():
    parameters = load_preset("demo", ["convert.window=9", "pretrain.network.embed_dim=16", "pretrain.flip=false"])
    assert parameters.convert.window == 9
    assert parameters.pretrain.network.embed_dim == 16
    assert parameters.pretrain.flip is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("convert.window=0", r"convert\.window: .*greater than or equal to 1, got 0"),
        ("convert.windw=3", r"convert\.windw: Extra inputs are not permitted"),
        ("pretrain.network.heads=7", "embed_dim 64 is not a multiple of heads 7"),
        ("pretrain.loss={mpjpe: 0}", "every loss weight is 0"),
        ("convert.window", r"write path\.to\.parameter=value"),
        ("convert.val_share=0", r"convert\.val_share: Input should be greater than 0, got 0"),
        ("convert.split_by=groups", "needs a list of names in val_groups or test_groups"),
        ("convert={val_groups: [S1, S5], test_groups: [S5]}", "groups S5 are in val_groups and in test_groups"),
        ("convert={val_groups: [S1], test_groups: all}", "groups S1 are in val_groups and in test_groups"),
        ("convert.test_groups=S9", r"convert\.test_groups: .*expected a list of groups, e\.g\. \[S9, S11\], got 'S9'"),
        ("convert.test_groups=[no]", "False is not a group name; quote names"),
        ("convert.window.x=3", "'window' is a value and contains no parameters"),
        ("convert.window=[", "not valid YAML"),
    ],
)
def test_a_bad_override_raises_an_error_of_one_line_with_its_path(override, message):
    with pytest.raises(InputError, match=message) as raised:
        load_preset("demo", [override])
    assert "\n" not in str(raised.value)


def test_the_error_for_an_unknown_preset_lists_the_presets():
    with pytest.raises(InputError, match="cpu, demo, dstformer, gpu, motionbert, seed"):
        load_preset("best")


def test_an_override_does_not_change_other_places_that_share_a_yaml_anchor():
    before, after = load_preset("demo"), load_preset("demo", ["pretrain.augmentation.tilt_deg=8"])
    assert after.pretrain.augmentation.tilt_deg == 8
    assert after.finetune == before.finetune
    assert after.baselines == before.baselines


def test_an_override_of_one_field_keeps_the_other_defaults_of_the_mlp_baseline():
    network = load_preset("demo", ["baselines.mlp.network.stem_width=64"]).baselines.mlp.network
    assert network == load_preset("demo").baselines.mlp.network.model_copy(update={"stem_width": 64})
    assert network.kind == "mlp"


def test_group_names_that_look_like_numbers_stay_text():
    overrides = ["convert.test_groups=[S9, 06, 60, 010, S9]", "convert.val_groups=['1e3']"]
    convert = load_preset("demo", overrides).convert
    assert convert.test_groups == ("010", "06", "60", "S9")
    assert convert.val_groups == ("1e3",)


@pytest.mark.parametrize("name", preset_names())
def test_the_mlp_baseline_has_the_augmentation_and_corruption_of_the_model(name):
    preset = load_preset(name)
    assert preset.baselines.mlp.augmentation == preset.finetune.augmentation
    assert preset.baselines.mlp.corruption == preset.finetune.corruption


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        *((name, []) for name in preset_names()),
        ("gpu", ["convert.views=3", "pretrain.network.embed_dim=96", "pretrain.patience=7"]),
        ("demo", ["pretrain.augmentation.cameras=null", "runtime.memory_gb=1000.0"]),
        ("seed", ["pretrain.augmentation.cameras={max_pitch_deg: 20}", "finetune.learning_rate=0.00000123"]),
        ("cpu", ["convert.split_by=groups", "convert.test_groups=['06', '12:30', 'no', '1_0', '0x1', 'a: b']"]),
        ("demo", ["ingest.licence='CC BY: [4.0] # \u00e9'", "lift.bones={left_knee: 0.4}"]),
        ("demo", ['ingest.licence="two\\nlines"']),
    ],
)
def test_preset_and_overrides_load_to_the_same_parameters(preset, overrides):
    parameters = load_preset(preset, overrides)
    written = preset_and_overrides(parameters)
    assert load_preset(**written) == parameters
    assert written["preset"] == preset
    assert len(written["overrides"]) <= 3 * len(overrides)


def test_parameters_of_a_users_file_become_a_project_preset_with_overrides(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("convert: {views: 3}\npretrain: {max_epochs: 1}\n")
    parameters = load_preset(str(file), ["pretrain.seed=4"])
    written = preset_and_overrides(parameters)
    assert written["preset"] in preset_names()
    assert load_preset(**written) == parameters


ANCHORS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ANCHORS, "more than 20,000 values .aliases expanded."),
        (ANCHORS + "pretrain: {<<: *i}", "more than 20,000 values"),
        ("a: [" + "1, " * MAX_VALUES + "]", "more than 20,000 values"),
        ("[" * 5000 + "]" * 5000, "nested deeper than 20 levels"),
        ("{" * 200_000, "nested deeper than 20 levels"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(600)), "nested deeper than 20 levels"),
        ("- " * 100_000, "nested deeper than 20 levels"),
        ("a: &a [*a]", r"\*a is inside the value that it refers to"),
        ("#" * (MAX_CHARACTERS + 1), "longer than 262,144 characters"),
        ("pretrain: {seed: " + "9" * 5000 + "}", "not valid YAML: Exceeds the limit"),
        ("pretrain: {seed: 2001-99-99}", "not valid YAML: month must be in"),
        ("a: 1" + ":59" * 80_000 + ".5", "not valid YAML: int too large"),
        ("\x00", "not valid YAML: unacceptable character"),
        ("{" + "a: 1, b: 2, c: 3" + "".join(f", k{place}: 1" for place in range(100)) + "}", "and 83 more"),
    ],
)
def test_an_untrusted_preset_over_a_limit_is_rejected_within_seconds(text, message, tmp_path):
    path = tmp_path / "preset.yaml"
    path.write_text(text)
    started = time.monotonic()
    with pytest.raises(InputError, match=message) as raised:
        load_preset(str(path))
    assert time.monotonic() - started < 20
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 5000


def test_a_binary_preset_file_is_rejected(tmp_path):
    (tmp_path / "preset.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_preset(str(tmp_path / "preset.yaml"))


@pytest.mark.parametrize(
    "override", ["ingest." + "a." * 5000 + "b=1", "ingest=" + "[" * 5000, f"ingest={{{ANCHORS}}}", "a" * 10**6]
)
def test_an_untrusted_override_is_rejected_with_one_short_line(override):
    with pytest.raises(InputError) as raised:
        load_preset("demo", [override])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_every_project_preset_is_far_below_the_size_limit():
    for file in Path(PRESETS).glob("*.yaml"):
        assert len(file.read_text("utf-8")) < MAX_CHARACTERS / 10


@pytest.mark.parametrize("preset", preset_names())
def test_the_most_similar_preset_of_a_preset_is_itself(preset):
    name, changed = nearest_preset(load_preset(preset).pretrain.identity(), "pretrain")
    assert changed == {}
    assert load_preset(name).pretrain == load_preset(preset).pretrain


def test_parameters_that_differ_from_the_most_similar_preset_are_listed():
    settings = load_preset("seed", ["pretrain.max_epochs=3", "pretrain.seed=7"]).pretrain.identity()
    name, changed = nearest_preset(settings, "pretrain")
    assert (name, set(changed)) == ("seed", {"max_epochs", "seed"})
