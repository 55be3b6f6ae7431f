// The mask: brushed over the photograph, white where the style goes.
import { $, act, upload } from "./api.js";

const canvas = $("#mask"), cursor = $(".cursor"), size = $("#brush-size"), context = canvas.getContext("2d");
const LONGEST = 1024;
let known = null, strokes = 0, erasing = false, last = null, point = null, timer;
export let active = false;

const radius = () => (size.value / 200) * Math.min(canvas.width, canvas.height);
const color = () => getComputedStyle(document.documentElement).getPropertyValue("--accent");

export function toggle(on, content) {
  active = on && !!content;
  canvas.hidden = $("#brush-tools").hidden = !active;
  cursor.hidden = true;
  $("#brush-button").setAttribute("aria-pressed", active);
  if (active) canvas.focus({ preventScroll: true });
}

// Shows the mask that the session has, unless it is the one that was brushed here, or `strokes` have
// been drawn here that the session does not have yet.
export async function follow(content, mask) {
  const key = `${content?.key}/${mask?.key ?? ""}`;
  $("#brush-button").classList.toggle("set", !!mask);
  $("#clear-mask").disabled = !mask;
  if (!content || key === known || (strokes && known.startsWith(`${content.key}/`))) return;
  known = key;
  strokes = 0;
  clearTimeout(timer);
  const scale = Math.min(1, LONGEST / Math.max(content.width, content.height));
  canvas.width = Math.round(content.width * scale);
  canvas.height = Math.round(content.height * scale);
  if (!mask) return;
  const answer = await fetch(`/pictures/mask/0?${mask.key}`);
  if (!answer.ok) return; // there is a newer one by now
  const bitmap = await createImageBitmap(await answer.blob());
  if (key !== known || strokes) return;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i];
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color();
  context.fillRect(0, 0, canvas.width, canvas.height);
}

function stroke(to) {
  strokes += 1;
  context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
  context.strokeStyle = color();
  context.lineCap = "round";
  context.lineWidth = 2 * radius();
  context.beginPath();
  context.moveTo((last ?? to).x, (last ?? to).y);
  context.lineTo(to.x + 0.01, to.y);
  context.stroke();
  last = to;
}

function finish() {
  last = null;
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const content = known.split("/")[0], sent = strokes, key = await send();
    if (!known.startsWith(`${content}/`)) return;
    if (key !== null) known = `${content}/${key}`;
    if (sent === strokes) strokes = 0;
  }, 350);
}

// The key of the mask that the session then has, "" for none, null if it could not be told.
async function send() {
  const { width, height } = canvas, flat = new OffscreenCanvas(width, height), draw = flat.getContext("2d");
  const alpha = context.getImageData(0, 0, width, height).data;
  if (!alpha.some((value, i) => i % 4 === 3 && value > 127)) return (await act("clear_mask")) === null ? null : "";
  draw.drawImage(canvas, 0, 0);
  draw.globalCompositeOperation = "source-in";
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, width, height);
  draw.globalCompositeOperation = "destination-over";
  draw.fillStyle = "#000";
  draw.fillRect(0, 0, width, height);
  return upload(await flat.convertToBlob(), "mask", { name: "mask.png" });
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) * canvas.width) / box.width, y: ((event.clientY - box.top) * canvas.height) / box.height };
}

function show(at) {
  const box = canvas.getBoundingClientRect(), scale = box.width / canvas.width;
  cursor.hidden = false;
  cursor.style.left = `${at.x * scale}px`;
  cursor.style.top = `${at.y * scale}px`;
  cursor.style.width = cursor.style.height = `${2 * radius() * scale}px`;
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  point = { ...place(event), down: true };
  stroke(point);
});
canvas.addEventListener("pointermove", (event) => {
  const down = point?.down;
  point = { ...place(event), down };
  show(point);
  if (down) stroke(point);
});
canvas.addEventListener("pointerup", () => {
  if (point?.down) finish();
  if (point) point.down = false;
});
canvas.addEventListener("pointerleave", () => (cursor.hidden = true));
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  point ??= { x: canvas.width / 2, y: canvas.height / 2 };
  if (step) {
    const by = Math.max(2, radius() / 2);
    point = {
      x: Math.min(canvas.width, Math.max(0, point.x + step[0] * by)),
      y: Math.min(canvas.height, Math.max(0, point.y + step[1] * by)),
    };
  } else if (event.key === "Enter") {
    stroke(point);
    finish();
  } else return;
  event.preventDefault();
  show(point);
});

const fill = () => size.style.setProperty("--fill", `${(100 * (size.value - size.min)) / (size.max - size.min)}%`);
size.addEventListener("input", fill);
fill();

export function resize(by) {
  size.value = +size.value + by;
  fill();
  if (point) show(point);
}
export function erase(on = !erasing) {
  erasing = on;
  $("#erase").setAttribute("aria-pressed", on);
}
$("#erase").addEventListener("click", () => erase());
$("#clear-mask").addEventListener("click", () => {
  context.clearRect(0, 0, canvas.width, canvas.height);
  strokes += 1;
  finish();
});
