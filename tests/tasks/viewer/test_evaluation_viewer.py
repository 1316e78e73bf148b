"""Tests of the viewer: its data and, if there is a browser, its controls."""

import base64
import html
import json
import re
import time

import numpy as np
import pytest

from docs.chromium import open_frame
from tasks.viewer.evaluation_viewer import Scene, Subject, viewer_html

FRAMES = 40


def scene(walking, name="worst", people=1, fps=20.0):
    pose = walking[:FRAMES] - walking[:FRAMES, :1]
    camera = np.stack([pose[..., 0], -pose[..., 2], pose[..., 1]], axis=-1)
    aside = np.array([1.0, 0.0, 0.0])
    tracks = [
        Subject(
            f"person {number}",
            camera[..., :2] + number,
            {"prediction": camera * 1.1 + number * aside, "truth": camera + number * aside},
            np.linspace(20, 80, FRAMES),
            first=10 * number,
        )
        for number in range(people)
    ]
    return Scene(name, f"{name} clip · person 3 · walking", fps, tracks)


def motion_of(page):
    return json.loads(re.search(r'<script type="application/json" id="motion">(.*?)</script>', page, re.S).group(1))


def unpacked(packed, *shape):
    values = np.frombuffer(base64.b64decode(packed["data"]), "<i2").reshape(shape).astype(float)
    return np.where(values == -32768, np.nan, values * packed["step"])


def test_a_track_is_encoded_to_half_a_millimetre_with_z_up(walking):
    original = scene(walking)
    track = motion_of(viewer_html("clips", [original]))[0]["tracks"][0]
    truth = original.subjects[0].poses["truth"]
    decoded = unpacked(track["poses"]["truth"], FRAMES, 17, 3)
    np.testing.assert_allclose(decoded[..., 2], -truth[..., 1], atol=5.1e-4)
    np.testing.assert_allclose(decoded[..., 1], truth[..., 2], atol=5.1e-4)
    image = unpacked(track["pose_2d"], FRAMES, 17, 2)
    np.testing.assert_allclose(image, original.subjects[0].pose_2d, atol=np.ptp(image) / 2**15)
    np.testing.assert_allclose(unpacked(track["error_mm"], FRAMES), original.subjects[0].error_mm, atol=0.051)


def test_world_poses_are_unchanged_and_missing_joints_stay_missing(walking):
    pose = walking[:FRAMES].copy()
    pose[3, 5] = np.nan
    lifted = Scene("lifted", "a video", 30.0, [Subject("a", pose[..., :2], {"lifted": pose})], axes="world")
    track = motion_of(viewer_html("motion", [lifted]))[0]["tracks"][0]
    decoded = unpacked(track["poses"]["lifted"], FRAMES, 17, 3)
    np.testing.assert_allclose(decoded, pose, atol=5.1e-4)
    assert np.isnan(decoded[3, 5]).all()
    assert np.isfinite(decoded[4]).all()
    assert track["error_mm"] is None


def test_motion_that_reaches_far_is_encoded_with_a_larger_step(walking):
    pose = walking[:FRAMES] + np.linspace(0, 100, FRAMES, dtype=np.float32)[:, None, None]
    lifted = Scene("lifted", "", 30.0, [Subject("a", pose[..., :2], {"lifted": pose})], axes="world")
    packed = motion_of(viewer_html("motion", [lifted]))[0]["tracks"][0]["poses"]["lifted"]
    np.testing.assert_allclose(unpacked(packed, FRAMES, 17, 3), pose, atol=2e-3)


def test_a_name_cannot_end_the_script_element(walking):
    named = scene(walking, name="<!--<script></script><script>alert(1)</script>")
    page = viewer_html("<b>&{{motion}}", [named])
    assert page.count("</script>") == 2
    assert motion_of(page)[0]["name"] == named.name
    assert html.escape("<b>&{{motion}}") in page


def test_ten_seconds_of_three_clips_take_less_than_two_megabytes_and_send_no_request():
    pose = np.random.default_rng(0).normal(size=(1200, 17, 3))
    track = Subject("a", pose[..., :2], {"prediction": pose, "truth": pose}, pose[:, 0, 0] ** 2)
    page = viewer_html("clips", [Scene(name, "", 120.0, [track]) for name in ("worst", "median", "best")])
    assert len(page.encode()) < 2_000_000
    assert "default-src 'none'" in page
    for request in ("http:", "https:", "src=", "fetch(", "import(", "localStorage", "sessionStorage", "cookie"):
        assert request not in page


