// Motion as it came, and how a frame of it is drawn: in the image, in space, and the curve of its errors.

const SIDES = { "-1": [31, 119, 180], 0: [85, 85, 85], 1: [214, 39, 40] }; // left, middle, right
const PALE = 0.6; // of every pose but the first
const APART = 0.6; // of how far people are apart: so much farther the eye stands back
const WIDE_METRES = 6; // a scene that reaches further is followed

function unpack({ step, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (whole) => (whole === -32768 ? NaN : whole * step));
}

function openScene(scene) {
  const tracks = scene.tracks.map((track) => ({
    ...track,
    pose_2d: unpack(track.pose_2d),
    poses: Object.fromEntries(Object.entries(track.poses).map(([name, pose]) => [name, unpack(pose)])),
    error_mm: track.error_mm && unpack(track.error_mm),
  }));
  const names = [...new Set(tracks.flatMap((track) => Object.keys(track.poses)))];
  const box2d = box(tracks.map((track) => track.pose_2d), 2);
  const box3d = box(tracks.map((track) => track.poses[names.at(-1)]).filter(Boolean), 3); // the truth's, if there is
  const frames = Math.max(...tracks.map((track) => track.first + track.frames));
  const apart = spread(tracks.map((track) => track.poses[names.at(-1)]).filter(Boolean).map(standsAt));
  const tallest = Math.max(box3d.high[2] - box3d.low[2], 0.5) + APART * apart; // what the eye must hold
  const follows = Math.max(box3d.high[0] - box3d.low[0], box3d.high[1] - box3d.low[1]) > WIDE_METRES;
  return { ...scene, tracks, names, frames, box2d, box3d, tallest, follows };
}

// Where somebody is on average, by the pelvis of every frame: [x, y].
function standsAt(pose) {
  const joints = 17, sum = [0, 0];
  let frames = 0;
  for (let start = 0; start < pose.length; start += 3 * joints)
    if (!Number.isNaN(pose[start])) {
      frames++;
      for (const axis of [0, 1]) sum[axis] += pose[start + axis];
    }
  return sum.map((total) => total / Math.max(frames, 1));
}

function spread(places) {
  return Math.max(0, ...[0, 1].map((axis) => {
    const along = places.map((place) => place[axis]);
    return Math.max(...along) - Math.min(...along);
  }));
}

function box(arrays, axes) {
  const low = Array(axes).fill(Infinity), high = Array(axes).fill(-Infinity);
  for (const array of arrays)
    for (let i = 0; i < array.length; i++)
      if (!Number.isNaN(array[i])) {
        low[i % axes] = Math.min(low[i % axes], array[i]);
        high[i % axes] = Math.max(high[i % axes], array[i]);
      }
  return low[0] <= high[0] ? { low, high } : { low: Array(axes).fill(0), high: Array(axes).fill(1) };
}

// Points of a track in a frame of its scene, each an array of coordinates or null; none where it is not there.
function points(track, pose, frame, axes) {
  const row = frame - track.first, found = [];
  if (!pose || row < 0 || row >= track.frames) return found;
  for (let joint = 0; joint < track.joints; joint++) {
    const start = (row * track.joints + joint) * axes, point = pose.subarray(start, start + axes);
    found.push(point.some(Number.isNaN) ? null : point);
  }
  return found;
}

// A canvas as large as it is shown, wiped; returns its context and its size in CSS pixels.
function wiped(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.lineCap = context.lineJoin = "round";
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  return { context, width, height };
}

function colour(side, pale) {
  const [r, g, b] = SIDES[side].map((channel) => Math.round(pale ? channel + (255 - channel) * PALE : channel));
  return `rgb(${r},${g},${b})`;
}

function line(context, from, to, style, width) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(from[0], from[1]);
  context.lineTo(to[0], to[1]);
  context.stroke();
}

function label(context, text, placed) {
  const there = placed.filter(Boolean);
  if (!there.length) return;
  const top = there.reduce((best, point) => (point[1] < best[1] ? point : best));
  context.fillStyle = "#444";
  context.fillText(text, top[0], top[1] - 10);
}

function drawImage(canvas, scene, frame) {
  const { context, width, height } = wiped(canvas), { low, high } = scene.box2d;
  const unit = 0.9 * Math.min(width / (high[0] - low[0] || 1), height / (high[1] - low[1] || 1));
  const place = (p) => p && [
    width / 2 + (p[0] - (low[0] + high[0]) / 2) * unit, height / 2 + (p[1] - (low[1] + high[1]) / 2) * unit];
  for (const track of scene.tracks) {
    const placed = points(track, track.pose_2d, frame, 2).map(place);
    for (const [parent, child, side] of scene.bones)
      if (placed[parent] && placed[child]) line(context, placed[parent], placed[child], colour(side, false), 3);
    if (scene.tracks.length > 1) label(context, track.name, placed);
  }
}

