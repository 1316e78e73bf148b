"""Stores in which nights left what nights leave, in small: folders, runs, models and versions, day by day."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow import MlflowClient

from data_contracts.parameters import SyntheticParameters
from data_contracts.store.digests import Identity, file_digest
from data_contracts.store.folders import open_stage
from data_contracts.store.manifests import read_manifest, write_manifest
from tasks.mlflow_runs.names import (
    CHECKPOINT_TAG,
    DIGEST_TAG,
    EXPERIMENT,
    INPUTS_TAG,
    MODEL_NAME,
    STAGE_TAG,
    STORE_TAG,
    WINDOWS_TAG,
    store_id,
)
from tasks.mlflow_runs.runs import connect
from tasks.mlflow_runs.store_artifacts import local_folder

FIRST_DAY = datetime(2026, 1, 1, 3, tzinfo=UTC)


@dataclass
class Night:
    """What a night left: digests of its stages by their names, their folders, its run, and its version."""

    run: str
    digests: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    version: str = ""
    model: str = ""


class History:
    """Of a store; `nights` in their order."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.client: MlflowClient = connect(store)
        self.experiment = self.client.get_experiment_by_name(EXPERIMENT).experiment_id
        if not self.client.search_registered_models():
            self.client.create_registered_model(MODEL_NAME)
        self.nights: list[Night] = []
        self.source = "5" * 64

    def run(self, stage: str, digest: str, inputs: dict[str, str], day: float, status="FINISHED", **tags: str) -> str:
        """A run in MLflow with a file."""
        began = int((FIRST_DAY + timedelta(days=day)).timestamp() * 1000)
        named = {STAGE_TAG: stage, DIGEST_TAG: digest, STORE_TAG: store_id(self.store), INPUTS_TAG: json.dumps(inputs)}
        run = self.client.create_run(self.experiment, began, {**named, **tags}, f"{stage} of day {day:g}")
        self.client.log_text(run.info.run_id, "seen", "page.html")
        if status != "RUNNING":
            self.client.set_terminated(run.info.run_id, status, began + 1000)
        return run.info.run_id

    def folder(self, kind: str, stage: str, inputs: dict[str, str], day: float, seed: int = 0) -> Path:
        """A finished folder with a file of weights."""
        with open_stage(self.store, Identity(kind, stage, SyntheticParameters(seed=seed), inputs)) as made:
            (made.folder / "model.safetensors").write_text(f"{kind} {stage} {seed} {sorted(inputs.items())}")
        manifest = read_manifest(made.folder)
        del manifest["manifest_digest"]
        manifest["created"] = f"{FIRST_DAY + timedelta(days=day, minutes=30):%Y-%m-%dT%H:%M:%SZ}"
        write_manifest(made.folder, manifest)
        return made.folder

    def stage(self, night: Night | None, kind: str, stage: str, inputs: dict[str, str], day: float, seed: int) -> Path:
        """Both; a stage that was there already is cached."""
        folder = self.folder(kind, stage, inputs, day, seed)
        known = {name: run for one in self.nights for name, run in one.runs.items() if one.digests[name] == folder.name}
        run = known.get(stage) or self.run(stage, folder.name, inputs, day)
        if night:
            night.digests[stage], night.folders[stage], night.runs[stage] = folder.name, folder, run
            self.client.set_tag(night.run, f"uplift.{stage}.digest", folder.name)
            self.client.set_tag(night.run, f"uplift.{stage}.run", run)
        return folder

    def night(self, seed: int | None = None, windows_seed: int = 0) -> Night:
        """The next day's; another seed trains anew, another `windows_seed` makes other windows."""
        day, seed = len(self.nights), len(self.nights) if seed is None else seed
        night = Night(self.run("pipeline", f"pipeline{seed}", {"source": self.source}, day))
        clips = self.stage(night, "clips", "ingest", {"source": self.source}, day, 0)
        windows = self.stage(night, "windows", "convert", {"clips": clips.name}, day, windows_seed).name
        first = self.stage(night, "runs", "pretrain", {"windows": windows}, day, seed)
        weights = {"windows": windows, "pretrained": file_digest(first / "model.safetensors")}
        tuned = self.stage(night, "runs", "finetune", weights, day, seed)
        fitted = self.stage(night, "baselines", "baselines", {"windows": windows}, day, 0).name
        checkpoint = file_digest(tuned / "model.safetensors")
        of_report = {"windows": windows, "checkpoint": checkpoint, "baselines": fitted}
        self.stage(night, "reports", "evaluate", of_report, day, 0)
        self.register(night, checkpoint, windows, day)
        self.nights.append(night)
        return night

    def register(self, night: Night, checkpoint: str, windows: str, day: int) -> None:
        """A LoggedModel with files and a version of it, registered on that day."""
        same = [one for one in self.nights if one.digests["finetune"] == night.digests["finetune"]]
        if same:
            night.version, night.model = same[0].version, same[0].model
            return
        model = self.client.create_logged_model(self.experiment, f"best-{day}", night.runs["finetune"])
        files = local_folder(model.artifact_location, self.client.tracking_uri)
        files.mkdir(parents=True)
        (files / "model.safetensors").write_text(checkpoint)
        self.client.finalize_logged_model(model.model_id, "READY")
        tags = {CHECKPOINT_TAG: checkpoint, WINDOWS_TAG: windows}
        version = self.client.create_model_version(
            MODEL_NAME, f"models:/{model.model_id}", night.runs["finetune"], tags, model_id=model.model_id
        )
        night.version, night.model = str(version.version), model.model_id
        self.backdate_version(night.version, day)

    def backdate_version(self, version: str, day: int) -> None:
        """MLflow takes no time of a version's making."""
        from sqlalchemy import text

        store = self.client._get_registry_client().store
        with store.engine.begin() as connection:
            connection.execute(
                text("UPDATE model_versions SET creation_time = :at WHERE version = :version"),
                {"at": int((FIRST_DAY + timedelta(days=day)).timestamp() * 1000), "version": int(version)},
            )

    def crown(self, night: Night, alias: str = "champion") -> None:
        """The night's version gets an alias."""
        self.client.set_registered_model_alias(MODEL_NAME, alias, night.version)

    def run_ids(self) -> set[str]:
        """Of all runs that are there, of any store."""
        return {run.info.run_id for run in self.client.search_runs([self.experiment], max_results=1000)}

    def model_ids(self) -> set[str]:
        """Of all LoggedModels that are there."""
        return {model.model_id for model in self.client.search_logged_models([self.experiment])}

    def versions(self) -> set[str]:
        """Numbers of all versions that are there."""
        return {str(one.version) for one in self.client.search_model_versions(f"name = '{MODEL_NAME}'")}

    def whole(self, night: Night) -> bool:
        """Whether everything that the night left is there."""
        return (
            all((folder / "manifest.json").is_file() for folder in night.folders.values())
            and {night.run, *night.runs.values()} <= self.run_ids()
            and night.version in self.versions()
            and night.model in self.model_ids()
        )


def files_below(store: Path) -> dict[str, int]:
    """Sizes of all files by their paths, but of what a removal locks."""
    files = {str(path.relative_to(store)): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    return {path: size for path, size in files.items() if not path.startswith(".gc.lock")}
