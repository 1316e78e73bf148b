"""What of a store is needed.

Needed is, to begin with:
- **the kept nights**: the last N pipeline runs that finished, and whatever was made or begun since the oldest of them
  began: nights that failed, stages run by hand, versions. Of a store with fewer nights everything is;
- **versions** with an alias, the last N of this store, and every one whose weights are still there for another reason;
- **the benchmark** (`uplift benchmark set`);
- **what is at work**: a stage or pipeline whose lock a process holds. Of a pipeline this is whatever was ever made from
  its sources, since it may ask the store for any of that; of one that does not say its inputs it is everything;
- the last N **keypoints** and **motions**, and those made since the oldest kept night; of a store without nights, N.

From there inputs are followed by digest, to the motion that was given: a version's weights to the run they were
fine-tuned from, its windows to their clips. A motion does not need the model that lifted it. A **report** is needed
where its weights and its windows are, and **baselines** where their windows are. In MLflow a **run** is needed that is
of a needed stage, that a kept night names, that made a kept version, or that decided about one. A LoggedModel is its
run's; one that a version stands on stays.

A damaged folder is needed, as nobody knows what it is.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlflow.entities import Run

from data_contracts.errors import InputError
from data_contracts.run_names import PIPELINE
from tasks.cleaning.inventory import Folder, Inventory, inputs_of, stage_of, started
from tasks.mlflow_runs.names import CHECKPOINT_TAG, DIGEST_TAG, PROMOTION_TAG, WINDOWS_TAG

LIFTED = ("keypoints", "motions")
_STAGE_DIGEST, _STAGE_RUN = r"uplift\.\w+\.digest", r"uplift\.\w+\.run"  # tags of a pipeline's run
_LIFTING = ("keypoints", "lift")  # the stages that leave them


@dataclass
class Needs:
    """`digests` of stages, also of such that the store does not have; `runs`: ids; `versions`: numbers.

    since: when the oldest kept night began; 0: everything is newer.
    """

    since: float
    digests: set[str] = field(default_factory=set)
    folders: set[Folder] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    at_work: bool = False  # somebody is, of whom it is not known what they read


def find_needs(has: Inventory, keep_last: int, resumable: Iterable[str] = ()) -> Needs:
    """What is needed, where the last `keep_last` nights and versions are kept.

    Parameters
    ----------
    resumable
        Digests of stages whose partial folders are kept: they will go on in their runs, from their inputs.

    Raises
    ------
    InputError
        What a needed folder was made from is not known.
    """
    nights = has.nights[:keep_last]
    needs = Needs(since=started(nights[-1]) if len(has.nights) >= keep_last else 0.0)
    follow = _Follow(has, needs)
    young = [run for run in has.runs if started(run) >= needs.since and not _is_lone(stage_of(run), has)]
    for run in [*nights, *young]:
        needs.runs.add(run.info.run_id)
        follow.stages_of(run)
    follow.all(folder.digest for folder in has.folders if _is_young(folder, has, needs.since))
    for kind in LIFTED:
        of_kind = sorted((folder for folder in has.folders if folder.kind == kind), key=lambda one: -one.created)
        follow.all(folder.digest for folder in of_kind[:keep_last])
    follow.all(resumable)
    follow.all([has.benchmark] if has.benchmark else [])
    _what_is_at_work(has, needs, follow)
    _versions(has, needs, follow, keep_last)
    _reports_and_baselines(has, needs, follow)
    _runs(has, needs)
    return needs


class _Follow:
    """Follows digests to what they were made from."""

    def __init__(self, has: Inventory, needs: Needs) -> None:
        self.needs = needs
        self.by_digest: dict[str, list[Folder]] = defaultdict(list)
        for folder in has.folders:
            for digest in folder.left:
                self.by_digest[digest].append(folder)
        self.runs: dict[str, list[Run]] = defaultdict(list)
        for run in has.runs:
            for tag in (DIGEST_TAG, CHECKPOINT_TAG):
                self.runs[run.data.tags.get(tag, "")].append(run)

    def all(self, digests: Iterable[str]) -> None:
        """These, and all behind them."""
        ahead = list(digests)
        while ahead:
            digest = ahead.pop()
            if not digest or digest in self.needs.digests:
                continue
            self.needs.digests.add(digest)
            for folder in self.by_digest[digest]:
                self.needs.folders.add(folder)
                if folder.inputs is None:
                    raise InputError(
                        f"{folder.path}: is needed, but its manifest is damaged, so what it was made from is not known:"
                        " nothing is removed; remove the folder by hand, and its stage makes it anew"
                    )
                ahead += [folder.digest, *_needed_inputs(folder)]
            if not self.by_digest[digest]:  # made elsewhere, or gone: its run may know
                for run in self.runs[digest]:
                    ahead += [run.data.tags.get(DIGEST_TAG, ""), *(inputs_of(run) or {}).values()]

    def stages_of(self, run: Run) -> None:
        """What a run is of, started from, and, of a pipeline, had made or found."""
        tags = run.data.tags
        if stage_of(run) != PIPELINE:
            self.all([tags.get(DIGEST_TAG, "")])
        self.all([*(inputs_of(run) or {}).values()])
        self.all(value for key, value in tags.items() if re.fullmatch(_STAGE_DIGEST, key))
        self.needs.runs |= {value for key, value in tags.items() if re.fullmatch(_STAGE_RUN, key)}


def _needed_inputs(folder: Folder) -> list[str]:
    inputs = folder.inputs or {}
    return [digest for name, digest in inputs.items() if folder.kind != "motions" or name != "checkpoint"]


def _is_young(folder: Folder, has: Inventory, since: float) -> bool:
    return folder.created >= since and not (folder.kind in LIFTED and not has.nights)


def _is_lone(stage: str, has: Inventory) -> bool:
    """Of a store that only lifts the last N are kept, however young the others are."""
    return stage in _LIFTING and not has.nights


def _versions(has: Inventory, needs: Needs, follow: _Follow, keep_last: int) -> None:
    ids = {run.info.run_id for run in (*has.runs, *has.removing)}
    own = [version for version in has.versions if version.run_id in ids]  # the newest first
    needs.versions |= {str(version.version) for version in has.versions if version.run_id not in ids}  # not ours
    left = {str(version.version) for version in [*own[:keep_last], *(one for one in has.versions if one.aliases)]}
    while left:  # a version whose weights are there brings windows; these may bring weights
        needs.versions |= left
        for version in has.versions:
            if str(version.version) in left:
                follow.all([version.tags.get(CHECKPOINT_TAG, ""), version.tags.get(WINDOWS_TAG, "")])
                needs.runs.add(str(version.run_id))
        weights = {digest for folder in needs.folders for digest in folder.left}
        young = {str(version.version) for version in own if version.creation_timestamp / 1000 >= needs.since}
        held = {str(version.version) for version in own if version.tags.get(CHECKPOINT_TAG) in weights}
        left = (young | held) - needs.versions


def _what_is_at_work(has: Inventory, needs: Needs, follow: _Follow) -> None:
    busy = [run for run in has.runs if {run.info.run_id, run.data.tags.get(DIGEST_TAG)} & has.held]
    silent = has.held - {name for run in busy for name in (run.info.run_id, run.data.tags.get(DIGEST_TAG))}
    for run in busy:
        inputs = inputs_of(run)
        needs.runs.add(run.info.run_id)
        follow.stages_of(run)
        if inputs is None:
            silent |= {run.info.run_id}
        elif stage_of(run) == PIPELINE:
            follow.all(_made_from(has, set(inputs.values())))
    if silent:  # begun a moment ago: what it reads is not written down yet
        needs.at_work = True
        follow.all(folder.digest for folder in has.folders)


def _made_from(has: Inventory, sources: set[str]) -> set[str]:
    """Digests of whatever was made from files or stages, directly or not."""
    reached, before = set(sources), -1
    while len(reached) != before:
        before = len(reached)
        for folder in has.folders:
            if reached & {*(folder.inputs or {}).values()}:
                reached |= folder.left
    return {folder.digest for folder in has.folders if folder.digest in reached}


def _reports_and_baselines(has: Inventory, needs: Needs, follow: _Follow) -> None:
    wanted, before = {"reports": ("windows", "checkpoint"), "baselines": ("windows",)}, -1
    while len(needs.folders) != before:
        before = len(needs.folders)
        there = needs.digests | {digest for folder in needs.folders for digest in folder.left}
        for folder in has.folders:
            names = wanted.get(folder.kind, ())
            if names and all((folder.inputs or {}).get(name) in there for name in names):
                follow.all([folder.digest])


def _runs(has: Inventory, needs: Needs) -> None:
    for run in has.runs:
        about = {name for name in run.data.tags.get(PROMOTION_TAG, "").split("-") if name}
        of_needed = stage_of(run) != PIPELINE and run.data.tags.get(DIGEST_TAG) in needs.digests
        if of_needed or about & needs.versions:
            needs.runs.add(run.info.run_id)
    sources = {version.source for version in has.versions if str(version.version) in needs.versions}
    needs.runs |= {str(model.source_run_id) for model in has.models if model.model_uri in sources}
