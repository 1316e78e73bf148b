"""Random streams are the same in every process and in every version of Python."""

import hashlib

import pytest

from model.data.seeding import MIRRORED, ORDER, SAMPLED, generator_at


def test_the_seed_is_taken_from_sha256():
    expected = int.from_bytes(hashlib.sha256(b"4 2 -1").digest()[:8], "little") >> 1
    assert generator_at("cpu", 4, 2, ORDER).initial_seed() == expected == 5513845354251718002


@pytest.mark.parametrize("place", [(0, 0, ORDER), (0, 0, -2), (0, 0, MIRRORED), (0, 0, SAMPLED), (1, 0, 0), (0, 1, 0)])
def test_every_place_has_a_stream_of_its_own(place):
    seeds = {generator_at("cpu", *other).initial_seed() for other in ((0, 0, 0), (0, 0, 1), place)}
    assert len(seeds) == 3
