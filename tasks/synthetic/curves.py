"""Describe a synthetic body, and generate the two movements that all actions use: standing and gait.

- Ankle positions determine the legs: they follow footprints on the floor, and `motion` computes the knees. So a foot on
  the floor cannot slide and a knee cannot bend forward. Joint angles determine trunk, head and arms.
- A gait has one phase, which increases with the walked distance and the turned angle. So stride and speed always
  agree, and one function generates walking, running, curves and turns on the spot.
"""

from dataclasses import dataclass

import numpy as np

FPS = 60
RIGHT, LEFT = 0, 1
SIGN = np.array([1.0, -1.0])  # of x: right, left
CLIP = slice(FPS, -2 * FPS)  # the clip inside its padded time


@dataclass(frozen=True)
class Body:
    """Bone lengths of one subject (metres) and a few movement habits."""

    stature: float
    hip_half: float
    thigh: float
    shin: float
    ankle: float
    lower_spine: float
    upper_spine: float
    neck: float
    skull: float
    shoulder_half: float
    upper_arm: float
    forearm: float
    stride: float  # ratio to the usual stride at that speed
    arm_swing: float  # ratio
    stoop: float  # degrees of forward bend at rest
    toe_out: float  # degrees

    @property
    def leg(self) -> float:
        """Length of thigh and shin together, metres."""
        return self.thigh + self.shin


@dataclass
class Curves:
    """Curves of one clip over T frames: metres, degrees, axes x right, y forward, z up; sides 0 right, 1 left.

    `pelvis`, `trunk` and `head` angles are (forward bend, bend to the right, turn to the left), each relative to the
    body segment below. `arms` are (flexion, abduction, inward twist, elbow); all are 0 for an arm that hangs vertically
    in the world.
    """

    root: np.ndarray  # (T, 3) position of the pelvis
    pelvis: np.ndarray  # (T, 3)
    trunk: np.ndarray  # (T, 3)
    head: np.ndarray  # (T, 3)
    arms: np.ndarray  # (2, T, 4)
    ankles: np.ndarray  # (2, T, 3)
    feet: np.ndarray  # (2, T) heading, to the left

    def crop(self, part: slice) -> "Curves":
        """Return the curves of the frames in the slice `part`."""
        root, pelvis, trunk, head = (curve[part] for curve in (self.root, self.pelvis, self.trunk, self.head))
        arms, ankles, feet = (curves[:, part] for curves in (self.arms, self.ankles, self.feet))
        return Curves(root, pelvis, trunk, head, arms, ankles, feet)


def padded(time: np.ndarray) -> np.ndarray:
    """Return `time` (s) with one second before and two seconds after the clip, for its first and last footprints."""
    return np.arange(-FPS, len(time) + 2 * FPS) / FPS


def standing(
    body: Body, rng: np.random.Generator, time: np.ndarray, width: float = 1.3, stagger: float = 0.0
) -> Curves:
    """Return a stand at the origin that faces +y, feet `width` hip widths apart, right foot `stagger` metres ahead."""
    frames, sides = len(time), (RIGHT, LEFT)
    level = body.ankle + 0.993 * body.leg
    root = smooth_noise(rng, time, np.array([0.012, 0.01, 0.0]))
    root += np.array([0, 0.02 * body.leg, level])
    feet = [[SIGN[s] * width * body.hip_half, SIGN[s] * stagger / 2, body.ankle] for s in sides]
    rest = np.array([rng.normal(0, 4), rng.uniform(5, 12), rng.uniform(5, 30), rng.uniform(8, 28)])
    curves = Curves(
        root,
        smooth_noise(rng, time, np.array([1.5, 1.0, 2.0])),
        smooth_noise(rng, time, np.array([2.0, 1.5, 3.0])),
        smooth_noise(rng, time, np.array([5.0, 3.0, 12.0])),
        np.stack([rest + smooth_noise(rng, time, np.array([4.0, 2.0, 5.0, 4.0])) for _ in sides]),
        np.stack([np.tile(foot, (frames, 1)) for foot in feet]),
        np.stack([np.full(frames, -SIGN[s] * body.toe_out) for s in sides]),
    )
    curves.trunk[:, 0] += body.stoop
    return curves


