"""Small stores with the folders, MLflow runs, models and versions of pipeline runs, one pipeline run a day."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient

from data_contracts.parameters import SyntheticParameters
from data_contracts.store.digests import StageKey, file_digest
from data_contracts.store.folders import open_stage
from data_contracts.store.manifests import read_manifest, write_manifest
from data_contracts.store.sequence import SEQUENCE
from tasks.tracking.names import (
    CHECKPOINT_TAG,
    DIGEST_TAG,
    EXPERIMENT,
    INPUTS_TAG,
    MODEL_NAME,
    PARENT_TAG,
    SEQUENCE_TAG,
    STAGE_TAG,
    STORE_TAG,
    WINDOWS_TAG,
    store_id,
)
from tasks.tracking.runs import connect

FIRST_DAY = datetime(2026, 1, 1, 3, tzinfo=UTC)


@dataclass
class PipelineRun:
    """Results of a pipeline run: digests, folders and MLflow runs of its stages by name, its run, and its version."""

    run: str
    digests: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    version: str = ""
    model: str = ""

    def moved(self, old: Path, new: Path) -> "PipelineRun":
        """Return the pipeline run in a store that was moved from `old` to `new`."""
        folders = {name: new / folder.relative_to(old) for name, folder in self.folders.items()}
        return replace(self, folders=folders, digests={**self.digests}, runs={**self.runs})


class History:
    """History of a store; `pipelines` are in their order.

    Sequence numbers are milliseconds of the day on which a thing is made. The clock shows `clock_days` more or less.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.clock_days = 0.0
        self.client: MlflowClient = connect(store)
        self.experiment = self.client.get_experiment_by_name(EXPERIMENT).experiment_id
        if not self.client.search_registered_models():
            self.client.create_registered_model(MODEL_NAME)
        self.pipelines: list[PipelineRun] = []
        self.source = "5" * 64

    def run(self, stage: str, digest: str, inputs: dict[str, str], day: float, status="FINISHED", **tags: str) -> str:
        """Create a run in MLflow with a file; return its id."""
        began = milliseconds(day + self.clock_days)
        named = {STAGE_TAG: stage, DIGEST_TAG: digest, STORE_TAG: store_id(self.store), INPUTS_TAG: json.dumps(inputs)}
        named[SEQUENCE_TAG] = str(milliseconds(day))
        run = self.client.create_run(self.experiment, began, {**named, **tags}, f"{stage} of day {day:g}")
        self.client.log_text(run.info.run_id, "seen", "page.html")
        if status != "RUNNING":
            self.client.set_terminated(run.info.run_id, status, began + 1000)
        return run.info.run_id

    def artifacts(self, name: str) -> Path:
        """Return the folder of the artifacts of a run or LoggedModel."""
        (folder,) = (self.store / "mlartifacts").rglob(f"{name}/artifacts")
        return folder

    def folder(self, kind: str, stage: str, inputs: dict[str, str], day: float, seed: int = 0) -> Path:
        """Create a finished folder with a file of weights, made on a day."""
        with open_stage(self.store, StageKey(kind, stage, SyntheticParameters(seed=seed), inputs)) as result:
            (result.folder / "model.safetensors").write_text(f"{kind} {stage} {seed} {sorted(inputs.items())}")
        manifest = read_manifest(result.folder)
        del manifest["manifest_digest"]
        manifest["created"] = f"{FIRST_DAY + timedelta(days=day + self.clock_days, minutes=30):%Y-%m-%dT%H:%M:%SZ}"
        manifest[SEQUENCE] = milliseconds(day + 1 / 48)
        write_manifest(result.folder, manifest)
        return result.folder

    def stage(
        self, done: PipelineRun | None, kind: str, stage: str, inputs: dict[str, str], day: float, seed: int
    ) -> Path:
        """Create a folder and its run; a folder that exists is cached."""
        folder = self.folder(kind, stage, inputs, day, seed)
        cached = [one.runs[stage] for one in self.pipelines if one.digests.get(stage) == folder.name]
        parent = {PARENT_TAG: done.run} if done else {}
        run = cached[0] if cached else self.run(stage, folder.name, inputs, day, **parent)
        if done:
            done.digests[stage], done.folders[stage], done.runs[stage] = folder.name, folder, run
            self.client.set_tag(done.run, f"uplift.{stage}.digest", folder.name)
            self.client.set_tag(done.run, f"uplift.{stage}.run", run)
        return folder

    def pipeline(self, seed: int | None = None, windows_seed: int = 0) -> PipelineRun:
        """Create the pipeline run of the next day; another seed gives other weights, `windows_seed` other windows."""
        day, seed = len(self.pipelines), len(self.pipelines) if seed is None else seed
        done = PipelineRun(self.run("pipeline", f"pipeline{seed}", {"source": self.source}, day))
        clips = self.stage(done, "clips", "ingest", {"source": self.source}, day, 0)
        windows = self.stage(done, "windows", "convert", {"clips": clips.name}, day, windows_seed).name
        first = self.stage(done, "runs", "pretrain", {"windows": windows}, day, seed)
        weights = {"windows": windows, "pretrained": file_digest(first / "model.safetensors")}
        tuned = self.stage(done, "runs", "finetune", weights, day, seed)
        fitted = self.stage(done, "baselines", "baselines", {"windows": windows}, day, 0).name
        checkpoint = file_digest(tuned / "model.safetensors")
        of_report = {"windows": windows, "checkpoint": checkpoint, "baselines": fitted}
        self.stage(done, "reports", "evaluate", of_report, day, 0)
        self.register(done, checkpoint, windows, day)
        self.pipelines.append(done)
        return done

    def register(self, done: PipelineRun, checkpoint: str, windows: str, day: int) -> None:
        """Register a LoggedModel with files as a version."""
        same = [one for one in self.pipelines if one.digests["finetune"] == done.digests["finetune"]]
        if same:
            done.version, done.model = same[0].version, same[0].model
            return
        model = self.client.create_logged_model(self.experiment, f"best-{day}", done.runs["finetune"])
        with TemporaryDirectory() as folder:
            (Path(folder) / "model.safetensors").write_text(checkpoint)
            self.client.log_model_artifact(model.model_id, f"{folder}/model.safetensors")
        self.client.finalize_logged_model(model.model_id, "READY")
        tags = {CHECKPOINT_TAG: checkpoint, WINDOWS_TAG: windows}
        version = self.client.create_model_version(
            MODEL_NAME, f"models:/{model.model_id}", done.runs["finetune"], tags, model_id=model.model_id
        )
        done.version, done.model = str(version.version), model.model_id

    def crown(self, done: PipelineRun, alias: str = "champion") -> None:
        """Give the version of a pipeline run an alias."""
        self.client.set_registered_model_alias(MODEL_NAME, alias, done.version)

    def run_ids(self) -> set[str]:
        """Return the ids of all runs, also of other stores."""
        return {run.info.run_id for run in self.client.search_runs([self.experiment], max_results=1000)}

    def model_ids(self) -> set[str]:
        """Return the ids of all LoggedModels."""
        return {model.model_id for model in self.client.search_logged_models([self.experiment])}

    def versions(self) -> set[str]:
        """Return the numbers of all versions."""
        return {str(one.version) for one in self.client.search_model_versions(f"name = '{MODEL_NAME}'")}

    def left_of(self, *runs: PipelineRun) -> list[Path]:
        """Return the paths that belong to removed pipeline runs."""
        ids = [name for run in runs for name in (run.run, run.model, run.digests["finetune"])]
        return [path for path in self.store.rglob("*") if any(one in str(path) for one in ids)]

    def whole(self, done: PipelineRun) -> bool:
        """Return whether all results of a pipeline run exist."""
        return (
            all((folder / "manifest.json").is_file() for folder in done.folders.values())
            and {done.run, *done.runs.values()} <= self.run_ids()
            and done.version in self.versions()
            and done.model in self.model_ids()
        )


def milliseconds(day: float) -> int:
    """Return the time of a day of the history in milliseconds since 1970."""
    return int((FIRST_DAY + timedelta(days=day)).timestamp() * 1000)


def files_below(folder: Path) -> dict[str, int]:
    """Return the sizes of all files by path."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
