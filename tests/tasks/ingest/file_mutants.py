"""Mutated pickles, .npy and .npz files, as `benchmarks.fuzz_readers` and tests read them."""

import io
import pickle
import pickletools
import random
import zipfile

import numpy as np

from tests.tasks.ingest.python2_pickles import python2_pickle

# Opcodes that a pickle of arrays does not contain, and false arguments.
# fmt: off
HOSTILE = [
    b"cposix\nsystem\n", b"\x8c\x05posix\x8c\x06system\x93", b"(iposix\nsystem\n", b"(cos\nsystem\no", b"\x82\x01",
    b"Pid\n", b"Q", b"\x81", b"\x92", b"\x97", b"\x98", b"\x80\xff", b"2\x86" * 40, b"\x85" * 300, b"]a" * 50,
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8e\x00\x00\x00\x00\x00\x00\x00\x01", b"r\xff\xff\xff\xff", b"p-1\n",
    b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40", b"J\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"I" + b"9" * 5000,
    b"2", b"0", b"1", b"(", b".", b"}", b"]", b"\x8f", b"\x90", b"(\x91", b")R", b"}b", b"Nb", b"s", b"u", b"d", b"l",
    b"S'\\q'\n", b"U\x01\xff", b"F1e999\n", b"V\\ud800\n", b"cbuiltins\nset\n", b"cbuiltins\ncomplex\n", b"K\x00\x85",
]

# Replacements in an .npy header or an entry of a zip file.
WORDS = [
    b"(", b")", b",", b"1,", b"-1", b"0", b"True", b"99999999999", b"9" * 30, b"'O'", b"'|O'", b"'<f2'", b"'<U1'",
    b"'<c8'", b"'V3'", b"'f4,i2'", b"[('a','<f4')]", b"{}", b"1L", b"#", b"\\", b"'", b"\n", b"((((", b"None", b"1e9",
]
NUMBERS = [
    b"\0\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\x08", b"\x08\0", b"\x0c\0",
]
# fmt: on

LITERALS = frozenset(bytes([code]) for code in b"NIJKMLFGUTSVXBC\x8a\x8c\x88\x89\x8d\x8e\x96)]}")


def valid_pickles() -> list[bytes]:
    """Return small valid pickles of every protocol, with all memo opcodes and with only the needed ones."""
    poses = np.arange(12.0).reshape(2, 2, 3)
    trees: list[object] = [
        [poses, poses, np.asfortranarray(poses), poses.transpose(1, 0, 2), poses.astype(">f8"), poses.astype("f2")],
        {"poses": [poses[0], (poses[1], None)], 3: {"fps": 60, "names": ["hip", "knee"]}, ("a", 1): frozenset("ab")},
        [np.array([[1], poses, "x"], dtype=object), np.array(["hip", "é"]), np.array(5.0), np.float32(2), np.str_("a")],
        [{1, 2}, b"", b"abc", bytearray(b"abc"), 1.5, -3, 2**70, 1j, True, "é\n", np.zeros((0, 3)), np.dtype(">f8")],
    ]
    dumps = [pickle.dumps(tree, protocol) for tree in trees for protocol in range(6)]
    dumps += [python2_pickle({"it's": [np.arange(12).reshape(2, 2, 3), 1.5]}, protocol) for protocol in (0, 2)]
    return dumps + [pickletools.optimize(data) for data in dumps]


def valid_arrays(pickles: list[bytes]) -> list[bytes]:
    """Return .npy files of each kind, and object arrays with the content of `pickles`, in every protocol."""
    poses = np.arange(204.0).reshape(2, 2, 17, 3)
    numbers = [
        poses,
        np.asfortranarray(poses[0]),
        poses.astype(">f2"),
        np.array(5.0),
        np.array(["hip", "é"]),
        np.zeros(0),
    ]
    files = []
    for array in [*numbers, np.array([{"S1": poses}, "x"], dtype=object), np.array({"S1": poses}, dtype=object)]:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        files.append(file.getvalue())
    head = files[-1][:128]
    for number, data in enumerate(pickles):
        holder = np.empty((), object)
        holder[()] = pickle.loads(data)
        files.append(head + pickle.dumps(holder, number % 6))
    return files


