// Goes through the slices of a series. Pictures are kept in memory alone: the server forbids the browser to store them.
"use strict";
const viewer = document.getElementById("viewer");
const stage = document.getElementById("stage");
const slider = document.getElementById("number");
const where = document.getElementById("where");
const trouble = document.getElementById("trouble");
const images = { before: document.getElementById("before"), after: document.getElementById("after"), difference: document.getElementById("difference") };
const count = Number(viewer.dataset.count);
const positions = viewer.dataset.positions.trim().split(" ");
const derived = Boolean(images.after);

let number = Number(viewer.dataset.number);
let mode = viewer.dataset.mode;
let shade = "lung";
let share = 0.5;

const KEPT = 240;
const kept = new Map(); // path -> promise of a picture's URL; the one asked for last stands last

function picture(path) {
  let found = kept.get(path);
  kept.delete(path);
  if (!found) {
    found = fetch(path).then(async (response) => {
      if (!response.ok) throw new Error(response.status === 401 ? "you are logged out" : (await response.json()).detail);
      return URL.createObjectURL(await response.blob());
    });
    found.catch(() => kept.delete(path));
  }
  kept.set(path, found);
  while (kept.size > KEPT) {
    const [oldest, url] = kept.entries().next().value;
    kept.delete(oldest);
    url.then(URL.revokeObjectURL, () => {});
  }
  return found;
}

const pathOf = (which, slice) => `/series/${viewer.dataset.series}/slices/${slice}/${which}/${which === "difference" ? "lung" : shade}.png`;
const shown = () => (!derived ? ["before"] : mode === "difference" ? ["difference"] : ["before", "after"]);

async function draw() {
  const wanted = number;
  where.textContent = `slice ${wanted} of ${count} · ${positions[wanted - 1].replace("-", "−")} mm`;
  slider.value = wanted;
  const asked = shown().map((which) => [which, pathOf(which, wanted)]);
  try {
    const urls = await Promise.all(asked.map(([, path]) => picture(path)));
    if (wanted !== number || asked.some(([which, path]) => !shown().includes(which) || path !== pathOf(which, number))) return;
    asked.forEach(([which], index) => { images[which].src = urls[index]; });
    await Promise.all(asked.map(([which]) => images[which].decode().catch(() => {})));
    trouble.hidden = true;
    viewer.dataset.drawn = `${wanted} ${mode} ${shade}`;
  } catch (error) {
    if (wanted !== number) return;
    trouble.textContent = error.message;
    trouble.hidden = false;
  }
  place();
  for (const step of [1, -1, 2, -2, 3]) {
    const next = number + step;
    if (next >= 1 && next <= count) shown().forEach((which) => picture(pathOf(which, next)).catch(() => {}));
  }
}

function go(to) {
  const next = Math.min(Math.max(to, 1), count);
  if (next !== number) { number = next; draw(); }
}

function choose(name, value) {
  const radio = viewer.querySelector(`input[name=${name}][value=${value}]`);
  if (radio && !radio.checked) { radio.checked = true; radio.dispatchEvent(new Event("change", { bubbles: true })); }
}

// The divider lies on the picture, which is narrower than the stage.
function place() {
  const image = images.before.getBoundingClientRect();
  const box = stage.getBoundingClientRect();
  const figure = images.before.parentElement.getBoundingClientRect();
  viewer.style.setProperty("--share", share);
  viewer.style.setProperty("--left", `${image.left - box.left}px`);
  viewer.style.setProperty("--width", `${image.width}px`);
  viewer.style.setProperty("--at", `${image.left - figure.left + image.width * share}px`);
}

function divide(to) { share = Math.min(Math.max(to, 0), 1); place(); }

viewer.addEventListener("change", (event) => {
  if (event.target.name === "mode") { mode = event.target.value; viewer.dataset.mode = mode; }
  if (event.target.name === "window") shade = event.target.value;
  draw();
});
slider.addEventListener("input", () => go(Number(slider.value)));

let turned = 0;
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
  const steps = Math.trunc(turned / 40);
  if (steps) { turned -= steps * 40; go(number + Math.sign(steps) * Math.min(Math.abs(steps), 3)); }
}, { passive: false });

let dragged = null;
stage.addEventListener("pointerdown", (event) => { dragged = { y: event.clientY, number }; stage.setPointerCapture(event.pointerId); drag(event); });
stage.addEventListener("pointermove", (event) => { if (dragged) drag(event); });
stage.addEventListener("pointerup", () => { dragged = null; });
function drag(event) {
  if (mode === "swipe") {
    const image = images.before.getBoundingClientRect();
    divide((event.clientX - image.left) / image.width);
  } else {
    go(dragged.number + Math.round((event.clientY - dragged.y) / 12));
  }
}

const KEYS = {
  ArrowDown: () => go(number + 1), ArrowUp: () => go(number - 1),
  PageDown: () => go(number + 10), PageUp: () => go(number - 10),
  Home: () => go(1), End: () => go(count),
  ArrowLeft: () => divide(share - 0.02), ArrowRight: () => divide(share + 0.02),
  " ": () => { if (mode === "swipe") divide(share > 0.5 ? 0 : 1); },
  1: () => choose("mode", "swipe"), 2: () => choose("mode", "side"), 3: () => choose("mode", "difference"),
  l: () => choose("window", "lung"), m: () => choose("window", "mediastinum"), e: () => choose("window", "emphysema"),
};
document.addEventListener("keydown", (event) => {
  const inside = document.activeElement === stage || document.activeElement === document.body;
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  if (!inside && (event.key.length > 1 || event.key === " ")) return; // arrows and space belong to what has the focus
  event.preventDefault();
  KEYS[event.key]();
});
addEventListener("resize", place);
stage.focus({ preventScroll: true });
draw();
