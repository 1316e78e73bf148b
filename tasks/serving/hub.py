"""Export a model as a folder for a model hub: weights, configuration, and a card with front matter.

`pose_uplift.load_lifter(FOLDER)` loads it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.store.checking import verify_input
from data_contracts.store.folders import CHECKPOINT_FILE, SHIPPED, SHIPPED_RUN
from model.lifting.lifter import load_lifter
from model.network.network import PoseNetwork
from tasks.tracking.models import find_lifting_model

CARD_FILE, CONFIG_FILE = "README.md", "config.json"  # as hubs expect them
_FRONT = """---
license: {licence}
library_name: pose-uplift
tags: [human-pose, 3d, pose-lifting, motion-capture]
---

"""
_LOAD = """
## How to load this folder

Install pose-uplift with `pip install .` in a clone of its repository, then:

```python
import pose_uplift

lifter = pose_uplift.load_lifter("FOLDER", flip=FLIP)  # this folder
motion = pose_uplift.lift(keypoints, fps=30, skeleton="coco17", lifter=lifter)
```
"""


def export_folder(store: Path, model: str, out: Path) -> dict[str, Any]:
    """Write `model.safetensors`, `config.json` and `README.md` of a model to a new folder.

    `model` is a model URI, run folder, digest, checkpoint file or `SHIPPED`. The card of a registered version is its
    description in MLflow. The result has `folder` and `files`.

    Raises
    ------
    InputError
        The model does not exist or returns 2D poses, or `out` exists.
    """
    found = find_lifting_model(store, model)
    verify_input(found.checkpoint)
    lifter = load_lifter(found.checkpoint, found.flip)
    assert isinstance(lifter.network, PoseNetwork)
    config = {
        "library": "pose-uplift",
        "model": found.uri,
        "window": lifter.window,
        "fps": lifter.fps,
        "flip": lifter.flip,
        "network": lifter.network.config.model_dump(mode="json"),
    }
    text, licence = _card(store, found.uri)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); pass a new folder with --out") from error
    shutil.copyfile(found.checkpoint, out / CHECKPOINT_FILE)
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (out / CARD_FILE).write_text(
        _FRONT.format(licence=licence) + text + _LOAD.replace("FLIP", str(lifter.flip)), encoding="utf-8"
    )
    return {"folder": str(out), "files": sorted(file.name for file in out.iterdir())}


def _card(store: Path, uri: str) -> tuple[str, str]:
    """Return the text of the card and a hub's name of the licence; `other` means that the card names it."""
    if uri == SHIPPED:
        return (SHIPPED_RUN / "card.md").read_text(encoding="utf-8"), "apache-2.0"
    if not uri.startswith("models:/"):
        return f"# {Path(uri).name}\n\nA lifter of 2D human keypoints to 3D.\n", "other"
    from tasks.tracking.connection import connect
    from tasks.tracking.registry import find_version

    return find_version(connect(store), uri).description or f"# {uri}\n", "other"