def gait(
    body: Body, rng: np.random.Generator, time: np.ndarray, speed: np.ndarray, heading: np.ndarray, stops: list[float]
) -> Curves:
    """Return a walk or run at speed (T,) m/s, heading (T,) in degrees to the left, that halts at `stops` (seconds).

    The phase is 0 when the right foot lands, and increases by 1 per stride.
    """
    curves = standing(body, rng, time)
    turn_rate = np.gradient(heading) * FPS
    run = ease(speed, [1.65, 2.3], [0, 1])
    stride = body.stride * body.stature * _mix(run, 0.28 + 0.38 * speed, 0.45 + 0.27 * speed)
    rate = np.hypot(speed / stride, turn_rate / 110)  # strides per second, from distance or from turning
    still = np.searchsorted(time, [t for t in stops if t < time[-1]])
    walk = _Walk(
        phase=_both_feet_down(np.cumsum(rate) / FPS + rng.random(), still),
        rate=rate,
        step=np.tanh(rate / 0.4),
        run=run,
        speed=speed,
        path=np.cumsum(ahead(heading) * speed[:, None], axis=0) / FPS,
        heading=heading,
        turn_rate=turn_rate,
    )
    for side in (RIGHT, LEFT):
        _place_foot(curves, side, body, walk)
    _carry_pelvis(curves, body, walk)
    _swing_trunk_and_arms(curves, body, walk)
    return curves


@dataclass(frozen=True)
class _Walk:
    """Inputs of a gait, each over T frames."""

    phase: np.ndarray  # strides
    rate: np.ndarray  # strides per second
    step: np.ndarray  # 0 standing still, 1 at an ordinary pace
    run: np.ndarray  # 0 walking, 1 running
    speed: np.ndarray  # m/s
    path: np.ndarray  # (T, 2) metres
    heading: np.ndarray  # degrees
    turn_rate: np.ndarray  # degrees per second

    def wave(self, peak: float, beats: int = 1) -> np.ndarray:
        """Return an oscillation with its peak at phase `peak`, `beats` times per stride, and zero at rest."""
        return self.step * np.cos(2 * np.pi * beats * (self.phase - peak))


