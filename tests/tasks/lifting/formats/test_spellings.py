"""Spellings of fields and shapes of values in the files that scripts of users write."""

import json

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from tests.tasks.lifting.formats.writing import COCO, FRAMES, read, walker


def numbered(rows):
    return {str(number): {"x": x, "y": y} for number, (x, y) in enumerate(rows.tolist())}


@pytest.mark.parametrize(
    "write",
    [
        lambda rows: [numbered(row) for row in rows],
        lambda rows: [{"landmarks": numbered(row)} for row in rows],
        lambda rows: [[[number, *point] for number, point in enumerate(row.tolist())] for row in rows],
        lambda rows: [[[number, *point] for number, point in enumerate(row.tolist(), 1)] for row in rows],
        lambda rows: {"poses": [{"frame": frame, "keypoints": row.tolist()} for frame, row in enumerate(rows)]},
        lambda rows: [{"frame": f"{frame:04d}", "pose": row.tolist()} for frame, row in enumerate(rows)],
        lambda rows: [{"pose_landmarks": {"landmark": [{"x": x, "y": y} for x, y in row.tolist()]}} for row in rows],
        lambda rows: [{"pred_keypoints": [row.tolist()], "scores": [0.9]} for row in rows],
        lambda rows: [{"instances": {"pred_keypoints": [row.tolist()], "scores": [0.9]}} for row in rows],
        lambda rows: [
            {"predictions": [{"x": 5, "y": 6, "pose": [{"x": x, "y": y} for x, y in row.tolist()]}]} for row in rows
        ],
    ],
)
def test_points_have_numbers_and_people_have_boxes(write, tmp_path):
    (tmp_path / "v.json").write_text(json.dumps(write(walker())))
    np.testing.assert_allclose(read(tmp_path / "v.json", skeleton="coco17")[0].points, walker())


@pytest.mark.parametrize("first", [0, 1])
def test_numbered_points_may_be_null(first, tmp_path):
    rows = [[[number, *point] for number, point in enumerate(row.tolist(), first)] for row in walker()]
    rows[0][0] = rows[2][5] = None
    (tmp_path / "v.json").write_text(json.dumps([{"keypoints": row} for row in rows]))
    found, _ = read(tmp_path / "v.json", skeleton="coco17")
    assert np.argwhere(found.confidence == 0).tolist() == [[0, 0], [2, 5]]
    np.testing.assert_allclose(found.points[3:], walker()[3:])


@pytest.mark.parametrize("header", ["frame,kpt_idx,x_px,y_px", "Frame,Point,pos_x,pos_y", "frame,Landmark Num,x,y"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_tables_with_a_row_per_keypoint_have_other_headers_and_decimal_commas(header, delimiter, tmp_path):
    rows = [(f, k, *point) for f, row in enumerate(walker().tolist()) for k, point in enumerate(row)]
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    if delimiter == ";":
        lines = [line.replace(",", ";").replace(".", ",") for line in lines]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(read(tmp_path / "t.csv", skeleton="coco17")[0].points, walker())


@pytest.mark.parametrize("cell", [lambda row: row.ravel().tolist(), lambda row: np.array2string(row, threshold=100)])
def test_cells_have_flat_lists_and_arrays_of_numpy(cell, tmp_path):
    points = np.concatenate([walker(), np.ones((FRAMES, 17, 1))], axis=-1)
    lines = ["frame,keypoints", *(f'{frame},"{cell(row)}"' for frame, row in enumerate(points))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(read(tmp_path / "t.csv", skeleton="coco17")[0].points, walker(), atol=1e-3)


def test_deeplabcut_tables_have_three_columns_of_an_image(tmp_path):
    names = SKELETONS[Detector.COCO17].keypoints
    lines = ["scorer,,," + ",".join("me" for _ in names for _ in "xy")]
    lines += ["bodyparts,,," + ",".join(name for name in names for _ in "xy"), "coords,,," + ",".join(17 * ["x", "y"])]
    lines += [f"labeled,v,img{f:03d}.png," + ",".join(map(str, row.ravel())) for f, row in enumerate(walker())]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    found, _ = read(tmp_path / "d.csv")
    assert found.frame.tolist() == [*range(FRAMES)]
    np.testing.assert_allclose(found.points, walker())


@pytest.mark.parametrize("index", [1, 3])
@pytest.mark.parametrize("above", ["scorer", "individuals"])
def test_rows_above_a_deeplabcut_table_may_be_short(index, above, tmp_path):
    commas = index * ","
    names = SKELETONS[Detector.COCO17].keypoints
    header = {"scorer": commas + ",".join(34 * ["me"]), "individuals": commas + ",".join(34 * ["a"])}
    header["bodyparts"] = commas + ",".join(name for name in names for _ in "xy")
    header["coords"] = commas + ",".join(17 * ["x", "y"])
    header[above] = "," if above == "scorer" else ""
    lines = [key + fields for key, fields in header.items()]
    lines += [commas[1:] + ",".join(map(str, [frame, *row.ravel()])) for frame, row in enumerate(walker())]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(read(tmp_path / "d.csv")[0].points, walker())


@pytest.mark.parametrize(
    ("turn", "warning"),
    [
        (lambda points: points, ""),
        (lambda points: points[..., ::-1], "y comes before x"),
        (lambda points: points * (1, -1) + (0, 720), "y points up"),
    ],
)
def test_people_who_lie_or_are_upside_down_are_reported(turn, warning, tmp_path):
    np.save(tmp_path / "v.npy", turn(walker()))
    _, warnings = read(tmp_path / "v.npy", skeleton="coco17")
    assert (len(warnings), warning in "".join(warnings)) == (bool(warning), True)


def test_images_of_coco_may_have_the_name_of_their_video(tmp_path):
    tree = json.loads(COCO.read_text())
    for image in tree["images"]:
        image["file_name"] = "walk.mp4"
    (tmp_path / "c.json").write_text(json.dumps(tree))
    np.testing.assert_allclose(read(tmp_path / "c.json")[0].points, walker())


def test_missing_keypoints_may_be_minus_one(tmp_path):
    values = np.concatenate([walker(), np.ones((FRAMES, 17, 1))], axis=-1)
    values[:, 3] = -1
    (tmp_path / "v.json").write_text(json.dumps(values.tolist()))
    found, _ = read(tmp_path / "v.json", skeleton="coco17")
    assert (found.confidence == 0).all(axis=0).tolist() == [k == 3 for k in range(17)]
    np.save(tmp_path / "v.npy", values[..., :2])
    (tmp_path / "w.json").write_text(json.dumps(values[..., :2].tolist()))
    for path in (tmp_path / "v.npy", tmp_path / "w.json"):
        np.testing.assert_array_equal(read(path, skeleton="coco17")[0].confidence, found.confidence)


def test_error_of_numbers_as_text_shows_the_text(tmp_path):
    (tmp_path / "v.json").write_text(json.dumps([{"keypoints": [["541.4", "180.2", "0.9"]] * 17}]))
    with pytest.raises(InputError, match=r"expected a list of numbers, not a list with '541\.4'"):
        read(tmp_path / "v.json")
