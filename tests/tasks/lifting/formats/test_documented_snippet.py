"""Run the Ultralytics snippet of docs/keypoints.md on results like those of Ultralytics."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import body, seen_by, triples

PAGE = Path(__file__).parents[4] / "docs" / "keypoints.md"


def test_ultralytics_snippet_writes_a_readable_file(tmp_path, monkeypatch):
    one = triples(seen_by(Detector.COCO17, body()))
    other = triples(seen_by(Detector.COCO17, body(at=(500.0, 380.0))))
    seen = [np.stack([one[frame], other[frame]]) for frame in range(12)]
    seen[3], seen[5] = seen[3][::-1], seen[5][:0]  # in another order; nobody
    results = [SimpleNamespace(keypoints=SimpleNamespace(data=torch.tensor(people.copy()))) for people in seen]
    ultralytics = ModuleType("ultralytics")
    ultralytics.YOLO = lambda weights: lambda source, stream: iter(results)
    monkeypatch.setitem(sys.modules, "ultralytics", ultralytics)
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(import json\nfrom ultralytics.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(snippet, {})

    (found,), _ = read_keypoints(find_keypoints("walk.json"), KeypointsParameters(skeleton="coco17"))
    tracks = tracks_of(found, 10)
    assert [len(track.pose_2d) for track in tracks] == [12, 12]
    for track, values in zip(tracks, (one, other), strict=True):
        joints, _ = SKELETONS[Detector.COCO17].to_h36m(values[..., :2], values[..., 2])
        np.testing.assert_allclose(track.pose_2d[..., :2], joints, atol=2e-3)
    np.testing.assert_array_equal(np.flatnonzero(tracks[0].interpolated.all(axis=1)), [5])


def test_array_with_frames_without_a_person_is_read(tmp_path):
    rows = triples(seen_by(Detector.COCO17, body()))
    rows[5] = np.nan
    np.save(tmp_path / "walk.npy", rows.astype(np.float32))
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "walk.npy"), KeypointsParameters(skeleton="coco17"))
    (track,) = tracks_of(found, 10)
    assert track.interpolated[5].all()
    assert len(track.pose_2d) == 12
