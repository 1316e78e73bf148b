"""A video -> the 33 landmarks of one person in every frame, by MediaPipe; run by a Python that has it, not by ours.

    .venv-mediapipe/bin/python -I tasks/lifting/video/mediapipe_detector.py 0.10.14 VIDEO LANDMARKS.npz

Notable decisions:
- it stands alone and imports nothing of this project: MediaPipe wants protobuf below 5, MLflow's environment has 7, so
  they cannot be one environment (`make mediapipe` makes this one);
- 0.10.14, because it is the last wheel that carries its models; nothing is downloaded. Its `full` pose model
  (`model_complexity=1`) follows one person, the most prominent, and smooths over time, as MediaPipe does untold;
- the .npz is one that `uplift keypoints` reads from anybody: `landmarks` (frames, 33, 4), x right, y down and z in
  pixels and the visibility, NaN where nobody is seen; `fps`, where the video has one; `width`, `height`, `skeleton`;
  `frames_said`, how many frames the video says it has: one that is cut off has fewer.

Prints a line for each second of work, the frames done and all of them: `120 900`.
"""

import math
import sys
import time

MOST_FRAMES = 1_000_000  # 9 hours at 30 fps; what the reader of arrays takes


def main() -> None:
    """Detect, or end with a sentence on stderr and exit code 1."""
    wanted, video, target = sys.argv[1:]
    import cv2
    import mediapipe
    import numpy as np

    if mediapipe.__version__ != wanted:
        sys.exit(f"it has mediapipe {mediapipe.__version__}, and {wanted} is wanted")
    capture = cv2.VideoCapture(video)
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    frames: list[np.ndarray] = []
    width, height, told = 0, 0, time.monotonic()
    with mediapipe.solutions.pose.Pose(model_complexity=1) as pose:
        while True:
            is_read, image = capture.read()
            if not is_read:
                break
            if len(frames) == MOST_FRAMES:
                sys.exit(f"it has more than {MOST_FRAMES} frames; cut it into parts")
            height, width = image.shape[:2]
            found = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks
            row = np.full((33, 4), np.nan, np.float32)
            if found:
                row[:] = [(m.x * width, m.y * height, m.z * width, m.visibility) for m in found.landmark]
            frames.append(row)
            if time.monotonic() - told > 1:
                told = time.monotonic()
                print(len(frames), max(len(frames), int(count)), flush=True)
    if not frames:
        sys.exit("OpenCV finds no frame in it that it can decode")
    known = {"fps": fps} if math.isfinite(fps) and 0.001 <= fps <= 1000 else {}
    versions = f"mediapipe {wanted}, opencv {cv2.__version__}"
    np.savez(
        target,
        landmarks=np.stack(frames),
        width=width,
        height=height,
        skeleton="mediapipe33",
        frames_said=max(0, int(count)),
        made_by=versions,
        **known,
    )


if __name__ == "__main__":
    main()
