"""C3D and TRC files of markers on the bodies of a motion."""

from pathlib import Path

import ezc3d
import numpy as np

from data_contracts.skeleton import JOINTS

RIGHT = {"L": -1.0, "R": 1.0}


def plug_in_gait(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Return Plug-in-Gait markers (frames, 3) by name, metres, for joints (frames, 17, 3) with z up."""
    at = {name: joints[:, index].astype(np.float64) for index, name in enumerate(JOINTS)}
    right, forward, up = _frame(at["right_hip"] - at["left_hip"], at["thorax"] - at["pelvis"])
    half = float(np.median(np.linalg.norm(at["right_hip"] - at["left_hip"], axis=-1))) / 2
    width, depth = (half - 0.0073) / 0.33, 0.15
    front = at["pelvis"] + (0.24 * depth + 0.0099) * forward + (0.30 * width + 0.0109) * up
    markers = {"C7": at["thorax"] - 0.07 * forward, "CLAV": at["thorax"] + 0.07 * forward}
    ring = at["thorax"] + 0.2 * up + 0.02 * forward
    wide = float(np.median(np.linalg.norm(at["right_shoulder"] - at["left_shoulder"], axis=-1)))
    for side, sign in RIGHT.items():
        of = {name.partition("_")[2]: place for name, place in at.items() if name[0].upper() == side}
        leg = _axis(of["hip"], of["knee"], of["ankle"], right, -1)
        arm = _axis(of["shoulder"], of["elbow"], of["wrist"], right, 1)
        markers |= {
            f"{side}ASI": front + sign * width / 2 * right,
            f"{side}PSI": front - depth * forward + sign * 0.045 * right,
            f"{side}KNE": of["knee"] + sign * 0.057 * leg,
            f"{side}ANK": of["ankle"] + sign * 0.042 * leg,
            f"{side}SHO": of["shoulder"] + 0.17 * wide * up,
            f"{side}ELB": of["elbow"] + sign * 0.042 * arm,
            f"{side}WRA": of["wrist"] + 0.03 * arm,
            f"{side}WRB": of["wrist"] - 0.03 * arm,
            f"{side}FHD": ring + sign * 0.07 * right + 0.09 * forward,
            f"{side}BHD": ring + sign * 0.07 * right - 0.09 * forward,
            f"{side}TOE": of["ankle"] + 0.15 * forward,
        }
    return markers


def write_c3d(
    path: Path, markers: dict[str, np.ndarray], unit: str = "mm", per_metre: float = 1000.0, fps: float = 100.0
) -> None:
    """Write markers (frames, 3), metres, NaN if missing, with an analog channel."""
    points = np.stack(list(markers.values()), axis=1) * per_metre
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [fps]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(markers)
    file["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [2 * fps]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ["force"]
    data = np.ones((4, *points.shape[1::-1]))
    data[:3] = points.transpose(2, 1, 0)
    file["data"]["points"] = data
    file["data"]["meta_points"]["residuals"] = np.where(np.isnan(data[:1]).any(axis=0), -1.0, 0.0)[None]
    file["data"]["analogs"] = np.zeros((1, 1, 2 * len(points)))
    file.write(str(path))


def write_trc(path: Path, markers: dict[str, np.ndarray], fps: float = 100.0) -> None:
    """Write markers (frames, 3), metres, as OpenSim does: millimetres, y up, empty fields if missing."""
    points = np.stack(list(markers.values()), axis=1) * 1000
    points = np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
    names, frames = list(markers), len(points)
    fields = {"DataRate": fps, "CameraRate": fps, "NumFrames": frames, "NumMarkers": len(names), "Units": "mm"}
    axes = [f"{axis}{number}" for number in range(1, len(names) + 1) for axis in "XYZ"]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "\t".join(fields),
        "\t".join(map(str, fields.values())),
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(axes),
        "",
    ]
    for frame, row in enumerate(points):
        values = ("" if np.isnan(value) else f"{value:.4f}" for value in row.ravel())
        lines.append(f"{frame + 1}\t{frame / fps:.4f}\t" + "\t".join(values) + "\t")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _frame(across: np.ndarray, upward: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    right = across / np.linalg.norm(across, axis=-1, keepdims=True)
    up = upward - (upward * right).sum(-1, keepdims=True) * right
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    return right, np.cross(up, right), up


def _axis(begin: np.ndarray, middle: np.ndarray, end: np.ndarray, right: np.ndarray, bends: int) -> np.ndarray:
    """Return the axis of a hinge: the normal of the bent limb, interpolated over frames with less than 15 degrees."""
    upper, lower = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (middle - begin, end - middle))
    normal = bends * np.cross(upper, lower)
    bent = np.flatnonzero(np.linalg.norm(normal, axis=-1) > np.sin(np.deg2rad(15)))
    if not len(bent):
        return right
    frames = np.arange(len(normal))
    axis = np.stack([np.interp(frames, bent, normal[bent, column]) for column in range(3)], axis=-1)
    axis -= (axis * upper).sum(-1, keepdims=True) * upper
    return axis / np.linalg.norm(axis, axis=-1, keepdims=True)
