"""Where a night's training starts: from nothing, by pretraining, or from the champion's weights."""

from pathlib import Path

from data_contracts.errors import InputError
from tasks.tracking.models import LiftingModel, find_lifting_model
from tasks.tracking.names import CHAMPION, MODEL_NAME
from tasks.tracking.registry import aliased_versions, version_uri
from tasks.tracking.runs import connect


def champion_to_start_from(store: Path, window: int) -> LiftingModel:
    """The champion as it is now, by its number: what is promoted meanwhile changes nothing.

    Parameters
    ----------
    window
        Frames of the windows that it will be fine-tuned on.

    Raises
    ------
    InputError
        There is none, or it learned on windows of another length.
    MlflowException
        The registry could not be asked.
    """
    version = aliased_versions(connect(store)).get(CHAMPION)
    if version is None:
        raise InputError(f"there is no {MODEL_NAME}@{CHAMPION} to start from: promote a version, or start from nothing")
    model = find_lifting_model(store, version_uri(version))
    learned = _window_of(model.checkpoint)
    if learned != window:
        raise InputError(
            f"{model.uri}, the champion, learned on windows of {learned} frames, and these have {window}: pass --set"
            f" convert.window={learned}, or start from nothing"
        )
    return model


def _window_of(checkpoint: Path) -> int:
    # PyTorch, which a night that is cached need not wait for
    from model.training.checkpoints import load_network, read_about

    return int(read_about(checkpoint).get("window") or load_network(checkpoint).config.max_frames)
