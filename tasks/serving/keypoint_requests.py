"""Answer POST /lift: the body is the content of a keypoint file, and the answer is its motion.

All formats that `uplift lift` reads are accepted except .npz.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from data_contracts.errors import InputError
from data_contracts.motion.motion import AXES, UNIT
from data_contracts.parameters import KeypointsParameters
from data_contracts.parameters.presets import parse
from data_contracts.skeleton import JOINTS
from data_contracts.sources import find_keypoints
from tasks.ingest.reading import ZIP_BEGINS
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import long_and_short
from tasks.serving.served_lifter import MAX_POSES, MAX_TRACKS

_OF_KEYPOINTS = {"fps": "fps", "skeleton": "skeleton", "image_width": "width", "image_height": "height"}
_OF_MODEL = ("height", "fov_deg")  # parameters of `served_lifter`


async def lift_request(model: PyFuncModel, uri: str, request: Request) -> Response:
    """Return the lifted people of a request as JSON, or status 400 with the reason of a refusal."""
    body, query = await request.body(), dict(request.query_params)
    try:
        return JSONResponse(await run_in_threadpool(_lift, model, uri, body, query))
    except (InputError, MlflowException) as error:
        return PlainTextResponse(" ".join(str(error).split()), 400)


def _lift(model: PyFuncModel, uri: str, body: bytes, query: dict[str, str]) -> dict[str, Any]:
    if unknown := sorted(set(query) - {*_OF_KEYPOINTS, *_OF_MODEL}):
        raise InputError(f"unknown parameter {unknown[0]!r:.50}; known: {', '.join((*_OF_KEYPOINTS, *_OF_MODEL))}")
    values = {_OF_KEYPOINTS[name]: text for name, text in query.items() if name in _OF_KEYPOINTS}
    parameters = parse(KeypointsParameters, values, "the query")
    if body.startswith(ZIP_BEGINS):
        raise InputError("the body is an .npz, whose content may be far larger than the body; send .npy or JSON")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "request"
        file.write_bytes(body)
        try:
            videos, warnings = read_keypoints(find_keypoints(file), parameters, MAX_POSES)
            tracks, _ = long_and_short(file, videos, parameters)
        except InputError as error:
            raise InputError(str(error).replace(str(file), "the body")) from None
    if len(tracks) > MAX_TRACKS or sum(len(track.pose_2d) for track in tracks) > MAX_POSES:
        raise InputError(f"a request has at most {MAX_TRACKS} tracks and {MAX_POSES:,} poses: send several requests")
    numbers = {name: _number(name, query[name]) for name in _OF_MODEL if name in query}
    people = []
    for track in tracks:
        seen = track.pose_2d[None].astype(np.float32)
        known = {"fps": track.fps, "image_width": track.width, "image_height": track.height}
        given = {name: value for name, value in known.items() if value} | numbers
        poses = np.asarray(model.predict(seen, params={"skeleton": "h36m17", "root": True, **given}), np.float64)[0]
        person = {"video": track.video, "person": track.person, "first_frame": track.first_frame, "fps": track.fps}
        people.append({**person, "joints": np.round(poses, 4).tolist()})
    about = {"model": uri, "skeleton": videos[0].skeleton, "joints": list(JOINTS), "unit": UNIT, "axes": AXES}
    return {**about, "warnings": warnings, "people": people}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r:.50}; expected a number") from None
