"""Find motion files with their clip lists, keypoint files, and videos with marker truth, from paths of the user.

The path of a folder selects the motion files in the folder and its direct subfolders, by extension and sorted. The
clip list of a motion file is FILE.csv next to it or, if its folder has no other motion file, `clip_list.csv`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from data_contracts.errors import InputError, some
from data_contracts.motion.body_models import find_body_models

ENDINGS = (".pkl", ".pickle", ".npz", ".npy", ".bvh", ".c3d", ".trc")  # in a folder; a named file may have any other
CLIP_LIST = "clip_list.csv"
MOTION_CSV_BEGINS = "# pose-uplift motion:"  # the CSV of `uplift lift`
KEYPOINT_ENDINGS = (".json", ".jsonl", ".ndjson", ".npz", ".npy", ".csv", ".trc")  # in a folder
MARKED_KEYPOINTS, MARKED_TRUTH = "_mediapipe.json", "_truth.npz"  # endings of the two files of a video
_AMASS = "_joints_h36m"
_SHAPE_FILES = ("shape.npz", "_stagei.npz")  # endings of AMASS's files of a subject's shape, without motion
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")  # MP4 and QuickTime
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01")


@dataclass(frozen=True)
class MotionFile:
    """A motion file, with the CSV of its clip metadata if there is one."""

    path: Path
    clip_list: Path | None = None


@dataclass(frozen=True)
class AmassFiles:
    """Motion files of AMASS with body-model parameters (DATASET/SUBJECT/FILE.npz), and the files of the body model."""

    root: Path  # the first source, for messages
    files: tuple[Path, ...]
    skipped: Mapping[str, int]  # ending of a name -> number of files without motion
    model_folder: Path
    models: tuple[Path, ...]  # in `model_folder`: .npz of body models and .npy of regressors


@dataclass(frozen=True)
class KeypointSource:
    """A file of 2D keypoints, a folder with one JSON or text file per frame (`files`, sorted by name), or a video."""

    path: Path
    files: tuple[Path, ...]
    is_video: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the source is a folder with one file per frame."""
        return self.files != (self.path,)


@dataclass(frozen=True)
class MarkedVideo:
    """Files of one video: its 2D keypoints and its marker truth (`data_contracts.motion.marker_truth`)."""

    name: str
    keypoints: Path
    truth: Path


@dataclass(frozen=True)
class MarkedVideos:
    """All videos with marker truth of one folder, sorted by name."""

    videos: tuple[MarkedVideo, ...]

    @property
    def files(self) -> list[Path]:
        """Files of keypoints and marker truth of all videos."""
        return [file for video in self.videos for file in (video.keypoints, video.truth)]


