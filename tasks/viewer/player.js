// Controls of the viewer: select a scene, play, scrub, rotate.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const HOME = { yaw: 0.5, pitch: 0.2, zoom: 1 }; // near the view of the camera, from the side and from above
const find = (id) => document.getElementById(id);
const scenes = JSON.parse(find("motion").textContent).map(openScene);
const state = {
  scene: scenes[0], time: 0, playing: true, speed: 1, view: { ...HOME }, hidden: new Set(), sideBySide: false,
};
let request = 0, lastTime = 0; // id of the requested animation frame; time of the last one, ms

function draw(now) {
  request = 0;
  const { scene } = state;
  if (state.playing) {
    if (lastTime) state.time = (state.time + ((now - lastTime) / 1000) * scene.fps * state.speed) % scene.frames;
    lastTime = now;
    requestDraw();
  } else lastTime = 0;
  const frame = Math.floor(state.time), visible = new Set(scene.names.filter((name) => !state.hidden.has(name)));
  drawImage(find("view2d"), scene, frame);
  drawSpace(find("view3d"), scene, frame, state.view, visible, state.sideBySide);
  drawCurve(find("curve"), scene, frame);
  find("scrubber").value = frame;
  find("readout").textContent = readout(scene, frame);
  find("play").textContent = state.playing ? "Pause" : "Play";
  find("side").setAttribute("aria-pressed", state.sideBySide);
}

function requestDraw() {
  if (!request) request = requestAnimationFrame(draw);
}

function readout(scene, frame) {
  const errors = scene.tracks.filter((track) => track.error_mm).map((track) => {
    const mm = track.error_mm[frame - track.first];
    return mm >= 0 ? `${scene.tracks.length > 1 ? `${track.name} ` : ""}${mm.toFixed(1)} mm` : "";
  });
  const time = `${(frame / scene.fps).toFixed(2)} s`;
  return [`frame ${frame + 1} of ${scene.frames}`, time, ...errors.filter(Boolean)].join(" · ");
}

function select(scene) {
  Object.assign(state, { scene, time: 0 });
  find("title").textContent = scene.title;
  find("scrubber").max = scene.frames - 1;
  find("curve").hidden = !scene.tracks.some((track) => track.error_mm);
  [...find("scenes").children].forEach((button, place) => button.setAttribute("aria-pressed", scenes[place] === scene));
  find("poses").replaceChildren(...scene.names.map(poseCheckbox));
  requestDraw();
}

function poseCheckbox(name, place) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !state.hidden.has(name) });
  box.onchange = () => {
    state.hidden[box.checked ? "delete" : "add"](name);
    requestDraw();
  };
  const label = document.createElement("label");
  label.append(box, ` ${name}${place ? " (pale)" : ""} `);
  return label;
}

function pause(playing = false) {
  state.playing = playing;
  requestDraw();
}

function go(frame) {
  state.time = Math.min(Math.max(frame, 0), state.scene.frames - 1);
  pause();
}

function setSpeed(step) {
  const place = Math.min(Math.max(SPEEDS.indexOf(state.speed) + step, 0), SPEEDS.length - 1);
  state.speed = SPEEDS[place];
  find("speed").value = state.speed;
}

function rotate(yaw, pitch) {
  state.view.yaw += yaw;
  state.view.pitch = Math.min(Math.max(state.view.pitch + pitch, -1.5), 1.5);
  requestDraw();
}

function zoom(factor) {
  state.view.zoom = Math.min(Math.max(state.view.zoom * factor, 0.2), 8);
  requestDraw();
}

function reset() {
  state.view = { ...HOME };
  requestDraw();
}

function toggleSideBySide() {
  state.sideBySide = !state.sideBySide;
  requestDraw();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const step = event.shiftKey ? 10 : 1, frame = Math.floor(state.time);
  const keys = {
    ArrowLeft: () => go(frame - step), ArrowRight: () => go(frame + step),
    Home: () => go(0), End: () => go(state.scene.frames - 1),
    ArrowUp: () => setSpeed(1), ArrowDown: () => setSpeed(-1),
    a: () => rotate(-0.1, 0), d: () => rotate(0.1, 0), w: () => rotate(0, 0.1), s: () => rotate(0, -0.1),
    o: toggleSideBySide, r: reset,
  };
  if (event.target.tagName !== "BUTTON" && event.target.type !== "checkbox") keys[" "] = () => pause(!state.playing);
  scenes.forEach((scene, place) => (keys[place + 1] = () => select(scene)));
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

function rotateByPointer(canvas) {
  const pointers = new Map(); // pointer id -> last position
  const pinchWidth = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  canvas.onpointerdown = (event) => {
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  canvas.onpointermove = (event) => {
    const last = pointers.get(event.pointerId), wide = pointers.size === 2 ? pinchWidth() : 0;
    if (!last) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 1) rotate((last.x - event.clientX) * 0.01, (event.clientY - last.y) * 0.01);
    else if (wide) zoom(pinchWidth() / wide);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => pointers.delete(event.pointerId);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.001));
  }, { passive: false });
}

function scrubByPointer(canvas) {
  const follow = (event) => {
    const share = (event.offsetX - INSET) / (canvas.clientWidth - 2 * INSET);
    go(Math.round(share * (state.scene.frames - 1)));
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    follow(event);
  };
  canvas.onpointermove = (event) => event.buttons && follow(event);
}

function press(id, action) {
  find(id).onclick = (event) => {
    action();
    if (event.detail) event.currentTarget.blur(); // after a click, the space bar plays and pauses again
  };
}

for (const scene of scenes) {
  const button = Object.assign(document.createElement("button"), { textContent: scene.name });
  button.onclick = () => {
    select(scene);
    button.blur();
  };
  find("scenes").append(button);
}
find("speed").append(...SPEEDS.map((speed) => new Option(`${speed}×`, speed, speed === 1, speed === 1)));
find("speed").onchange = (event) => {
  state.speed = Number(event.target.value);
  event.target.blur();
};
find("scrubber").oninput = (event) => go(Number(event.target.value));
press("play", () => pause(!state.playing));
press("side", toggleSideBySide);
press("reset", reset);
rotateByPointer(find("view3d"));
scrubByPointer(find("curve"));
document.addEventListener("keydown", onKey);
window.addEventListener("resize", requestDraw);
state.playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
select(scenes[0]);
