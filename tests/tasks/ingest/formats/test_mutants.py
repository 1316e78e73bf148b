"""Damaged recordings are read or refused; `benchmarks.fuzz_readers` tests many more."""

import random

import numpy as np
import pytest

from data_contracts.errors import InputError
from tasks.ingest.reading import read_motion_file
from tests.tasks.ingest.formats.reading import read_recording
from tests.tasks.ingest.formats.recording_mutants import mutant_recording, valid_recordings


def test_the_seeds_are_valid(tmp_path):
    for data in valid_recordings():
        (tmp_path / "file").write_bytes(data)
        _, clips = read_recording(tmp_path / "file")
        assert all(np.isfinite(clip).all() and clip.shape[1:] == (17, 3) for clip in clips)


@pytest.mark.filterwarnings("error")
def test_a_mutant_is_read_or_refused_with_its_name(tmp_path):
    generator, corpus, path = random.Random(3), valid_recordings(), tmp_path / "file"
    refusals = []
    for _ in range(400):
        path.write_bytes(mutant_recording(generator, corpus))
        try:
            read_motion_file(path, lambda clip: clip)
        except InputError as refusal:
            refusals.append(str(refusal))
    assert 0 < len(refusals) < 400
    assert all(refusal.startswith(str(path)) for refusal in refusals)
