"""Mutated BVH, C3D and TRC files, as `benchmarks.fuzz_readers` and tests read them."""

import random
import re
import tempfile
from pathlib import Path

import numpy as np

from data_contracts.skeleton import JOINTS
from tasks.synthetic.motion import generate
from tests.tasks.ingest.file_mutants import NUMBERS
from tests.tasks.ingest.formats.marker_files import plug_in_gait, write_c3d, write_trc
from tests.tasks.ingest.formats.rigs import RIGS, write_rig

WORDS = [
    *(b"nan", b"inf", b"-inf", b"1e999", b"1e8", b"-1", b"0", b"0x10", b"1_0", b"99999999999", b"9" * 400, b"\xff"),
    *(b"{", b"}", b"JOINT x", b"ROOT y", b"End Site", b"MOTION", b"HIERARCHY", b"OFFSET", b"CHANNELS 6", b"CHANNELS 0"),
    *(b"Xposition", b"Zrotation", b"Frames: 3", b"Frame Time:", b"LeftArm", b"Neck", b"LKNE", b"Units", b"px", b"m"),
    *(b"", b"\t", b"\t\t\t", b"\n", b"\r", b" ", b"#", b'"', b",", b"\0"),
]  # fmt: skip


def valid_recordings() -> list[bytes]:
    """Return small BVH files of every rig, and C3D and TRC files of markers and of joint centres."""
    clip = generate(seed=3, people=1, seconds=1.5)[0][0].transpose(1, 0, 2)[::5].astype(np.float64)
    gait = plug_in_gait(clip)
    gait["LKNE"][4] = np.nan
    centres = {f"Anna:{name}": clip[:, index] for index, name in enumerate(JOINTS)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        files = []
        for rig in RIGS.values():
            write_rig(path, clip[:8], rig)
            files.append(path.read_bytes())
        for markers in (gait, centres):
            for write in (write_c3d, write_trc):
                write(path, markers)
                files.append(path.read_bytes())
    return files


def mutant_recording(generator: random.Random, corpus: list[bytes]) -> bytes:
    """Return a recording with one to four changes: of bytes or numbers if it is binary, of words or lines if text."""
    data = generator.choice(corpus)
    for _ in range(generator.randint(1, 4)):
        change = _binary(generator, data) if b"\0\0\0" in data else _text(generator, data, corpus)
        data = change or data
    return data


def _binary(generator: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    place = generator.randrange(min(len(data), generator.choice([24, 1536, len(data)])))
    kind = generator.randrange(8)
    if kind < 3:
        changed[place] = generator.choice([0, 1, 127, 128, 255, generator.randrange(256)])
    elif kind < 6:
        number = generator.choice(NUMBERS)
        changed[place : place + len(number)] = number
    elif kind == 6:
        del changed[generator.randrange(len(data)) :]
    else:
        changed[place:place] = generator.randbytes(2)
    return bytes(changed)


def _text(generator: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    kind = generator.randrange(8)
    if kind < 4:
        parts = re.split(rb"([ \t\r\n]+)", data)
        head = generator.choice([len(parts), max(1, len(parts) // 8)])
        place = generator.randrange(head)
        is_number = re.fullmatch(rb"-?\d+\.\d+", parts[place]) and generator.randrange(3)
        parts[place] = b"%.4f" % generator.gauss(0, 200) if is_number else generator.choice(WORDS)
        return b"".join(parts)
    lines = data.split(b"\n")
    place = generator.randrange(len(lines))
    if kind == 4:
        lines[place : place + generator.choice([1, 1, 5, 40])] = []
    elif kind == 5:
        lines[place:place] = generator.choice([lines[place : place + 3], [generator.choice(WORDS)], lines[:place]])
    elif kind == 6:
        other = generator.choice(corpus).split(b"\n")
        lines[place:] = other[generator.randrange(len(other)) :]
    else:
        changed = bytearray(data)
        changed[generator.randrange(len(data))] = generator.randrange(256)
        return bytes(changed)
    return b"\n".join(lines)
