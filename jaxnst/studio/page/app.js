// The page: what the server tells is shown, and what the user does is sent.
import { $, act, element, icon, say, upload } from "./api.js";
import * as brush from "./brush.js";
import * as chart from "./chart.js";
import * as controls from "./controls.js";
import * as stage from "./stage.js";

const LARGER = [768, 1024, 1536, 2048, 3072, 4096];
let state = null, method = "", chosen = ["live"], comparing = false;

// --- what is shown -------------------------------------------------------------------------------

function length(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

function status() {
  const { progress, pending } = state, bold = (text) => element("b", {}, text);
  if (state.status === "empty") return [""];
  const words = { compiling: "Compiling", painting: "Painting", paused: "Paused", finished: "Finished", failed: "Stopped", stopped: "Stopped" };
  const parts = [bold(words[state.status])];
  if (state.status === "compiling" || !progress) parts.push(" · the first picture takes a moment");
  else if (state.status === "finished") parts.push(` · ${progress.done} evaluations in ${length(progress.seconds)}`);
  else {
    parts.push(` · scale ${progress.scale} of ${progress.scales} · ${progress.done} of ${progress.total}`);
    if (state.status === "painting" && progress.left !== null) parts.push(` · ${length(progress.left)} left`);
  }
  if (pending.length) parts.push(" · preparing the change");
  return parts;
}

function tile(picture, role, at, caption) {
  const button = element("button", { class: "tile", "data-role": role, "data-at": at, title: `${picture.name}: choose another`, "aria-label": `${caption}, ${picture.name}: choose another` },
    element("img", { src: `/pictures/${role}/${at}?${picture.key}`, alt: "" }), caption);
  button.addEventListener("click", () => choose(role, role === "style" ? at : undefined));
  const made = element("div", { class: "wrap" }, button);
  if (role === "style" && state.styles.length > 1)
    made.append(element("button", { class: "remove", "aria-label": `Leave ${picture.name} out`, title: "Leave out", onclick: () => act("remove_style", { at }) }, icon("close")));
  return made;
}

let inputs = "";
function pictures() {
  const key = JSON.stringify([state.content, state.styles]);
  if (key === inputs) return;
  inputs = key;
  const tiles = state.content ? [tile(state.content, "content", 0, "Photograph")] : [];
  state.styles.forEach((style, at) => tiles.push(tile(style, "style", at, state.styles.length > 1 ? `Painting ${at + 1}` : "Painting")));
  $("#inputs").replaceChildren(...tiles);
  for (const card of document.querySelectorAll(".card")) {
    const role = card.dataset.role, picture = role === "content" ? state.content : state.styles[0];
    card.querySelector("img")?.remove();
    if (picture) card.append(element("img", { src: `/pictures/${role}/0?${picture.key}`, alt: picture.name }));
  }
}

const label = (version) => {
  const words = { style_weight: "style", style_scale: "strokes", tv_weight: "smooth" };
  if (version.kind === "sweep") return `${version.number} · sheet`;
  const facts = Object.entries(version.settings).filter(([key, value]) => words[key] || ["colors", "recipe"].includes(key) && !["default", "style"].includes(value));
  const short = facts.map(([key, value]) => (words[key] ? `${words[key]} ${+value.toPrecision(2)}` : value));
  return [version.number, ...(short.length ? short.slice(0, 1) : [`${Math.max(version.width, version.height)} px`])].join(" · ");
};

let strip = "";
function versions() {
  const last = comparing ? chosen.slice(-2) : chosen.slice(-1);
  const key = JSON.stringify([state.versions, state.jobs, last]);
  if (key === strip) return;
  strip = key;
  const thumbs = state.versions.map((version) =>
    element("button", { class: "thumb", "data-version": version.number, "aria-pressed": String(last.includes(version.number)), "aria-label": `Version ${label(version)}`, onclick: () => choosePicture(version.number) },
      element("img", { src: `/versions/${version.number}/small`, alt: "" }), label(version)));
  const jobs = state.jobs.map((job) => {
    const text = job.error ?? (job.status === "waiting" ? "waiting" : `${Math.round(100 * job.share)} %`);
    const made = element("button", { class: `thumb${job.error ? " bad" : ""}`, title: job.error ?? `${job.label}: cancel`, "aria-label": `${job.label}, ${text}: cancel`, onclick: () => act("cancel", { job: job.number }) },
      element("span", { class: "job" }, text), job.label);
    made.querySelector(".job").style.setProperty("--share", `${100 * job.share}%`);
    return made;
  });
  $(".strip").replaceChildren(...thumbs, ...jobs);
}

function tools() {
  const version = state.versions.find((one) => one.number === chosen.at(-1));
  $("#version-tools").hidden = !version || brush.active;
  if (!version) return;
  $("#version-tools b").textContent = `Version ${version.number} · ${version.width} × ${version.height}`;
  $("#compare").setAttribute("aria-pressed", comparing);
  $("#back-to").disabled = version.kind !== "picture";
  const link = $("#download");
  link.href = `/versions/${version.number}`;
  link.download = `version-${String(version.number).padStart(3, "0")}.png`;
  const sizes = LARGER.filter((size) => size > Math.max(version.width, version.height));
  $(".menu").hidden = version.kind !== "picture" || !sizes.length;
  $("#larger").replaceChildren(...sizes.map((size) => element("button", { onclick: () => {
    $(".menu").open = false;
    act("larger", { version: version.number, size });
  } }, `${size} px`)));
}

function render() {
  if (!state) return;
  const known = new Set(["live", ...state.versions.map((version) => version.number)]);
  chosen = chosen.filter((one) => known.has(one));
  if (!chosen.length) chosen = ["live"];
  const painting = state.status !== "empty", viewing = chosen.at(-1) !== "live";
  document.body.dataset.status = state.status;
  document.body.classList.toggle("bare", !painting && !viewing);
  $("#status").replaceChildren(...status());
  $(".meter i").style.width = state.progress ? `${(100 * state.progress.done) / Math.max(1, state.progress.total)}%` : "0";
  const paused = state.status === "paused";
  const pause = $("#pause-button");
  pause.disabled = !["painting", "compiling", "paused"].includes(state.status);
  pause.querySelector("use").setAttribute("href", paused ? "#play" : "#pause");
  pause.setAttribute("aria-label", paused ? "Continue" : "Pause");
  $("[data-act=undo]").disabled = !state.undo;
  $("[data-act=keep]").disabled = !state.progress?.done;
  $("[data-act=restart]").disabled = $("#sweep").disabled = !state.content || !state.styles.length;
  $(".failed p").textContent = state.error ?? "";
  pictures();
  $("#add-style").hidden = !state.styles.length || state.styles.length >= 4;
  controls.show(state.values, state.pending);
  controls.mixture(state.styles, state.values.style_mix, state.pending);
  chart.draw(state.losses);
  brush.follow(state.content, state.mask);
  if (brush.active && !state.content) brush.toggle(false);
  versions();
  tools();
  const two = comparing && viewing && !brush.active;
  stage.show(state, two ? (chosen.at(-2) ?? "live") : chosen.at(-1), two ? chosen.at(-1) : null, brush.active);
}

async function take(next) {
  const now = `${next.values.recipe}/${next.values.network}`;
  if (now !== method) {
    controls.build(await (await fetch("/controls")).json());
    method = now;
  }
  if (state && next.serial < state.serial) return;
  state = next;
  render();
}

// --- what the user does --------------------------------------------------------------------------

function choosePicture(what) {
  if (chosen.at(-1) !== what) chosen = [...chosen.slice(-4), what];
  if (what === "live") comparing = false;
  brush.toggle(false);
  render();
}

function choose(role, at) {
  const input = $("#file").cloneNode(); // a new one: a dialog that is still open blocks the next of the same input
  input.addEventListener("change", () => takeFiles([...input.files], role, at));
  input.click();
}

async function takeFiles(files, role, at) {
  if (!files.length) return;
  if (chosen.at(-1) !== "live") choosePicture("live");
  if (role === "content") await upload(files.shift(), "content"); // further ones are paintings
  for (const [i, file] of files.entries()) await upload(file, "style", { at: (at ?? 0) + i });
}

for (const card of document.querySelectorAll(".card")) card.addEventListener("click", () => choose(card.dataset.role, 0));
$("#add-style").addEventListener("click", () => choose("style", state.styles.length));
for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => act(button.dataset.act));
const pause = () => act(state.status === "paused" ? "resume" : "pause");
$("#pause-button").addEventListener("click", pause);
const brushing = (on) => {
  if (on) [chosen, comparing] = [["live"], false];
  brush.toggle(on, state.content);
  render();
};
$("#brush-button").addEventListener("click", () => brushing(!brush.active));
$("#brush-done").addEventListener("click", () => brushing(false));
const compare = () => {
  comparing = !comparing;
  render();
};
$("#compare").addEventListener("click", compare);
$("#live").addEventListener("click", () => choosePicture("live"));
$("#back-to").addEventListener("click", async () => {
  if ((await act("back_to", { version: chosen.at(-1) })) !== null) choosePicture("live");
});
const remove = async () => {
  const number = chosen.at(-1);
  if ((await act("remove", { version: number })) !== null) say(`Version ${number} was moved to the folder “deleted”.`);
};
$("#remove").addEventListener("click", remove);
$("#sweep").addEventListener("click", () => act("sweep", { across: "style_weight", down: "tv_weight" }));
$("#reset").addEventListener("click", () => {
  const names = [...document.querySelectorAll(".control.changed")].map((made) => made.dataset.name);
  act("set", { values: Object.fromEntries([...names, "style_mix"].map((name) => [name, null])) });
});
document.addEventListener("submit", (event) => event.target.method !== "dialog" && event.preventDefault());
document.addEventListener("click", (event) => {
  if (!event.target.closest(".menu")) $(".menu").open = false;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=range]), select, textarea"), key = event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || (typing && key !== "Escape") || $("#keys").open) return;
  const pressed = event.target.closest("button, summary, a") && (key === " " || key === "Enter");
  const keys = {
    " ": () => !pressed && !$("#pause-button").disabled && pause(),
    z: () => act("undo"),
    k: () => !$("[data-act=keep]").disabled && act("keep"),
    b: () => state.content && brushing(!brush.active),
    c: () => chosen.at(-1) !== "live" && compare(),
    Delete: () => chosen.at(-1) !== "live" && remove(),
    e: () => brush.active && brush.erase(),
    "[": () => brush.resize(-2),
    "]": () => brush.resize(2),
    Escape: () => (brush.active ? brushing(false) : choosePicture("live")),
    "?": () => $("#keys").showModal(),
  };
  if (!keys[key] || pressed) return;
  event.preventDefault();
  keys[key]();
});

// Files may be dropped anywhere: to the left for the photograph, to the right for the painting.
const drop = $(".drop");
const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("dragenter", (event) => files(event) && (drop.hidden = false));
document.addEventListener("dragover", (event) => {
  if (!files(event)) return;
  event.preventDefault();
  for (const half of drop.children) half.classList.toggle("over", half === event.target);
});
document.addEventListener("dragleave", (event) => !event.relatedTarget && (drop.hidden = true));
document.addEventListener("drop", (event) => {
  if (!files(event)) return;
  event.preventDefault();
  drop.hidden = true;
  const role = event.target.closest?.("[data-role]")?.dataset.role ?? (event.clientX < innerWidth / 2 ? "content" : "style");
  takeFiles([...event.dataTransfer.files], role);
});

const stream = new EventSource("/events");
let queue = Promise.resolve();
stream.onmessage = (event) => (queue = queue.then(() => take(JSON.parse(event.data))).catch(() => {}));
stream.onerror = () => say("The studio does not answer: is it still running in the terminal?");
