"""Generate the actions of a synthetic subject: each function returns smooth curves over one clip.

- A jump has a constant push, a free flight under gravity and constant braking, so the root's speed is continuous.
- Each action starts at the origin and faces +y (x right, z up); `tasks.synthetic.motion` then rotates the clip.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.synthetic.curves import (
    CLIP,
    FPS,
    LEFT,
    RIGHT,
    SIGN,
    Body,
    Curves,
    ahead,
    ease,
    gait,
    heel_rise,
    padded,
    smooth_noise,
    standing,
    turned,
)

GRAVITY = 9.81


def walking(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip in which the subject walks along a curve and starts at rest or at full speed."""
    long = padded(time)
    pace = rng.uniform(0.8, 1.5) * (1 + smooth_noise(rng, long, 0.07))
    drift = np.gradient(rng.uniform(-25, 25) * long + smooth_noise(rng, long, 25))
    from_rest = rng.random() < 0.5
    start = ease(long, [0.3, 1.6], [0, 1]) if from_rest else np.ones_like(long)
    return gait(body, rng, long, start * pace, np.cumsum(start * drift), [0.0] if from_rest else []).crop(CLIP)


def running(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip in which the subject runs, or first walks and then runs."""
    long = padded(time)
    pace = rng.uniform(2.4, 3.5) * (1 + smooth_noise(rng, long, 0.04))
    if rng.random() < 0.4:
        begin = rng.uniform(0.2, 0.35) * time[-1]
        pace *= ease(long, [begin, begin + 2.6], [0.45, 1])
    return gait(body, rng, long, pace, rng.uniform(-20, 20) * long + smooth_noise(rng, long, 12), []).crop(CLIP)


def turning(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip in which the subject repeatedly walks some paces, stops, and turns on the spot with steps."""
    long = padded(time)
    now, heading, stops = 0.0, 0.0, [0.0]
    speed_keys, turn_keys = [(-1.0, 0.0), (0.0, 0.0)], [(0.0, 0.0)]
    while now < time[-1]:
        walk, turn = rng.uniform(1.6, 2.4), rng.uniform(75, 200) * rng.choice([-1, 1])
        if rng.random() < 0.75:
            peak = rng.uniform(0.7, 1.2)
            speed_keys += [(now + 0.1, 0.0), (now + 0.4 * walk, peak), (now + 0.6 * walk, peak), (now + walk, 0.0)]
            now += walk
            stops.append(now)
        pause, spin = rng.uniform(0.1, 0.4), abs(turn) / rng.uniform(75, 120)
        turn_keys += [(now + pause, heading), (now + pause + spin, heading + turn)]
        now, heading = now + pause + spin + 0.1, heading + turn
        stops.append(now)
    return gait(body, rng, long, ease(long, *_columns(speed_keys)), ease(long, *_columns(turn_keys)), stops).crop(CLIP)


def jumping(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip of repeated jumps with raised arms: on the spot, forward, or with a turn in the air."""
    curves = standing(body, rng, time)
    rise = float(heel_rise(50.0, body.ankle)[1])
    travel, spin = rng.choice([0.0, 0.35, 0.8]), rng.choice([0.0, 0.0, 90.0, -180.0])
    height, lift, roll, bend = (np.zeros_like(time) for _ in range(4))
    now, station = rng.uniform(0.1, 0.5), np.zeros(3)  # station: x, y, heading
    arm_keys, root_keys, foot_keys = [(0.0, 0.0, 0.0)], [(0.0, *station)], [(0.0, *station)]
    while now < time[-1]:
        depth, landing = body.leg * rng.uniform([0.2, 0.15], [0.42, 0.35])
        take_off = np.sqrt(2 * GRAVITY * rng.uniform(0.12, 0.38))  # m/s
        push, brake = 2 * (depth + rise) / take_off, 2 * (landing + rise) / take_off
        durations = [rng.uniform(0.45, 0.8), push, 2 * take_off / GRAVITY, brake, rng.uniform(0.4, 0.8)]
        low, up, down, lowest, end = times = now + np.cumsum(durations)
        rising, flight = _jump_height(time, now, times, take_off, depth, landing, rise)
        height += rising
        tuck = np.sin(np.pi * np.clip((time - up) / (down - up), 0, 1)) ** 2
        lift += flight + rng.uniform(0.02, 0.2) * tuck
        roll += ease(time, [low + 0.4 * push, up, down, down + 0.5 * brake], [0, 50, 50, 0])
        bend += ease(time, [now, low, up, down, lowest, end], [0, 100 * depth, 0, 10, 90 * landing, 0])
        arm_keys += [(now, 0, 0), (low - 0.1, -30, 15), (up + 0.14, rng.uniform(40, 140), 20)]
        arm_keys += [(lowest + 0.2, 15, 30), (end + 0.2, 0, 0)]
        goal = station + np.array([*(travel * ahead(station[2])), spin])
        root_keys += [(low, *station), (lowest, *goal)]
        foot_keys += [(up, *station), (down, *goal)]
        now, station = end + rng.uniform(0.2, 0.6), goal

    root, foot = ease(time, *_columns(root_keys)), ease(time, *_columns(foot_keys))
    curves.root[:, :2] = root[:, :2] - ahead(root[:, 2]) * 0.0025 * bend[:, None]
    curves.root[:, 2] += height
    curves.pelvis += np.stack([0.5 * bend, np.zeros_like(bend), root[:, 2]], axis=1)
    curves.trunk[:, 0] += 0.6 * bend
    curves.arms[..., [0, 3]] += ease(time, *_columns(arm_keys))
    back, upward = heel_rise(roll, body.ankle)
    for side in (RIGHT, LEFT):
        curves.ankles[side, :, :2] = turned(curves.ankles[side, :, :2], foot[:, 2]) + foot[:, :2]
        curves.ankles[side, :, :2] += ahead(foot[:, 2]) * back[:, None]
        curves.ankles[side, :, 2] += upward + lift
        curves.feet[side] += foot[:, 2]
    return curves


def squatting(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip of squats of varied depth (arms forward, on the hips, at the head or to the floor) or of lunges."""
    style = rng.choice(list(_SQUATS))
    lean, sink, shift, moving_arms, held_arms = _SQUATS[style]
    lunge, ahead_foot = style == "lunge", rng.choice([-1, 1])
    width, stagger = (1.0, rng.uniform(0.6, 0.76)) if lunge else (rng.uniform(1.0, 2.0), rng.uniform(0, 0.16))
    curves = standing(body, rng, time, width, ahead_foot * stagger * body.leg)
    keys, now = [(0.0, 0.0, 0.0)], rng.uniform(0.1, 0.6)
    while now < time[-1]:
        down, hold, up, rest = rng.uniform([0.7, 0.1, 0.6, 0.1], [1.3, 0.6, 1.1, 0.5])
        deep, twist = rng.uniform(0.35, 1.0), rng.normal(0, 12)
        keys += [(now, 0, 0), (now + down, deep, twist), (now + down + hold, deep, twist)]
        now += down + hold + up
        keys += [(now, 0, 0)]
        now += rest
    depth, twist = ease(time, *_columns(keys)).T
    bend = lean * rng.uniform(0.8, 1.25) * depth
    curves.root -= body.leg * depth[:, None] * np.array([0, shift, sink])
    curves.pelvis[:, 0] += 0.6 * bend
    curves.trunk += np.stack([0.8 * bend, 0.2 * twist, twist], axis=1)
    curves.arms += depth[:, None] * np.array(moving_arms) + np.array(held_arms)
    if lunge:  # the heel of the rear foot is raised
        rear = LEFT if ahead_foot > 0 else RIGHT
        curves.ankles[rear, :, 1:] += np.stack(heel_rise(25 + 30 * depth, body.ankle), axis=1)
    return curves


def reaching(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip in which one hand or both reach up, down, forward and sideways, and the whole body follows."""
    curves = standing(body, rng, time, width=rng.uniform(1.0, 1.8), stagger=rng.uniform(-0.12, 0.12))
    times, goals = [0.0], [np.zeros(13)]  # right arm (4), left arm (4), bend, side, turn, sink, shift
    now = rng.uniform(0.0, 0.5)
    while now < time[-1]:
        hands = [(1, 0), (0, 1), (1, 1)][rng.choice(3, p=[0.4, 0.4, 0.2])]
        aside = 0.0 if sum(hands) == 2 else rng.uniform(-30, 90)  # degrees outward from straight ahead
        low = rng.uniform(-1, 1)  # 1: at the floor, -1: overhead
        arm = np.array([*_arm_towards(aside, -50 * low), rng.uniform(-40, 40), rng.uniform(3, 45)])
        free = np.array([rng.uniform(-15, 25), rng.uniform(0, 30), rng.uniform(0, 40), rng.uniform(5, 80)])
        side = hands[RIGHT] - hands[LEFT]
        whole = [75 * max(low, 0) ** 1.3 - 8 * max(-low, 0), side * rng.uniform(0, 14), -side * 0.35 * aside]
        goal = np.concatenate([arm if hands[0] else free, arm if hands[1] else free, whole, [max(low, 0), side]])
        move, hold = rng.uniform(0.6, 1.1), rng.uniform(0.05, 0.5)
        times, goals = [*times, now, now + move, now + move + hold], [*goals, goals[-1], goal, goal]
        now += move + hold
        if rng.random() < 0.4:
            now += rng.uniform(0.6, 0.9)
            times, goals = [*times, now], [*goals, np.zeros(13)]
    curve = ease(time, times, goals)
    bend, sink, shift = curve[:, 8], curve[:, 11], curve[:, 12]
    curves.arms += np.stack([curve[:, :4], curve[:, 4:8]])
    curves.pelvis += curve[:, 8:11] * [0.45, 0.2, 0.4]
    curves.trunk += curve[:, 8:11] * [0.6, 0.9, 0.7]
    curves.head[:, 2] += 0.5 * curve[:, 10]
    curves.root += np.stack([0.05 * shift, -0.0015 * bend, -rng.uniform(0.1, 0.4) * body.leg * sink], axis=1)
    return curves


def waving(body: Body, rng: np.random.Generator, time: np.ndarray) -> Curves:
    """Return a clip in which the subject stands or walks slowly and waves one or both forearms or whole arms."""
    if rng.random() < 0.3:
        long = padded(time)
        pace, heading = np.full_like(long, rng.uniform(0.6, 1.1)), rng.uniform(-15, 15) * long
        curves = gait(body, rng, long, pace, heading, []).crop(CLIP)
    else:
        curves = standing(body, rng, time)
    both, whole_arm = rng.random() < 0.3, rng.random() < 0.4
    first = int(rng.integers(2))
    for side in (RIGHT, LEFT) if both else (first,):
        begin = rng.uniform(0.1, 0.8)
        stop = max(begin + 1.5, time[-1] * rng.uniform(0.7, 1.1))
        up = ease(time, [begin, begin + 0.8, stop, stop + 0.9], [0, 1, 1, 0])
        beat = 2 * np.pi * np.cumsum(rng.uniform(0.9, 1.9) * (1 + smooth_noise(rng, time, 0.15))) / FPS
        swing = np.sin(beat) * (1 + smooth_noise(rng, time, 0.25))
        pose, spread = ([10, 150, 0, 25], [15, 10, 25, 8]) if whole_arm else ([15, 75, -80, 95], [12, 18, 12, 12])
        raised, moving = rng.normal(pose, spread), np.outer(swing, [0, 16, 0, 12] if whole_arm else [0, 5, 8, 30])
        curves.arms[side] = (1 - up)[:, None] * curves.arms[side] + up[:, None] * (raised + moving)
        curves.trunk[:, 1] -= SIGN[side] * up * (3 + 2.5 * swing * whole_arm)
    curves.head[:, 2] += smooth_noise(rng, time, 18)
    return curves


ACTIONS: dict[str, Callable[[Body, np.random.Generator, np.ndarray], Curves]] = {
    action.__name__: action for action in (walking, running, turning, jumping, squatting, reaching, waving)
}


# trunk bend (degrees), pelvis drop and backward shift (leg lengths), arm angles per depth, constant arm angles
_SQUATS = {
    "out": (30, 0.52, 0.2, (85, 5, 0, 10), (0, 0, 0, 0)),
    "hips": (24, 0.52, 0.2, (0, 0, 0, 0), (-25, 45, 50, 85)),
    "head": (26, 0.52, 0.2, (0, 0, 0, 0), (15, 108, -92, 105)),
    "floor": (55, 0.46, 0.2, (25, 0, 10, 5), (0, 0, 0, 0)),
    "lunge": (6, 0.3, 0.0, (30, 5, 20, 60), (0, 0, 0, 0)),
}


def _jump_height(
    time: np.ndarray, now: float, times: np.ndarray, take_off: float, depth: float, landing: float, rise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the heights (T,) of the root above standing and of the feet above the floor, for a jump that begins `now`.

    `times` are the ends of crouch, push, flight, braking and recovery. The root takes off and lands at `take_off` m/s,
    `rise` metres above standing (on the toes), and drops to `depth` before and to `landing` after.
    """
    low, up, down, lowest, end = times
    pushing, flying, braking = time - low, time - up, time - down
    flight = take_off * flying - GRAVITY / 2 * flying**2
    phases = [time < low, time < up, time < down, time < lowest]
    heights = [
        ease(time, [now, low], [0, -depth]),
        -depth + take_off / (up - low) / 2 * pushing**2,
        rise + flight,
        rise - take_off * braking + take_off / (lowest - down) / 2 * braking**2,
    ]
    height = np.select(phases, heights, ease(time, [lowest, end], [-landing, 0]))
    return height, np.where((time > up) & (time < down), flight, 0)


def _arm_towards(aside: float, height: float) -> tuple[float, float]:
    """Return flexion and abduction of an arm raised by `height` and turned outward by `aside`, all in degrees."""
    outward, up = np.deg2rad([aside, height])
    x, y, z = np.sin(outward) * np.cos(up), np.cos(outward) * np.cos(up), np.sin(up)
    flexion, abduction = float(np.rad2deg(np.arcsin(y))), float(np.rad2deg(np.arctan2(x, -z)))
    in_front = abduction >= 125  # beyond this, the arm is raised in front
    return (180 - flexion, abduction - 180) if in_front else (flexion, abduction)


def _columns(keys: Sequence[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Convert K rows (time, value, ...) to times (K,) and values (K,), or (K, n) for n > 1 values per row."""
    table = np.array(keys)
    return table[:, 0], table[:, 1] if table.shape[1] == 2 else table[:, 1:]