def find_marked_videos(folder: str | Path) -> MarkedVideos:
    """Return the videos of a folder that has `CLIP_mediapipe.json` and `CLIP_truth.npz` for each video CLIP.

    Raises
    ------
    InputError
        The folder does not exist or has no `CLIP_truth.npz`, or the keypoints of a clip are missing.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected a folder of videos with marker truth (docs/results.md)")
    truths = sorted(path.glob(f"[!.]*{MARKED_TRUTH}"))
    _must_be_utf8(*truths)
    if not truths:
        raise InputError(f"{path}: no file CLIP{MARKED_TRUTH} in this folder; docs/results.md describes the files")
    videos = []
    for truth in truths:
        name = truth.name.removesuffix(MARKED_TRUTH)
        keypoints = truth.with_name(f"{name}{MARKED_KEYPOINTS}")
        if not keypoints.is_file():
            raise InputError(f"{keypoints}: no such file; add the keypoints that belong to {truth.name}")
        videos.append(MarkedVideo(name, keypoints, truth))
    return MarkedVideos(tuple(videos))


def real_video_input(folder: str | None) -> dict[str, MarkedVideos]:
    """Return the input `real_video` of an evaluation or a pipeline; empty if no folder is configured."""
    return {"real_video": find_marked_videos(folder)} if folder else {}


def find_keypoints(source: str | Path) -> KeypointSource:
    """Return the files of a keypoint file, a keypoint folder or a video; videos are detected by their first bytes.

    Raises
    ------
    InputError
        The path does not exist, its name is not UTF-8, or the folder has no `.json` or `.txt` file.
    """
    path = Path(source)
    _must_be_utf8(path)
    if path.is_file():
        return KeypointSource(path, (path,), _is_video(path))
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    endings = (".json", ".txt")  # text files only without JSON
    found = (sorted(entry for entry in path.glob(f"[!.]*{ending}") if entry.is_file()) for ending in endings)
    files = tuple(next(filter(None, found), ()))
    _must_be_utf8(*files)
    if not files:
        raise InputError(
            f"{path}: this folder has no .json or .txt file per frame; pass a keypoint file, a video, or a folder of"
            " frames (OpenPose, Ultralytics). Only `uplift lift` takes a folder of several keypoint files"
        )
    return KeypointSource(path, files)


def _start(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""  # the reader reports the error


def _is_video(path: Path) -> bool:
    """Return whether a file is MP4, QuickTime, AVI, Matroska, WebM, MPEG or FLV."""
    start = _start(path, 12)
    is_riff = start[:4] == b"RIFF" and start[8:] == b"AVI "
    is_iso = start[:1] < b" " and start[4:8] in _ISO_BOXES  # a box starts with its length, unlike text
    return is_riff or is_iso or start.startswith(_VIDEO_STARTS)


def find_motion_files(
    sources: str | Path | Sequence[str | Path], clip_lists: str | Path | Sequence[str | Path] | None = None
) -> list[MotionFile]:
    """Return the motion files of `sources` (files and folders), in the order of `sources`, each with its clip list.

    `clip_lists` has one path per file. Default: the clip list next to each file, if there is one.

    Raises
    ------
    InputError
        A path does not exist, a folder has no motion file, a file is given twice, the number of clip lists differs from
        the number of files, or a `clip_list.csv` is next to several motion files.
    """
    files = [file for source in _as_paths(sources) for file in _files_of(source)]
    _must_be_utf8(*files)
    whole = [file.resolve() for file in files]
    times = Counter(whole)
    if repeated := [file for file, path in zip(files, whole, strict=True) if times[path] > 1]:
        raise InputError(f"{repeated[-1]}: given twice; pass each motion file once")
    lists_of_user = _as_paths(clip_lists or [])
    for path in lists_of_user:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    if lists_of_user and len(lists_of_user) != len(files):
        raise InputError(
            f"{len(lists_of_user)} clip list(s) for {len(files)} motion file(s): pass one --clip-list per file, in the"
            f" order {some(short_names(files))}; or pass none and name the lists FILE.csv"
        )
    lists: list[Path | None] = [*lists_of_user] or [_clip_list_beside(file) for file in files]
    return [MotionFile(file, clip_list) for file, clip_list in zip(files, lists, strict=True)]


def find_motion(
    sources: str | Path | Sequence[str | Path],
    clip_lists: str | Path | Sequence[str | Path] | None = None,
    body_model: str | Path | None = None,
) -> list[MotionFile] | AmassFiles:
    """Return the motion files of `sources`; with a folder of body models, `sources` are files or folders of AMASS.

    Raises
    ------
    InputError
        As in `find_motion_files`, or there is no .npz file in the sources, or no body model in its folder.
    """
    if body_model is None:
        return find_motion_files(sources, clip_lists)
    if clip_lists:
        raise InputError("pass either --clip-list or --body-model, not both: the folders of AMASS name the subjects")
    roots = _as_paths(sources)
    for root in roots:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder")
    found = sorted({path for root in roots for path in ([root] if root.is_file() else root.rglob("[!.]*.npz"))})
    skipped = {ending: sum(path.name.endswith(ending) for path in found) for ending in _SHAPE_FILES}
    files = tuple(path for path in found if not path.name.endswith(_SHAPE_FILES))
    if not files:
        raise InputError(
            f"{some(roots)}: no .npz of AMASS (DATASET/SUBJECT/FILE.npz); to read files of joints, omit --body-model"
        )
    folder = Path(body_model)
    models = find_body_models(folder)
    _must_be_utf8(*files, *models)
    return AmassFiles(roots[0], files, skipped, folder, models)


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return each path as its shortest unique ending: `motion.pkl`, or `cmu/motion.pkl` if two files have this name."""
    whole = [path.absolute() for path in paths]
    for depth in count(1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(set(whole)):
            return names
    raise AssertionError("unreachable: different paths differ in at least one part")


def data_name(files: Sequence[MotionFile] | AmassFiles) -> str:
    """Return a display name of motion files: the name of the first file or folder and the number of other files.

    The name of AMASS's `DATASET_joints_h36m_60.pkl` is DATASET, or the folder name if DATASET is `amass`.
    """
    if isinstance(files, AmassFiles):
        return files.root.absolute().stem
    first = files[0].path.absolute()
    name = first.stem.partition(_AMASS)[0]
    name = first.parent.name if name == "amass" else name
    return name if len(files) == 1 else f"{name} and {len(files) - 1} more"


def _files_of(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder")
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))]
    files = [file for folder in folders for file in _motion_files(folder)]
    if not files:
        raise InputError(
            f"{source}: no motion file ({', '.join(ENDINGS)}) in this folder or its subfolders; raw AMASS needs"
            " --body-model DIR (docs/motion.md)"
        )
    return files


def _motion_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and path.is_file() and not path.name.startswith(".")
    )


def _clip_list_beside(file: Path) -> Path | None:
    own, shared = file.with_suffix(".csv"), file.with_name(CLIP_LIST)
    if own.is_file() and not _is_lifted_motion(own):
        return own
    if not shared.is_file():
        return None
    near = [other for other in _motion_files(file.parent) if other != file and not other.with_suffix(".csv").is_file()]
    if near:
        raise InputError(
            f"{shared}: the folder contains several motion files ({some([path.name for path in (file, *near)])});"
            f" rename the clip list to {own.name} or {near[0].with_suffix('.csv').name}, or pass it with --clip-list"
        )
    return shared


def _is_lifted_motion(file: Path) -> bool:
    """Return whether a CSV is an exported motion, which `uplift lift` writes next to its BVH, C3D and TRC."""
    with file.open("rb") as start:
        return start.read(len(MOTION_CSV_BEGINS)) == MOTION_CSV_BEGINS.encode()


def _must_be_utf8(*paths: Path) -> None:
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{path}: its name is not UTF-8, which servers and databases need; rename it") from error


def _as_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
