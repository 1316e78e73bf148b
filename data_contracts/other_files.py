"""Name the kind of a file or skeleton that a reader refuses, for the error message of the reader."""

PICKLE = "a pickle"
BVH, C3D, TRC = "a BVH file (3D motion as joint angles)", "a C3D file (markers)", "a TRC file (markers)"
# First bytes -> kind of file
_BEGINS = {
    b"HIERARCHY": BVH,
    b"Kaydara FBX": "an FBX file (3D motion)",
    b"; FBX": "an FBX file (3D motion)",
    b"glTF": "a glTF file (3D motion)",
    b":ASF": "an ASF file (skeleton of Acclaim motion capture)",
    b"#!OML:ASF": "an AMC file (Acclaim motion capture)",
    b"\x02P": C3D,
    b"PathFileType": TRC,
    b"\x89HDF": "an HDF5 file",
    b"MATLAB 5.0": "a MATLAB file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    **{bytes([0x80, protocol]): PICKLE for protocol in (2, 3, 4, 5)},
}
# Number of joints -> usual skeletons
_SKELETONS = {
    14: "LSP or CrowdPose",
    15: "OpenPose's MPI",
    16: "MPII",
    17: "COCO or Human3.6M",
    18: "OpenPose's COCO",
    20: "Kinect v1",
    21: "a hand, or KIT-ML",
    22: "the body of SMPL, as in HumanML3D (3D motion)",
    23: "COCO with feet, or SMPL without pelvis",
    24: "SMPL (3D motion)",
    25: "OpenPose's BODY_25, or NTU RGB+D",
    26: "Halpe",
    31: "CMU motion capture",
    32: "Human3.6M with all joints",
    33: "MediaPipe's landmarks",
    52: "SMPL-H (3D motion)",
    55: "SMPL-X (3D motion)",
    68: "a face",
    133: "COCO-WholeBody",
    135: "OpenPose's BODY_135",
    136: "Halpe",
}


def kind_of_file(start: bytes) -> str | None:
    """Return the kind of a file from its first bytes, with an article, or None if unknown."""
    if start[4:8] == b"ftyp":
        return "a video"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return "a JSON file"
    kinds = (kind for begin, kind in _BEGINS.items() if start.startswith(begin) or text.startswith(begin))
    line = text.split(b"\n")[0].decode("latin-1").strip()
    is_text = line.replace("\t", " ").isprintable() and any(separator in line for separator in ",;\t ")
    return next(kinds, "a text file" if is_text else None if start else "an empty file")


def kind_of_skeleton(joints: int) -> str | None:
    """Return the skeletons that usually have this number of joints, or None if unknown."""
    return _SKELETONS.get(joints)
