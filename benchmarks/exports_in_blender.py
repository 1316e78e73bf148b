"""Import motion.bvh and motion.glb into Blender and compare the bones with the joints of motion.npz.

    python -m venv blender && blender/bin/pip install bpy==4.5.15
    blender/bin/python benchmarks/exports_in_blender.py --exports exports

The environment has only bpy and numpy, because bpy needs numpy below 2. `python -m benchmarks.speed --only exports`
writes the files. Result of 2026-11-27, bpy 4.5.15, 1,000 frames: bvh 0.003 mm, glb 0.002 mm.
"""

import argparse
from pathlib import Path

import bpy
import numpy as np

_EVERY = 37  # frames


def main() -> None:
    """Print the largest distance of each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=Path, default=Path("exports"))
    folder = parser.parse_args().exports
    with np.load(folder / "motion.npz") as motion:
        names, fps = motion["joints"].tolist(), float(motion["fps"])
        joints = motion["pose_3d"] + motion["root"][:, None]  # z up, like Blender
    for form in ("bvh", "glb"):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.scene.render.fps = round(fps)
        if form == "bvh":
            bpy.ops.import_anim.bvh(filepath=str(folder / "motion.bvh"), global_scale=0.01)
        else:
            bpy.ops.import_scene.gltf(filepath=str(folder / "motion.glb"))
        print(f"{form}: {1000 * _farthest(joints, names):.4f} mm")


def _farthest(joints: np.ndarray, names: list[str]) -> float:
    """Return the largest distance in metres of the bone heads from joints (frames, 17, 3)."""
    scene = bpy.context.scene
    (armature,) = (thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    first = int(armature.animation_data.action.frame_range[0])
    farthest = 0.0
    for frame in range(0, len(joints), _EVERY):
        scene.frame_set(first + frame)
        posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        heads = [(posed.matrix_world @ posed.pose.bones[name].matrix).translation for name in names]
        farthest = max(farthest, float(np.linalg.norm(np.array(heads) - joints[frame], axis=1).max()))
    return farthest


if __name__ == "__main__":
    main()
