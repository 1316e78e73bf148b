"""Derive frame numbers from the names of images or files."""

import re
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError

_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")


def number_images(path: Path, images: list[object]) -> np.ndarray:
    """Return the number of each image: the image if it is a number, else the last number in its name, else its order.

    Raises
    ------
    InputError
        An image is neither a number nor a name, or two images have the same number.
    """
    numbers: dict[str | int, int] = {}
    for image in images:
        if isinstance(image, bool) or not isinstance(image, int | str):
            raise InputError(f"{path}: image_id: expected a number or a name, not a {type(image).__name__}")
        if image not in numbers:
            match = _LAST_NUMBER.search(Path(image).stem) if isinstance(image, str) else None
            numbers[image] = image if isinstance(image, int) else int(match.group(1)) if match else -1
    if all(isinstance(image, str) and number == -1 for image, number in numbers.items()):
        numbers = {image: place for place, image in enumerate(numbers)}
    if len(set(numbers.values())) < len(numbers):
        first = dict[int, str | int]()
        for image, number in numbers.items():
            if number in first:
                names = " and ".join(ascii(str(name)[:60]) for name in (first[number], image))
                raise InputError(f"{path}: image_id: {names} have the same frame number; number the images uniquely")
            first[number] = image
    return np.array([numbers[image] for image in images], dtype=np.int64)  # type: ignore[index]
