"""Test data: a video of a drawn person, and a program that replaces the Python of a detector."""

import stat
import struct
import subprocess
import sys

_DRAW = """
import sys
import cv2
import numpy as np

is_turned = len(sys.argv) > 2
size = (480, 640) if is_turned else (640, 480)
writer = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter_fourcc(*"mp4v"), 30, size)
skin, cloth, trousers = (140, 170, 220), (120, 60, 30), (60, 40, 40)
for frame in range(40):
    image = np.full((480, 640, 3), 200, np.uint8)
    x, swing = 250 + 2 * frame, np.sin(frame / 5) * 25
    cv2.circle(image, (x, 110), 32, skin, -1)
    for side in (-1, 1):
        cv2.circle(image, (x + side * 10, 105), 4, (40, 40, 40), -1)
    cv2.rectangle(image, (x - 35, 145), (x + 35, 270), cloth, -1)
    for side in (-1, 1):
        elbow, wrist = (int(x + side * 60 + swing), 210), (int(x + side * 55 + 2 * swing), 265)
        knee, ankle = (int(x + side * 20 - side * swing), 350), (int(x + side * 22 - side * swing), 430)
        cv2.line(image, (x + side * 35, 155), elbow, cloth, 18)
        cv2.line(image, elbow, wrist, skin, 14)
        cv2.line(image, (x + side * 18, 270), knee, trousers, 24)
        cv2.line(image, knee, ankle, trousers, 20)
    writer.write(cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE) if is_turned else image)
writer.release()
"""

# as the script of a detector is called; what it writes has a person in the first 30 of 36 frames
STAND_IN = """
import sys
import numpy as np

for done in (10, 20):
    print(done, 30, flush=True)
shape = np.random.default_rng(3).uniform((100, 50, 0, 0.9), (300, 400, 1, 0.9), (33, 4))
landmarks = (shape[shape[:, 1].argsort()] + np.arange(30)[:, None, None] * (2, 0, 0, 0)).astype(np.float32)
landmarks[12:14] = np.nan
np.savez(sys.argv[-1], landmarks=landmarks, fps=24.0, width=640, height=480, skeleton="mediapipe33",
         frames_in_header=36, made_by="a stand-in")
"""


def draw_video(python, path):
    """Draw a person who walks to the right for 40 frames, with a Python that has OpenCV."""
    subprocess.run([python, "-c", _DRAW, path], check=True)
    return path


def draw_turned_video(python, path):
    """Draw the same video as a phone that is held sideways: turned images, and a matrix that turns them back."""
    subprocess.run([python, "-c", _DRAW, path, "turned"], check=True)
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 640 << 16, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    begin = data.index(b"tkhd") + 44
    data[begin : begin + len(matrix)] = matrix
    path.write_bytes(data)
    return path


def trim(path, frames):
    """Begin an MP4 of OpenCV (15,360 ticks per second, 30 fps) later by an edit list, as phones trim videos."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"elst") + 16
    data[begin : begin + 4] = struct.pack(">i", frames * 512)
    path.write_bytes(data)


def as_program(folder, code):
    """Write a program that runs this code instead of the script in its arguments."""
    (folder / "stand_in.py").write_text(code)
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "stand_in.py"} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
