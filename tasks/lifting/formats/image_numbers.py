"""Numbers of frames from the names of their images or files."""

import re
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError

_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")


def number_images(path: Path, images: list[object]) -> np.ndarray:
    """Numbers of images: those that they are, else the last one in each name, else by their order.

    Raises
    ------
    InputError
        One is neither number nor name, or two have one number.
    """
    numbers: dict[str | int, int] = {}
    for image in images:
        if isinstance(image, bool) or not isinstance(image, int | str):
            raise InputError(f"{path}: image_id: neither number nor name, but a {type(image).__name__}")
        if image not in numbers:
            found = _LAST_NUMBER.search(Path(image).stem) if isinstance(image, str) else None
            numbers[image] = image if isinstance(image, int) else int(found.group(1)) if found else -1
    if all(isinstance(image, str) and number == -1 for image, number in numbers.items()):
        numbers = {image: place for place, image in enumerate(numbers)}
    if len(set(numbers.values())) < len(numbers):
        first = dict[int, str | int]()
        for image, number in numbers.items():
            if number in first:
                told = " and ".join(ascii(str(name)[:60]) for name in (first[number], image))
                raise InputError(f"{path}: image_id: {told} have no numbers of their own to tell their frames")
            first[number] = image
    return np.array([numbers[image] for image in images], dtype=np.int64)  # type: ignore[index]