def _place_foot(curves: Curves, side: int, body: Body, walk: _Walk) -> None:
    """Keep a foot on its print for `duty` of the stride, roll it from heel to ball, then swing it to the next print."""
    run, phase = walk.run, walk.phase + 0.5 * side  # phase of this foot: 0 when it lands
    stride, part, duty = np.floor(phase), phase % 1, _mix(run, 0.62, 0.36)
    aside = SIGN[side] * _mix(run, 0.75, 0.35) * body.hip_half

    def prints(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, facing, out = (np.interp(index + _PRINT, phase, c) for c in (*walk.path.T, walk.heading, aside))
        return np.stack([x, y], axis=1) + turned(np.stack([out, np.zeros_like(out)], axis=1), facing), facing

    flight = np.clip((part - duty) / (1 - duty), 0, 1)
    moved = flight**2 * (3 - 2 * flight)
    (here, facing), (there, facing_next) = prints(stride), prints(stride + 1)
    foot_heading = facing + (facing_next - facing) * moved
    push = np.clip((part / duty - 0.4) / 0.6, 0, 1) ** 2 * (1 - ease(flight, [0.0, 0.75], [0, 1]))
    strike = np.where(part < duty, 1 - ease(part, [0.0, 0.12], [0, 1]), ease(flight, [0.6, 1.0], [0, 1]))
    back, up = heel_rise(walk.step * (_mix(run, 55, 75) * push - _mix(run, 20, 5) * strike), body.ankle)
    lift = 6.75 * flight * (1 - flight) ** 2 * _mix(run, 0.03, 0.09 + 0.06 * walk.speed) * body.stature / 1.75
    curves.ankles[side, :, :2] = here + (there - here) * moved[:, None] + ahead(foot_heading) * back[:, None]
    curves.ankles[side, :, 2] += up + lift
    curves.feet[side] += foot_heading


def _carry_pelvis(curves: Curves, body: Body, walk: _Walk) -> None:
    """Move the pelvis along the path; over the standing foot it is highest in a walk, and lowest in a run."""
    run, wave = walk.run, walk.wave
    lead = 0.1 * run * walk.speed / np.maximum(walk.rate, 0.5)  # a runner lands closer below the hip
    sway = turned(np.array([1.0, 0.0]), walk.heading) * (_mix(run, 0.022, 0.008) * wave(0.28))[:, None]
    curves.root[:, :2] += walk.path + ahead(walk.heading) * lead[:, None] + sway
    curves.root[:, 2] += body.leg * _mix(run, 0.012 * wave(0.26, 2), -0.06 - 0.035 * wave(0.16, 2))
    lean, twist = _mix(run, 1.5 * walk.step, 5), _mix(run, 5, 7) * wave(0)
    curves.pelvis += np.stack([lean, -_mix(run, 3.5, 4.5) * wave(0.3), walk.heading + twist], axis=1)


def _swing_trunk_and_arms(curves: Curves, body: Body, walk: _Walk) -> None:
    """Turn the shoulders against the pelvis, swing the arms against the legs, and turn the head along the path."""
    run, wave, turn_rate = walk.run, walk.wave, walk.turn_rate
    bend = _mix(run, 1.5 * walk.step, 5) + _mix(run, 1.2, 2.5) * wave(0.05, 2)
    side_bend = _mix(run, 2.1, 2.8) * wave(0.3) - np.clip(0.06 * turn_rate * walk.speed, -12, 12)
    twist = _mix(run, 5, 7) * wave(0)
    curves.trunk += np.stack([bend, side_bend, 0.08 * turn_rate - 2.2 * twist], axis=1)
    curves.head[:, 2] += twist + np.clip(0.22 * turn_rate, -35, 35)
    for side in (RIGHT, LEFT):
        back = SIGN[side] * wave(0.02)
        curves.arms[side, :, 0] += _mix(run, -2, -16) - body.arm_swing * _mix(run, 21, 36) * back
        curves.arms[side, :, 2] += 18 * run
        curves.arms[side, :, 3] += _mix(run, 4, 70) - _mix(run, 11, 14) * back


_PRINT = 0.24  # share of a stride between landing and the moment when the body is above the footprint


def _both_feet_down(phase: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Stretch the phase (T,) so that at each stop (frame index) both feet are on the floor (double support)."""
    if len(stops) == 0:
        return phase
    middle = 0.06  # the feet land at 0 and 0.5 and lift at 0.12 and 0.62
    strides = np.ceil(2 * np.diff(phase[stops]) - 0.1) / 2  # rounded up: short strides are better than long ones
    first = np.round((phase[stops[0]] - middle) * 2) / 2 + middle
    goal = first + np.concatenate([[0], np.cumsum(strides)])
    return phase + np.interp(phase, phase[stops], goal - phase[stops])


def heel_rise(roll: np.ndarray | float, ankle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ankle's shift forward and up (metres) if the foot rolls `roll` degrees onto its ball (heel if < 0)."""
    angle = np.deg2rad(roll)
    lever = np.where(angle > 0, 1.6, -0.6) * ankle  # from the ankle forward to the point of rotation
    return lever * (1 - np.cos(angle)) + ankle * np.sin(angle), lever * np.sin(angle) - ankle * (1 - np.cos(angle))


def ahead(heading: np.ndarray | float) -> np.ndarray:
    """Return the unit vectors (T, 2) of headings (T,) in degrees to the left of +y."""
    angle = np.deg2rad(heading)
    return np.stack([-np.sin(angle), np.cos(angle)], axis=-1)


def turned(offset: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Rotate horizontal offsets (T, 2) or (2,), (right, forward) relative to a heading (T,), to world axes."""
    forward = ahead(heading)
    right = np.stack([forward[..., 1], -forward[..., 0]], axis=-1)
    return offset[..., :1] * right + offset[..., 1:] * forward


def _mix(run: np.ndarray, walking: np.ndarray | float, running: np.ndarray | float) -> np.ndarray:
    return (1 - run) * walking + run * running


def ease(time: np.ndarray, at: object, value: object) -> np.ndarray:
    """Interpolate K values (K,) or (K, n) smoothly to (T,) or (T, n); the speed is 0 at each of the K times `at`."""
    keys, values = np.asarray(at, dtype=float), np.asarray(value, dtype=float)
    i = np.clip(np.searchsorted(keys, time, side="right") - 1, 0, len(keys) - 2)
    part = np.clip((time - keys[i]) / np.maximum(keys[i + 1] - keys[i], 1e-9), 0, 1)
    part = part**3 * (10 - 15 * part + 6 * part**2)  # minimum jerk: Flash & Hogan, 1985
    part = part.reshape(-1, *(1,) * (values.ndim - 1))
    return values[i] * (1 - part) + values[i + 1] * part


def smooth_noise(rng: np.random.Generator, time: np.ndarray, deviation: float | np.ndarray) -> np.ndarray:
    """Return slow drift (0.05-0.7 Hz) with this standard deviation: (T,), or (T, n) for n deviations."""
    spread = np.atleast_1d(deviation)
    rate, phase = rng.uniform(0.05, 0.7, (5, len(spread))), rng.uniform(0, 2 * np.pi, (5, len(spread)))
    drift = np.sin(2 * np.pi * rate * time[:, None, None] + phase).sum(axis=1) * np.sqrt(2 / 5) * spread
    return drift if np.ndim(deviation) else drift[:, 0]
