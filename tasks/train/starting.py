"""Find the champion whose weights a pipeline run fine-tunes instead of pretraining."""

from pathlib import Path

from data_contracts.errors import InputError
from tasks.tracking.models import LiftingModel, find_lifting_model
from tasks.tracking.names import CHAMPION, MODEL_NAME
from tasks.tracking.registry import aliased_versions, version_uri
from tasks.tracking.runs import connect


def champion_to_start_from(store: Path, window: int) -> LiftingModel:
    """Return the current champion by version number, so that a later promotion does not change the run.

    Parameters
    ----------
    window
        Frames per window of the training data.

    Raises
    ------
    InputError
        The registry has no champion, or the champion was trained on windows of another length.
    MlflowException
        The registry is not reachable.
    """
    version = aliased_versions(connect(store)).get(CHAMPION)
    if version is None:
        raise InputError(
            f"the registry contains no {MODEL_NAME}@{CHAMPION} to start from: promote a version, or pass --start-from"
            " nothing"
        )
    model = find_lifting_model(store, version_uri(version))
    trained = _training_window(model.checkpoint)
    if trained != window:
        raise InputError(
            f"{model.uri}, the champion, was trained on windows of {trained} frames, but the data has {window}: pass"
            f" --set convert.window={trained}, or --start-from nothing"
        )
    return model


def _training_window(checkpoint: Path) -> int:
    # imports PyTorch, which a cached pipeline run does not need
    from model.training.checkpoints import load_network, read_about

    return int(read_about(checkpoint).get("window") or load_network(checkpoint).config.max_frames)
