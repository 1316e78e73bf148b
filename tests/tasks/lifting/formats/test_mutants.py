"""Random changes of keypoint files of every format are refused, or the tracks meet their contract."""

import json
import random

import numpy as np
import pytest

from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tests.tasks.ingest.file_mutants import changed
from tests.tasks.lifting.formats.keypoint_mutants import random_parameters, read_tracks_of, write_mutant
from tests.tasks.lifting.formats.keypoint_seeds import DETECTIONS, keypoint_seeds


def test_every_format_has_a_readable_seed(tmp_path):
    seen = set()
    for number, seed in enumerate(keypoint_seeds(DETECTIONS)):
        path = tmp_path / str(number)
        write_unchanged(seed, path)
        videos, _ = read_keypoints(find_keypoints(path), KeypointsParameters(width=640, height=480))
        seen |= {video.format for video in videos}
    assert seen == set(KeypointFormat) - {KeypointFormat.AUTO}


def write_unchanged(seed, path):
    if seed.kind in ("folder", "texts"):
        path.mkdir()
        for name, content in seed.data.items():
            (path / name).write_text(content if seed.kind == "texts" else json.dumps(content))
    elif seed.kind == "lines":
        path.write_text("\n".join(map(json.dumps, seed.data)))
    elif seed.kind == "arrays":
        with path.open("wb") as file:
            np.save(file, seed.data[""]) if "" in seed.data else np.savez(file, **seed.data)
    else:
        path.write_bytes(seed.data if seed.kind == "table" else json.dumps(seed.data).encode())


@pytest.mark.filterwarnings("ignore")  # numpy's, about headers
def test_thousand_mutants_are_refused_or_meet_the_contract(tmp_path):
    generator, seeds = random.Random(5), keypoint_seeds(DETECTIONS)
    for _ in range(1000):
        path = write_mutant(generator, seeds, tmp_path / "f", changed)
        outcome = read_tracks_of(path, random_parameters(generator))
        assert not outcome.startswith("FINDING"), outcome
