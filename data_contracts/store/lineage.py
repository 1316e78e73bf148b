"""Lineage of the results in a store: stages by digest, the runs behind a checkpoint, and the data of their training.

A run is found by the SHA-256 of its checkpoint, so copies of the file and downloads from MLflow lead to the run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_FILE
from data_contracts.store.digests import KINDS, file_digest
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import MANIFEST, SHIPPED_RUN, read_manifest

TRAINING_DATA = "training_data"  # entry of the statistics of a training run


class FinishedStages:
    """Finished stages of a store: `manifests` by folder, and the folders whose manifest is `damaged`.

    `others` are folders outside the store that belong to it here. `folder`, `find` and `runs` also search the training
    run of the lifter in this package, which is not in `manifests`.
    """

    def __init__(self, store: Path, *others: Path) -> None:
        self.store = store
        self._found: dict[Path, dict[str, Any]] = {}
        self.damaged: list[Path] = []
        self._folders: dict[str, Path] = {}
        places = [store / kind for kind in dict.fromkeys(KINDS.values())]
        stored = [folder for place in places for folder in sorted(place.glob("[!.]*"))]
        for folder in (*others, *stored, SHIPPED_RUN):
            if not (folder / MANIFEST).is_file():
                continue
            try:
                manifest = self._found[folder] = read_manifest(folder)
            except InputError:
                self.damaged.append(folder)
                continue
            for name in names_of(manifest):
                self._folders.setdefault(name, folder)
        self.manifests = {folder: manifest for folder, manifest in self._found.items() if folder != SHIPPED_RUN}

    def folder(self, digest: str) -> Path | None:
        """Return the folder of the stage that has this digest or wrote a file with this SHA-256, or None."""
        return self._folders.get(digest)

    def find(self, digest: str) -> dict[str, Any] | None:
        """Return the manifest of the stage that has this digest or wrote a file with this SHA-256, or None."""
        folder = self.folder(digest)
        return self._found[folder] if folder else None

    def runs(self, weights: str) -> Iterator[dict[str, Any]]:
        """Yield the manifests of the runs that trained the weights with this SHA-256, the last run first."""
        while manifest := self.find(weights):
            yield manifest
            weights = manifest["inputs"].get("pretrained", "")

    @property
    def missing(self) -> str:
        """Sentence that states why a digest is not found."""
        reason = f"no finished stage in {self.store} has this digest or file"
        damaged = ", ".join(folder.name for folder in self.damaged)
        return f"{reason}; folders with a damaged manifest: {damaged}" if damaged else reason


def names_of(manifest: dict[str, Any]) -> list[str]:
    """Return the digest of a stage and the SHA-256 of its files."""
    return [manifest["digest"], *manifest["files"].values()]


class TrainingData(BaseModel):
    """Data that a network was trained on, including the data of the weights from which its training started.

    `subjects` are those of the training and validation splits, because validation selects the epoch. `unknown` lists
    inputs whose subjects are not known, with the reason. `sources` are the SHA-256 of the motion files.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    subjects: tuple[str, ...] = Field((), alias="people")
    synthetic: bool = False
    unknown: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()

    def united(self, other: "TrainingData") -> "TrainingData":
        """Return the union of this and the `other` training data."""

        def both(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(sorted([*getattr(self, name), *getattr(other, name)])))

        names = ("subjects", "unknown", "sources", "licences")
        return TrainingData(synthetic=self.synthetic or other.synthetic, **{name: both(name) for name in names})


def data_of_weights(stages: FinishedStages, weights: str) -> TrainingData:
    """Return the training data of weights from the manifest of their run; unknown if the run is not in the store."""
    run = stages.find(weights)
    if run is None:
        return TrainingData(unknown=(f"weights {weights}: {stages.missing}",))
    if TRAINING_DATA in run["statistics"]:
        return TrainingData.model_validate(run["statistics"][TRAINING_DATA])
    return data_of_inputs(stages, run["inputs"])  # a run of an earlier version recorded nothing


def data_of_inputs(stages: FinishedStages, inputs: dict[str, str]) -> TrainingData:
    """Return the training data of a run with these inputs: its windows, and the data of its pretrained weights."""
    own = _data_of_windows(stages, inputs["windows"])
    return own.united(data_of_weights(stages, inputs["pretrained"])) if "pretrained" in inputs else own


def _data_of_windows(stages: FinishedStages, digest: str) -> TrainingData:
    windows = stages.find(digest)
    if windows is None:
        return TrainingData(unknown=(f"windows {digest}: {stages.missing}",))
    groups, clips = windows["statistics"]["groups"], stages.find(windows["inputs"]["clips"])
    subjects = tuple(sorted({*groups["train"], *groups["val"]}))
    if clips is None:
        return TrainingData(subjects=subjects)
    statistics, licence = clips["statistics"], clips["statistics"].get("licence")
    sources = tuple(digest for name, digest in clips["inputs"].items() if name.startswith("source"))
    names = [statistics.get("source"), *(file["file"] for file in statistics.get("files", []))]
    made = [(stages.find(digest) or {}).get("stage") for digest in sources]
    synthetic = "synthesise" in made or SYNTHETIC_FILE in names
    licences = (licence,) if licence else ()
    return TrainingData(subjects=subjects, synthetic=synthetic, sources=sources, licences=licences)


def runs_of(store: Path, checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Yield the manifests of the runs that trained a checkpoint, found in its folder or the store; last run first."""
    yield from FinishedStages(store, checkpoint.parent).runs(file_digest(checkpoint))


def train_minutes(store: Path, checkpoint: Path) -> float | None:
    """Return the duration of all runs that trained a checkpoint, in minutes; None if a run is not known."""
    runs = list(runs_of(store, checkpoint))
    if not runs or "pretrained" in runs[-1]["inputs"]:
        return None
    return sum(run["seconds"] for run in runs) / 60


def baselines_source(store: Path, windows: Path, checkpoint: Path, reference: str | None) -> Path:
    """Return the folder of baselines to compare a model with on `windows`, or of windows to fit the baselines on.

    `reference` is the path or digest of baselines or windows. Default: `windows` if they have a training split, else
    the windows that the model was trained on.

    Raises
    ------
    InputError
        The folder does not exist, or the training windows of the model are not known.
    """
    if reference is not None:
        folder = resolve(store, "*", reference)
        stage = read_manifest(folder)["stage"]
        if stage in ("baselines", "convert"):
            return folder
        raise InputError(
            f"--baselines {reference}: expected the folder or digest of windows or baselines, but {folder} is the"
            f" output of stage {stage}"
        )
    if read_manifest(windows)["counts"]["windows"].get("train"):
        return windows
    missing = f"{windows} has no training split to fit the baselines on"
    remedy = "pass --baselines with the folder or digest of the model's training windows"
    run = next(runs_of(store, checkpoint), None)
    if run is None:
        raise InputError(
            f"{missing}, and the training windows of {checkpoint} are unknown (no run in {store} has this checkpoint);"
            f" {remedy}"
        )
    try:
        return resolve(store, "windows", run["inputs"]["windows"])
    except InputError as error:
        raise InputError(
            f"{missing}, and the training windows {run['inputs']['windows']} of {checkpoint} are not in {store};"
            f" run `uplift convert` again, or {remedy}"
        ) from error


def are_baselines(source: Path) -> bool:
    """Return whether a folder of `baselines_source` contains fitted baselines."""
    return read_manifest(source)["stage"] == "baselines"
