// Decode the motion, and draw one frame of it: in the image, in space, and as a point on the error curve.

const SIDES = { "-1": [31, 119, 180], 0: [85, 85, 85], 1: [214, 39, 40] }; // left, middle, right
const PALE = 0.6; // share of white in the colours of all poses but the first
const SPREAD_SHARE = 0.6; // share of the distance between subjects that is added to the height of the view
const WIDE_METRES = 6; // the view follows the subjects of a wider scene

function unpack({ step, data }) {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (value) => (value === -32768 ? NaN : value * step));
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
  const main = tracks.map((track) => track.poses[names.at(-1)]).filter(Boolean); // the truth, if there is one
  const box3d = box(main, 3);
  const frames = Math.max(...tracks.map((track) => track.first + track.frames));
  const distance = spread(main.map(meanPosition));
  const tallest = Math.max(box3d.high[2] - box3d.low[2], 0.5) + SPREAD_SHARE * distance; // height of the view, m
  const follows = Math.max(box3d.high[0] - box3d.low[0], box3d.high[1] - box3d.low[1]) > WIDE_METRES;
  return { ...scene, tracks, names, frames, box2d, box3d, tallest, follows };
}

// Return the mean position [x, y] of the pelvis over all frames.
function meanPosition(pose) {
  const joints = 17, sum = [0, 0];
  let frames = 0;
  for (let start = 0; start < pose.length; start += 3 * joints)
    if (!Number.isNaN(pose[start])) {
      frames++;
      for (const axis of [0, 1]) sum[axis] += pose[start + axis];
    }
  return sum.map((total) => total / Math.max(frames, 1));
}

// Return the largest distance between positions along x or y.
function spread(positions) {
  return Math.max(0, ...[0, 1].map((axis) => {
    const values = positions.map((position) => position[axis]);
    return Math.max(...values) - Math.min(...values);
  }));
}

// Return the lowest and the highest coordinates of all points.
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

// Return the points of a track in a frame of the scene, null for a missing joint; empty if the track has no such frame.
function points(track, pose, frame, axes) {
  const row = frame - track.first, joints = [];
  if (!pose || row < 0 || row >= track.frames) return joints;
  for (let joint = 0; joint < track.joints; joint++) {
    const start = (row * track.joints + joint) * axes, point = pose.subarray(start, start + axes);
    joints.push(point.some(Number.isNaN) ? null : point);
  }
  return joints;
}

// Clear a canvas and fit it to its displayed size; return its context and its size in CSS pixels.
function clear(canvas) {
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
  const visible = placed.filter(Boolean);
  if (!visible.length) return;
  const top = visible.reduce((best, point) => (point[1] < best[1] ? point : best));
  context.fillStyle = "#444";
  context.fillText(text, top[0], top[1] - 10);
}

function drawImage(canvas, scene, frame) {
  const { context, width, height } = clear(canvas), { low, high } = scene.box2d;
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

// Return the point at the middle of the view: the middle of the scene or, if it is wide, of the subjects.
function target(scene, frame) {
  const { low, high } = scene.box3d, middle = low.map((value, axis) => (value + high[axis]) / 2);
  if (scene.follows) {
    const roots = scene.tracks.map((track) => points(track, track.poses[scene.names.at(-1)], frame, 3)[0]).filter(Boolean);
    if (roots.length) for (const axis of [0, 1]) middle[axis] = roots.reduce((sum, p) => sum + p[axis], 0) / roots.length;
  }
  return middle;
}

// Return a perspective projection: metres -> [x, y, depth] on the canvas, x moved by `shift`; angles in radians.
function projection(view, at, tallest, width, height) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const distance = 4 * tallest, unit = (0.75 * view.zoom * height) / tallest;
  return (p, shift = 0) => {
    const [x, y, z] = [p[0] - at[0], p[1] - at[1], p[2] - at[2]];
    const right = cy * x + sy * y, ahead = -sy * x + cy * y;
    const depth = cp * ahead - sp * z, up = sp * ahead + cp * z;
    const scale = (unit * distance) / Math.max(distance + depth, 0.2 * distance);
    return [width / 2 + shift + right * scale, height / 2 - up * scale, depth];
  };
}

function drawFloor(context, scene, at, place, shift) {
  const z = scene.box3d.low[2], half = 3, [x, y] = [Math.round(at[0]), Math.round(at[1])];
  for (let i = -half; i <= half; i++) {
    line(context, place([x + i, y - half, z], shift), place([x + i, y + half, z], shift), "#e6e6e6", 1);
    line(context, place([x - half, y + i, z], shift), place([x + half, y + i, z], shift), "#e6e6e6", 1);
  }
}

function drawSpace(canvas, scene, frame, view, visible, sideBySide) {
  const { context, width, height } = clear(canvas), at = target(scene, frame);
  const names = scene.names.filter((name) => visible.has(name)), columns = sideBySide ? Math.max(names.length, 1) : 1;
  const tallest = Math.max(scene.tallest, (scene.tallest * height * columns) / width / 1.5);
  const place = projection(view, at, tallest, width, height);
  const strokes = [];
  for (let column = 0; column < columns; column++) {
    const shift = ((column + 0.5) / columns - 0.5) * width;
    context.save();
    context.beginPath();
    context.rect((column * width) / columns, 0, width / columns, height);
    context.clip();
    drawFloor(context, scene, at, place, shift);
    context.restore();
    if (sideBySide && names.length) {
      context.fillStyle = "#444";
      context.fillText(names[column], width / 2 + shift, height - 8);
    }
  }
  names.forEach((name, order) => {
    const pale = !sideBySide && scene.names.indexOf(name) > 0;
    const shift = sideBySide ? ((order + 0.5) / columns - 0.5) * width : 0;
    for (const track of scene.tracks) {
      const placed = points(track, track.poses[name], frame, 3).map((p) => p && place(p, shift));
      for (const [parent, child, side] of scene.bones)
        if (placed[parent] && placed[child])
          strokes.push({ from: placed[parent], to: placed[child], style: colour(side, pale), width: pale ? 3 : 4 });
      if (scene.tracks.length > 1 && (sideBySide || !pale)) label(context, track.name, placed);
    }
  });
  strokes.sort((a, b) => b.from[2] + b.to[2] - a.from[2] - a.to[2]); // the farthest first
  for (const { from, to, style, width } of strokes) line(context, from, to, style, width);
}

const INSET = 8; // half the width of the scrubber's thumb, so that the curve lines up with the thumb

function drawCurve(canvas, scene, frame) {
  const { context, width, height } = clear(canvas), last = Math.max(scene.frames - 1, 1);
  const errors = scene.tracks.filter((track) => track.error_mm);
  const most = Math.max(1, ...errors.flatMap((track) => [...track.error_mm].filter((value) => !Number.isNaN(value))));
  const x = (at) => INSET + (at / last) * (width - 2 * INSET), y = (mm) => height - 2 - (mm / most) * (height - 16);
  context.textAlign = "left";
  context.fillStyle = "#777";
  if (errors.length) context.fillText(`error in mm, at most ${most.toFixed(0)}`, INSET, 11);
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
