import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, Objective
from data_contracts.presets import load_preset, preset_names


def test_every_preset_is_complete_and_within_bounds():
    assert preset_names() == ["demo", "motionbert", "seed"]
    for name in preset_names():
        load_preset(name)


def test_the_seed_preset_says_what_the_seed_says():
    seed = load_preset("seed")
    network = seed.pretrain.network
    assert (network.embed_dim, network.heads, network.fusion_depth, network.attn_depth) == (64, 8, 2, 2)
    assert (seed.convert.window, seed.ingest.min_frames) == (10, 1000)
    assert (seed.pretrain.batch_size, seed.pretrain.accumulate) == (32, 4)
    assert (seed.pretrain.objective, seed.finetune.head) == (Objective.RECONSTRUCT, HeadKind.DEPTH)
    assert (seed.finetune.learning_rate, seed.finetune.norm_learning_rate) == (1e-3, 5e-4)


def test_overrides_reach_nested_parameters():
    parameters = load_preset("demo", ["convert.window=27", "pretrain.network.embed_dim=32", "pretrain.flip=false"])
    assert parameters.convert.window == 27
    assert parameters.pretrain.network.embed_dim == 32
    assert parameters.pretrain.flip is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("convert.window=0", r"convert\.window: .*greater than or equal to 1, got 0"),
        ("convert.windw=3", r"convert\.windw: Extra inputs are not permitted"),
        ("pretrain.network.heads=7", "embed_dim 64 is not a multiple of heads 7"),
        ("pretrain.loss={mpjpe: 0}", "every loss weight is 0"),
        ("convert.window", r"write path\.to\.parameter=value"),
        ("convert.val_share=0", r"convert\.val_share: .*val needs some; test_share may be 0, got 0"),
        ("convert.window.x=3", "'window' is a value"),
        ("convert.window=[", "not YAML"),
    ],
)
def test_a_bad_override_is_refused_in_one_line_that_names_it(override, message):
    with pytest.raises(InputError, match=message) as refusal:
        load_preset("demo", [override])
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(InputError, match="demo, motionbert, seed"):
        load_preset("best")
