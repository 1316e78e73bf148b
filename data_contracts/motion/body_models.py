"""Find the files of body models (SMPL-H, SMPL-X), and of regressors, which compute joints from body vertices."""

from pathlib import Path

from data_contracts.errors import InputError

GENDERS = ("female", "male", "neutral")  # `female` contains `male`, so it is first
_CONVERT_MODEL = (
    "python -c \"import numpy as n, pickle, sys; m = pickle.load(open(sys.argv[1], 'rb'), encoding='latin1');"
    " n.savez(sys.argv[2], **{k: n.array(m[k].toarray() if hasattr(m[k], 'toarray') else m[k]) for k in ('v_template',"
    " 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'kintree_table')})\""
)


def find_body_models(folder: Path) -> tuple[Path, ...]:
    """Return the .npz of body models, then the .npy of regressors, in a folder and up to two levels below it.

    Raises
    ------
    InputError
        The folder does not exist, or has no .npz with a gender in its name or in the name of its folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --body-model needs a folder with body models (docs/motion.md)")
    near = [path for depth in ("", "*/", "*/*/") for path in sorted(folder.glob(f"{depth}[!.]*"))]
    models = [path for path in near if path.suffix == ".npz" and gender_of(path)]
    regressors = [path for path in near if path.name.startswith("J_regressor_h36m") and path.suffix == ".npy"]
    if models:
        return (*models, *regressors)
    if pickles := [path for path in near if path.suffix == ".pkl"]:
        raise InputError(
            f"{pickles[0]}: a pickle can execute code, so only .npz models are read; convert each model that you trust"
            f" (some need the package chumpy) with: {_CONVERT_MODEL} {pickles[0]} {pickles[0].with_suffix('.npz')}"
        )
    raise InputError(
        f"{folder}: no body model in this folder; expected e.g. smplh/male/model.npz or smplx/SMPLX_NEUTRAL.npz"
    )


def gender_of(path: Path) -> str | None:
    """Return the gender in the name of an .npz file or of its folder; None without one, or for another extension."""
    texts = (path.stem.lower(), path.parent.name.lower()) if path.suffix == ".npz" else ()
    return next((gender for text in texts for gender in GENDERS if gender in text), None)
