// What a person does with the page: choose, play, scrub, turn.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const HOME = { yaw: 0.5, pitch: 0.2, zoom: 1 }; // from the camera's place, a little to the side and above
const find = (id) => document.getElementById(id);
const scenes = JSON.parse(find("motion").textContent).map(openScene);
const state = { scene: scenes[0], time: 0, playing: true, speed: 1, view: { ...HOME }, hidden: new Set(), apart: false };
let drawing = 0, before = 0;

function draw(now) {
  drawing = 0;
  const { scene } = state;
  if (state.playing) {
    if (before) state.time = (state.time + ((now - before) / 1000) * scene.fps * state.speed) % scene.frames;
    before = now;
    wake();
  } else before = 0;
  const frame = Math.floor(state.time), shown = new Set(scene.names.filter((name) => !state.hidden.has(name)));
  drawImage(find("view2d"), scene, frame);
  drawSpace(find("view3d"), scene, frame, state.view, shown, state.apart);
  drawCurve(find("curve"), scene, frame);
  find("scrubber").value = frame;
  find("readout").textContent = readout(scene, frame);
  find("play").textContent = state.playing ? "Pause" : "Play";
  find("apart").setAttribute("aria-pressed", state.apart);
}

function wake() {
  if (!drawing) drawing = requestAnimationFrame(draw);
}

function readout(scene, frame) {
  const errors = scene.tracks.filter((track) => track.error_mm).map((track) => {
    const mm = track.error_mm[frame - track.first];
    return mm >= 0 ? `${scene.tracks.length > 1 ? `${track.name} ` : ""}${mm.toFixed(1)} mm` : "";
  });
  const time = `${(frame / scene.fps).toFixed(2)} s`;
  return [`frame ${frame + 1} of ${scene.frames}`, time, ...errors.filter(Boolean)].join(" · ");
}

function show(scene) {
  Object.assign(state, { scene, time: 0 });
  find("title").textContent = scene.title;
  find("scrubber").max = scene.frames - 1;
  find("curve").hidden = !scene.tracks.some((track) => track.error_mm);
  [...find("scenes").children].forEach((button, place) => button.setAttribute("aria-pressed", scenes[place] === scene));
  find("poses").replaceChildren(...scene.names.map(poseSwitch));
  wake();
}

function poseSwitch(name, place) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !state.hidden.has(name) });
  box.onchange = () => {
    state.hidden[box.checked ? "delete" : "add"](name);
    wake();
  };
  const label = document.createElement("label");
  label.append(box, ` ${name}${place ? " (pale)" : ""} `);
  return label;
}

function pause(playing = false) {
  state.playing = playing;
  wake();
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

function turn(yaw, pitch) {
  state.view.yaw += yaw;
  state.view.pitch = Math.min(Math.max(state.view.pitch + pitch, -1.5), 1.5);
  wake();
}

function approach(factor) {
  state.view.zoom = Math.min(Math.max(state.view.zoom * factor, 0.2), 8);
  wake();
}

function reset() {
  state.view = { ...HOME };
  wake();
}

function sideBySide() {
  state.apart = !state.apart;
  wake();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const many = event.shiftKey ? 10 : 1, frame = Math.floor(state.time);
  const keys = {
    ArrowLeft: () => go(frame - many), ArrowRight: () => go(frame + many),
    Home: () => go(0), End: () => go(state.scene.frames - 1),
    ArrowUp: () => setSpeed(1), ArrowDown: () => setSpeed(-1),
    a: () => turn(-0.1, 0), d: () => turn(0.1, 0), w: () => turn(0, 0.1), s: () => turn(0, -0.1),
    o: sideBySide, r: reset,
  };
  if (event.target.tagName !== "BUTTON" && event.target.type !== "checkbox") keys[" "] = () => pause(!state.playing);
  scenes.forEach((scene, place) => (keys[place + 1] = () => show(scene)));
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

function turnByPointer(canvas) {
  const held = new Map(); // pointer -> where it was
  const spread = () => {
    const [a, b] = [...held.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  canvas.onpointerdown = (event) => {
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  canvas.onpointermove = (event) => {
    const was = held.get(event.pointerId), wide = held.size === 2 ? spread() : 0;
    if (!was) return;
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (held.size === 1) turn((was.x - event.clientX) * 0.01, (event.clientY - was.y) * 0.01);
    else if (wide) approach(spread() / wide);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => held.delete(event.pointerId);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    approach(Math.exp(-event.deltaY * 0.001));
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
    if (event.detail) event.currentTarget.blur(); // by mouse: the space bar plays again
  };
}

for (const scene of scenes) {
  const button = Object.assign(document.createElement("button"), { textContent: scene.name });
  button.onclick = () => {
    show(scene);
    button.blur();
  };
  find("scenes").append(button, " ");
}
find("scenes").replaceChildren(...find("scenes").children);
find("speed").append(...SPEEDS.map((speed) => new Option(`${speed}×`, speed, speed === 1, speed === 1)));
find("speed").onchange = (event) => {
  state.speed = Number(event.target.value);
  event.target.blur();
};
find("scrubber").oninput = (event) => go(Number(event.target.value));
press("play", () => pause(!state.playing));
press("apart", sideBySide);
press("reset", reset);
turnByPointer(find("view3d"));
scrubByPointer(find("curve"));
document.addEventListener("keydown", onKey);
window.addEventListener("resize", wake);
state.playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
show(scenes[0]);
