"""Is a finished stage folder what was written: its manifest, the bytes of its files, and the contract of its tables.

All faults are found and told at once. Tables are read a row group at a time, and only when every byte is as written.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from data_contracts.errors import InputError
from data_contracts.report import (
    BASELINES,
    ERRORS_FILE,
    METHODS,
    REPORT_FILE,
    SCORE_COLUMNS,
    WEIGHT_COLUMNS,
    WINDOW_COLUMNS,
    Report,
    baseline_file,
    error_column,
    read_errors,
)
from data_contracts.store.check_tables import (
    Faults,
    OnShare,
    check_clips,
    check_keypoints,
    check_motions,
    check_windows,
    compare,
)
from data_contracts.store.digests import CONTRACT_VERSION, file_digest, stage_digest
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.manifests import MANIFEST, read_manifest

_HASHING_THREADS = 2


@dataclass(frozen=True)
class Checked:
    """A folder that is as written: `rows` are those of its tables (clips, windows, errors), else its tensors."""

    stage: str
    digest: str
    files: int
    bytes: int
    rows: int
    seconds: float

    def describe(self) -> str:
        """One line: what was checked, and how fast."""
        megabytes = self.bytes / 1e6
        return (
            f"{self.stage} {self.digest}: {self.files} files, {megabytes:.1f} MB, {self.rows:,} rows are as written and"
            f" keep the contract ({self.seconds:.1f} s, {megabytes / self.seconds:.0f} MB/s)"
        )


def check_folder(folder: Path, on_share: OnShare = lambda _: None) -> Checked:
    """Check a finished stage folder of any kind.

    Parameters
    ----------
    on_share
        Called with the share in [0, 1] that is done.

    Raises
    ------
    InputError
        The folder is not as its stage wrote it, or breaks the contract: names each file, what is wrong and where.
    """
    start = time.perf_counter()
    manifest = read_manifest(folder)
    faults = Faults()
    _check_identity(folder, manifest, faults)
    size = _check_files(folder, manifest["files"], faults, lambda share: on_share(share / 2))
    rows = 0
    if size is not None:
        try:
            rows = _check_contract(folder, manifest, faults, lambda share: on_share((1 + share) / 2))
        except (OSError, arrow.ArrowException) as error:  # OSError: no such file, or no Parquet in it
            faults.add(manifest["stage"], "unreadable", f"its tables cannot be read ({' '.join(str(error).split())})")
    lines = faults.lines()
    if lines:
        raise InputError(
            f"{folder}: {len(lines)} kind(s) of fault; {'; '.join(lines)}; remove the folder and run its stage again"
        )
    digest, seconds = manifest["digest"], time.perf_counter() - start
    return Checked(manifest["stage"], digest, len(manifest["files"]), size or 0, rows, seconds)


def _check_identity(folder: Path, manifest: dict[str, Any], faults: Faults) -> None:
    version = manifest["contract_version"]
    if version != CONTRACT_VERSION:
        faults.add(MANIFEST, "version", f"was written under contract version {version}; this is {CONTRACT_VERSION}")
    of_inputs = stage_digest(manifest["stage"], version, manifest["parameters"], manifest["inputs"])
    if of_inputs != manifest["digest"]:
        faults.add(MANIFEST, "digest", f"digest is {manifest['digest']}; its parameters and inputs have {of_inputs}")
    name = folder.resolve().name
    if name != manifest["digest"]:
        faults.add(MANIFEST, "name", f"digest is {manifest['digest']}, but the folder is named {name}")


def _check_files(folder: Path, digests: dict[str, str], faults: Faults, on_share: OnShare) -> int | None:
    """Bytes of all files; None where they are not those that were written."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST}
    for name in sorted(digests.keys() - found):
        faults.add(name, "missing", "is missing")
    for name in sorted(found - digests.keys()):
        faults.add(name, "extra", "is not of this folder: the manifest does not list it")
    names = sorted(digests.keys() & found)
    sizes = {name: (folder / name).stat().st_size for name in names}
    hashed = damaged = 0
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for name, digest in zip(names, pool.map(lambda name: file_digest(folder / name), names), strict=True):
            if digest != digests[name]:
                damaged += 1
                faults.add(name, "bytes", "is not as it was written: its SHA-256 is not the one in the manifest")
            hashed += sizes[name]
            on_share(hashed / sum(sizes.values()))
    return None if damaged or found != digests.keys() else sum(sizes.values())


def _check_contract(folder: Path, manifest: dict[str, Any], faults: Faults, on_share: OnShare) -> int:
    match manifest["stage"]:
        case "ingest":
            return check_clips(folder, manifest, faults, on_share)
        case "convert":
            return check_windows(folder, manifest, faults, on_share)
        case "lift":
            return check_motions(folder, manifest, faults)
        case "keypoints":
            return check_keypoints(folder, manifest, faults)
        case "pretrain" | "finetune":
            return _check_tensors(folder, [CHECKPOINT_FILE], faults)
        case "baselines":
            return _check_tensors(folder, [baseline_file(name) for name in BASELINES], faults)
        case "evaluate":
            return _check_report(folder, manifest, faults)
    return 0  # synthetic motion: ingest holds it to its contract


def _check_report(folder: Path, manifest: dict[str, Any], faults: Faults) -> int:
    try:
        report = Report.model_validate_json((folder / REPORT_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        case = f"is no report: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        faults.add(REPORT_FILE, "contract", case, error.error_count())
        return 0
    found = set(parquet.read_schema(folder / ERRORS_FILE).names)
    wanted = {*WINDOW_COLUMNS, *WEIGHT_COLUMNS}
    wanted |= {error_column(method, name) for method in METHODS for name in SCORE_COLUMNS}
    if missing := sorted(wanted - found):
        faults.add(ERRORS_FILE, "columns", f"has no column {missing[0]}", len(missing))
        return 0
    errors = read_errors(folder)
    compare(REPORT_FILE, "windows", report.windows, manifest["counts"].get("windows"), faults)
    compare(ERRORS_FILE, "windows", errors["window_id"].nunique(), report.windows, faults)
    for method, scores in report.methods().items():
        table = read_errors(folder, method)
        for column in SCORE_COLUMNS:
            wrong = table.loc[~(np.isfinite(table[column]) & (table[column] >= 0)), "window_id"]
            if len(wrong):
                case = f"window {wrong.iloc[0]}: {column} of {method} is no length and no share"
                faults.add(ERRORS_FILE, f"{method} {column}", case, len(wrong))
        mean = np.average(table["mpjpe_mm"], weights=table["weight"])
        if not np.isclose(mean, scores.mpjpe_mm.value, rtol=1e-4):
            faults.add(ERRORS_FILE, f"{method} mean", f"its MPJPE of {method} is {mean:.4g} mm, and not the report's")
    return len(errors)


def _check_tensors(folder: Path, files: list[str], faults: Faults) -> int:
    """Of `files`, which must be there, and of any other checkpoint."""
    tensors, must = 0, [folder / file for file in files]
    for path in [*must, *sorted(set(folder.glob("*.safetensors")) - set(must))]:
        try:
            with safe_open(path, framework="numpy") as checkpoint:
                for name in checkpoint.keys():  # noqa: SIM118  it is no mapping
                    tensors += 1
                    if not np.isfinite(checkpoint.get_tensor(name)).all():
                        faults.add(path.name, "finite", f"tensor {name} has values that are NaN or infinite")
        except (OSError, SafetensorError) as error:
            faults.add(path.name, "unreadable", f"is no safetensors file ({error})")
    return tensors