// Where the eye looks: the middle of the scene, or, where that is wide, of the people in it; at half their height.
function target(scene, frame) {
  const { low, high } = scene.box3d, middle = low.map((value, axis) => (value + high[axis]) / 2);
  if (scene.follows) {
    const roots = scene.tracks.map((track) => points(track, track.poses[scene.names.at(-1)], frame, 3)[0]).filter(Boolean);
    if (roots.length) for (const axis of [0, 1]) middle[axis] = roots.reduce((sum, p) => sum + p[axis], 0) / roots.length;
  }
  return middle;
}

// view: yaw and pitch in radians, zoom. Returns a function: metres -> [x, y, depth] on the canvas, x moved by `shift`.
function eye(view, at, tallest, width, height) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const distance = 4 * tallest, unit = (0.75 * view.zoom * height) / tallest;
  return (p, shift = 0) => {
    const [x, y, z] = [p[0] - at[0], p[1] - at[1], p[2] - at[2]];
    const right = cy * x + sy * y, ahead = -sy * x + cy * y;
    const depth = cp * ahead - sp * z, up = sp * ahead + cp * z;
    const nearer = (unit * distance) / Math.max(distance + depth, 0.2 * distance);
    return [width / 2 + shift + right * nearer, height / 2 - up * nearer, depth];
  };
}

function drawFloor(context, scene, at, place, shift) {
  const z = scene.box3d.low[2], half = 3, [x, y] = [Math.round(at[0]), Math.round(at[1])];
  for (let i = -half; i <= half; i++) {
    line(context, place([x + i, y - half, z], shift), place([x + i, y + half, z], shift), "#e6e6e6", 1);
    line(context, place([x - half, y + i, z], shift), place([x + half, y + i, z], shift), "#e6e6e6", 1);
  }
}

function drawSpace(canvas, scene, frame, view, shown, apart) {
  const { context, width, height } = wiped(canvas), at = target(scene, frame);
  const names = scene.names.filter((name) => shown.has(name)), columns = apart ? Math.max(names.length, 1) : 1;
  const place = eye(view, at, Math.max(scene.tallest, (scene.tallest * height * columns) / width / 1.5), width, height);
  const strokes = [];
  for (let column = 0; column < columns; column++) {
    const shift = ((column + 0.5) / columns - 0.5) * width;
    context.save();
    context.beginPath();
    context.rect((column * width) / columns, 0, width / columns, height);
    context.clip();
    drawFloor(context, scene, at, place, shift);
    context.restore();
    if (apart && names.length) {
      context.fillStyle = "#444";
      context.fillText(names[column], width / 2 + shift, height - 8);
    }
  }
  names.forEach((name, order) => {
    const pale = !apart && scene.names.indexOf(name) > 0, shift = apart ? ((order + 0.5) / columns - 0.5) * width : 0;
    for (const track of scene.tracks) {
      const placed = points(track, track.poses[name], frame, 3).map((p) => p && place(p, shift));
      for (const [parent, child, side] of scene.bones)
        if (placed[parent] && placed[child])
          strokes.push({ from: placed[parent], to: placed[child], style: colour(side, pale), width: pale ? 3 : 4 });
      if (scene.tracks.length > 1 && (apart || !pale)) label(context, track.name, placed);
    }
  });
  strokes.sort((a, b) => b.from[2] + b.to[2] - a.from[2] - a.to[2]); // what is far first
  for (const { from, to, style, width } of strokes) line(context, from, to, style, width);
}

const INSET = 8; // half of the scrubber's thumb: under a frame's thumb stands its error

function drawCurve(canvas, scene, frame) {
  const { context, width, height } = wiped(canvas), last = Math.max(scene.frames - 1, 1);
  const errors = scene.tracks.filter((track) => track.error_mm);
  const most = Math.max(1, ...errors.flatMap((track) => [...track.error_mm].filter((value) => !Number.isNaN(value))));
  const x = (at) => INSET + (at / last) * (width - 2 * INSET), y = (mm) => height - 2 - (mm / most) * (height - 16);
  context.textAlign = "left";
  context.fillStyle = "#777";
  if (errors.length) context.fillText(`error, mm: up to ${most.toFixed(0)}`, INSET, 11);
  for (const track of errors) {
    context.strokeStyle = "#555";
    context.lineWidth = 1.3;
    context.beginPath();
    let drawing = false;
    track.error_mm.forEach((mm, row) => {
      if (!Number.isNaN(mm)) context[drawing ? "lineTo" : "moveTo"](x(track.first + row), y(mm));
      drawing = !Number.isNaN(mm);
    });
    context.stroke();
  }
  line(context, [x(frame), 14], [x(frame), height], "#d62728", 1);
}
