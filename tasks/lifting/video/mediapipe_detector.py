"""Detect the 33 landmarks of one person in every frame of a video with MediaPipe, in MediaPipe's own environment.

    .venv-mediapipe/bin/python -I tasks/lifting/video/mediapipe_detector.py 0.10.14 VIDEO LANDMARKS.npz

- The script imports nothing from this project. MediaPipe requires protobuf < 5 and MLflow's environment has 7, so
  MediaPipe has its own environment (`make mediapipe`). 0.10.14 is the last wheel that contains its models, so nothing
  is downloaded. Its `full` pose model (`model_complexity=1`) follows the most prominent person and smooths over time.
- The .npz is readable by `uplift keypoints`: `landmarks` (frames, 33, 4) has x right, y down and z in pixels and the
  visibility, NaN in frames without a person; `fps` if the video has it; `width`, `height`, `skeleton`; and
  `frames_in_header`, which is larger than the number of frames if the video is trimmed or cut off.
- OpenCV rotates the images as the video's metadata require, and skips frames outside the video's edit list.
- The script prints one line per second, the number of finished frames and of all frames: `120 900`.
"""

import math
import sys
import time

MOST_FRAMES = 1_000_000  # 9 hours at 30 fps; the limit of the reader of arrays


def main() -> None:
    """Detect landmarks, or exit with code 1 and a message on stderr."""
    required, video, target = sys.argv[1:]
    import cv2
    import mediapipe
    import numpy as np

    if mediapipe.__version__ != required:
        sys.exit(f"the environment has mediapipe {mediapipe.__version__}, expected {required}")
    capture = cv2.VideoCapture(video)
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    frames: list[np.ndarray] = []
    width, height, last_report = 0, 0, time.monotonic()
    with mediapipe.solutions.pose.Pose(model_complexity=1) as pose:
        while True:
            is_read, image = capture.read()
            if not is_read:
                break
            if len(frames) == MOST_FRAMES:
                sys.exit(f"the video has more than {MOST_FRAMES} frames; cut it into parts")
            height, width = image.shape[:2]
            landmarks = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks
            row = np.full((33, 4), np.nan, np.float32)
            if landmarks:
                row[:] = [(m.x * width, m.y * height, m.z * width, m.visibility) for m in landmarks.landmark]
            frames.append(row)
            if time.monotonic() - last_report > 1:
                last_report = time.monotonic()
                print(len(frames), max(len(frames), int(count)), flush=True)
    if not frames:
        sys.exit("OpenCV cannot decode any frame of the video")
    known = {"fps": fps} if math.isfinite(fps) and 0.001 <= fps <= 1000 else {}
    versions = f"mediapipe {required}, opencv {cv2.__version__}"
    np.savez(
        target,
        landmarks=np.stack(frames),
        width=width,
        height=height,
        skeleton="mediapipe33",
        frames_in_header=max(0, int(count)),
        made_by=versions,
        **known,
    )


if __name__ == "__main__":
    main()