def archive(members: list[bytes], method: int) -> bytes:
    """Return an .npz file of these members, with valid checksums."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for number, data in enumerate(members):
            made.writestr(f"{number}.npy", data)
    return file.getvalue()


def mutant_archive(generator: random.Random, corpus: list[bytes]) -> bytes:
    """Return a changed .npy file, a changed .npz file, or an .npz file with changed members."""
    kind = generator.randrange(3)
    if kind == 0:
        return changed(generator, generator.choice(corpus), corpus)
    members, method = generator.choices(corpus, k=3), generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    if kind == 1:
        return changed(generator, archive(members, method), corpus)
    return archive([members[0], changed(generator, members[1], corpus), members[2]], method)


def changed(generator: random.Random, valid: bytes, corpus: list[bytes]) -> bytes:
    """Return bytes changed in one to three places: at random, or in a header or an entry of a zip file."""
    data = bytearray(valid)
    entries = [place for place in range(len(data)) if data.startswith((b"PK", b"\x93NUMPY"), place)] or [0]
    for _ in range(generator.randint(1, 3)):
        kind, place = generator.randrange(6), generator.randrange(len(data) + 1)
        if kind == 0:
            data[place : place + 1] = bytes([generator.randrange(256)])
        elif kind == 1:  # in an entry of the zip, or in the header of an array
            place = generator.choice(entries) + generator.randrange(130)
            number = generator.choice(NUMBERS)
            data[place : place + len(number)] = number
        elif kind == 2:  # the header keeps its length
            start = data.find(b"{'descr'", generator.choice(entries)) + generator.randrange(80)
            word = generator.choice(WORDS)
            data[start : start + len(word)] = word
        elif kind == 3:
            other = generator.choice(corpus)
            data[place:] = other[generator.randrange(len(other)) :]
        elif kind == 4 and not generator.randrange(4):
            del data[place:]
        elif kind == 5:
            data[place:place] = generator.choice([generator.randbytes(3), bytes(40), *HOSTILE[:8]])
    return bytes(data)


def pieces(data: bytes) -> list[bytes]:
    """Return the opcodes of a pickle, each with its argument."""
    places = [place for _, _, place in pickletools.genops(data)]
    return [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]


def pickle_pieces(pickles: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the opcodes of pickles with hostile ones, and those opcodes among them that are literals."""
    opcodes = [piece for data in pickles for piece in pieces(data)] + HOSTILE * 20
    return opcodes, [piece for piece in opcodes if piece[:1] in LITERALS]


def mutant(generator: random.Random, corpus: list[bytes], pool: list[bytes], literals: list[bytes]) -> bytes:
    """Return a pickle with other bytes, arguments or opcodes, cut, spliced, or of random opcodes."""
    data = generator.choice(corpus)
    kind = generator.randrange(7)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(generator.randint(1, 8)):
            changed[generator.randrange(len(changed))] = generator.choice([generator.randrange(256), 0, 255, 46, 40])
        return bytes(changed)
    if kind == 1:
        return data[: generator.randrange(len(data))] + generator.choice([b"", b".", generator.randbytes(5)])
    if kind == 2:
        start, other = generator.randrange(len(data)), generator.choice(corpus)
        return data[:start] + other[generator.randrange(len(other)) :]
    if kind == 3:
        start = generator.randrange(len(data))
        return data[:start] + generator.choice(pool) + data[start + generator.randrange(4) :]
    if kind == 4:  # the same opcodes with other arguments, which gets furthest
        return b"".join(
            generator.choice(literals) if piece[:1] in LITERALS and not generator.randrange(20) else piece
            for piece in pieces(data)
        )
    opcodes = pieces(data) if kind == 5 else generator.choices(pool, k=generator.randint(1, 60))
    for _ in range(generator.randint(1, 6)):
        start = generator.randrange(len(opcodes))
        put_in = generator.choices(pool, k=generator.randrange(3)) + opcodes[start : start + generator.randrange(2)]
        opcodes[start : start + generator.randrange(3)] = put_in or [b"N"]
    return b"".join(opcodes) + generator.choice([b"", b"."])