def test_the_error_for_a_wrong_shape_names_the_subject(walking):
    good = scene(walking).subjects[0]
    short = Subject("short", good.pose_2d, {"truth": good.poses["truth"][:-1]})
    with pytest.raises(ValueError, match=r"subject short: truth has shape \(39, 17, 3\); expected \(40, 17, 3\)"):
        viewer_html("clips", [Scene("a", "", 30.0, [short])])


@pytest.fixture
def opened(page, walking, tmp_path):
    """Open a viewer with two scenes, the second with two subjects, and pause it at the first frame."""
    file = tmp_path / "playing.html"
    file.write_text(viewer_html("clips", [scene(walking), scene(walking, "best", people=2)]), encoding="utf-8")
    page.open(file)
    page.press(" ")
    page.press("Home")
    return page


def frame(page):
    page.run("new Promise(requestAnimationFrame)")
    return int(re.match(r"frame (\d+)", page.run("find('readout').textContent")).group(1))


def drawn(page, canvas):
    """Return the numbers of blue and of red pixels of a canvas."""
    page.run("new Promise(requestAnimationFrame)")
    return page.run(
        f"""(() => {{
        const {{width, height}} = find("{canvas}"), context = find("{canvas}").getContext("2d");
        const {{data}} = context.getImageData(0, 0, width, height), counts = [0, 0];
        for (let i = 0; i < data.length; i += 4) {{
          counts[0] += data[i] < 80 && data[i + 2] > 150; counts[1] += data[i] > 180 && data[i + 2] < 80;
        }}
        return counts; }})()"""
    )


def test_the_viewer_plays_pauses_and_scrubs(opened):
    assert frame(opened) == 1
    opened.press("ArrowRight")
    opened.press("ArrowRight", modifiers=8)
    assert frame(opened) == 12
    opened.press(" ")
    time.sleep(0.4)
    assert frame(opened) > 12
    opened.run("find('play').click()")
    stopped = frame(opened)
    time.sleep(0.2)
    assert frame(opened) == stopped
    left, top, width = opened.run("(({left, top, width}) => [left, top, width])(find('curve').getBoundingClientRect())")
    opened.drag((left + 20, top + 20), (left + width / 2, top + 20))
    assert frame(opened) in (FRAMES // 2, FRAMES // 2 + 1)
    opened.press("End")
    assert frame(opened) == FRAMES
    assert opened.run("find('readout').textContent").endswith("80.0 mm")
    assert not opened.errors


def test_left_and_right_have_colours_and_the_skeleton_rotates(opened):
    blue, red = drawn(opened, "view2d")
    assert blue > 100
    assert red > 100
    before = drawn(opened, "view3d")
    assert min(before) > 100
    x, y = opened.run("(({left, top}) => [left + 200, top + 200])(find('view3d').getBoundingClientRect())")
    opened.drag((x, y), (x + 120, y + 20))
    assert opened.run("state.view.yaw") == pytest.approx(0.5 - 1.2)
    assert drawn(opened, "view3d") != before
    opened.press("r")
    assert drawn(opened, "view3d") == before
    opened.press("o")
    assert drawn(opened, "view3d") != before
    assert opened.run("find('side').getAttribute('aria-pressed')") == "true"
    opened.run("find('poses').querySelectorAll('input').forEach((box) => box.click())")
    assert drawn(opened, "view3d") == [0, 0]
    assert not opened.errors


def test_several_subjects_play_together(opened):
    before = drawn(opened, "view2d")
    opened.press("2")
    opened.run("pause(); go(25)")
    assert opened.run("find('title').textContent").startswith("best clip")
    assert opened.run("find('scrubber').max") == str(FRAMES + 9)
    assert frame(opened) == 26
    assert "person 0" in opened.run("find('readout').textContent")
    assert "person 1" in opened.run("find('readout').textContent")
    assert before != drawn(opened, "view2d")
    assert not opened.errors


def test_the_viewer_runs_in_an_iframe_like_that_of_mlflow(page, browser_address, walking, tmp_path):
    """Run in a sandboxed iframe from a blob URL, without an origin, and send no request."""
    viewer = tmp_path / "viewer.html"
    text = json.dumps(viewer_html("clips", [scene(walking)])).replace("</", "<\\/")
    viewer.write_text(
        f"""<body style="margin:0"><iframe sandbox="allow-scripts" width=1200 height=740 style="border:0"></iframe>
        <script>document.querySelector("iframe").src = URL.createObjectURL(new Blob([{text}], {{type: "text/html"}}));
        </script>""",
        encoding="utf-8",
    )
    page.open(viewer)
    with open_frame(browser_address) as frame:
        first = page.picture()
        frame.wait_for("state.time > 5")
        assert page.picture() != first  # it moves
        assert not frame.requests
        assert not frame.errors
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "blob"}
    assert not page.errors
