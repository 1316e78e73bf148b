"""Tests of the viewer: its data and, if there is a browser, its controls."""

import base64
import html
import json
import re
import time

import numpy as np
import pytest
from playwright.sync_api import expect

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


@pytest.fixture
def opened(page, walking, tmp_path):
    """Open a viewer with two scenes, the second with two subjects, and pause it at the first frame."""
    file = tmp_path / "playing.html"
    file.write_text(viewer_html("clips", [scene(walking), scene(walking, "best", people=2)]), encoding="utf-8")
    page.goto(file.as_uri())
    page.keyboard.press("Space")
    page.keyboard.press("Home")
    return page


def frame(page):
    page.evaluate("new Promise(requestAnimationFrame)")
    return int(re.match(r"frame (\d+)", page.text_content("#readout")).group(1))


def drawn(page, canvas):
    """Return the numbers of blue and of red pixels of a canvas."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return page.evaluate(
        f"""(() => {{
        const {{width, height}} = find("{canvas}"), context = find("{canvas}").getContext("2d");
        const {{data}} = context.getImageData(0, 0, width, height), counts = [0, 0];
        for (let i = 0; i < data.length; i += 4) {{
          counts[0] += data[i] < 80 && data[i + 2] > 150; counts[1] += data[i] > 180 && data[i + 2] < 80;
        }}
        return counts; }})()"""
    )


def drag(page, start, end):
    """Drag with the left button from one point (x, y) of the page to another."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end)
    page.mouse.up()


def test_the_viewer_plays_pauses_and_scrubs(opened):
    assert frame(opened) == 1
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("Shift+ArrowRight")
    assert frame(opened) == 12
    opened.keyboard.press("Space")
    time.sleep(0.4)
    assert frame(opened) > 12
    opened.click("#play")
    stopped = frame(opened)
    time.sleep(0.2)
    assert frame(opened) == stopped
    curve = opened.locator("#curve").bounding_box()
    drag(opened, (curve["x"] + 20, curve["y"] + 20), (curve["x"] + curve["width"] / 2, curve["y"] + 20))
    assert frame(opened) in (FRAMES // 2, FRAMES // 2 + 1)
    opened.keyboard.press("End")
    assert frame(opened) == FRAMES
    assert opened.text_content("#readout").endswith("80.0 mm")


def test_left_and_right_have_colours_and_the_skeleton_rotates(opened):
    blue, red = drawn(opened, "view2d")
    assert blue > 100
    assert red > 100
    before = drawn(opened, "view3d")
    assert min(before) > 100
    view = opened.locator("#view3d").bounding_box()
    drag(opened, (view["x"] + 200, view["y"] + 200), (view["x"] + 320, view["y"] + 220))
    assert opened.evaluate("state.view.yaw") == pytest.approx(0.5 - 1.2)
    assert drawn(opened, "view3d") != before
    opened.keyboard.press("r")
    assert drawn(opened, "view3d") == before
    opened.keyboard.press("o")
    assert drawn(opened, "view3d") != before
    assert opened.get_attribute("#side", "aria-pressed") == "true"
    opened.evaluate("find('poses').querySelectorAll('input').forEach((box) => box.click())")
    assert drawn(opened, "view3d") == [0, 0]


def test_several_subjects_play_together(opened):
    before = drawn(opened, "view2d")
    opened.keyboard.press("2")
    opened.evaluate("pause(); go(25)")
    assert opened.text_content("#title").startswith("best clip")
    assert opened.get_attribute("#scrubber", "max") == str(FRAMES + 9)
    assert frame(opened) == 26
    assert "person 0" in opened.text_content("#readout")
    assert "person 1" in opened.text_content("#readout")
    assert before != drawn(opened, "view2d")


def test_the_viewer_runs_in_an_iframe_like_that_of_mlflow(page, walking, tmp_path):
    """Run in a sandboxed iframe from a blob URL, without an origin, and send no request."""
    viewer = tmp_path / "viewer.html"
    text = json.dumps(viewer_html("clips", [scene(walking)])).replace("</", "<\\/")
    viewer.write_text(
        f"""<body style="margin:0"><iframe sandbox="allow-scripts" width=1200 height=740 style="border:0"></iframe>
        <script>document.querySelector("iframe").src = URL.createObjectURL(new Blob([{text}], {{type: "text/html"}}));
        </script>""",
        encoding="utf-8",
    )
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(viewer.as_uri())
    first = page.screenshot()
    readout = page.frame_locator("iframe").locator("#readout")
    expect(readout).to_have_text(re.compile(r"frame ([6-9]|\d\d) of"), timeout=60_000)
    assert page.screenshot() != first  # it moves
    assert {url.partition(":")[0] for url in requests} == {"file", "blob"}
