// The picture: the painting as it stands, or a version, or two of them under a wipe.
import { $ } from "./api.js";

const view = $(".view"), sides = { left: $("#left"), right: $("#right") };
const shown = { left: "", right: "" }, wanted = { left: "", right: "" }, loading = { left: false, right: false };
export let frames = 0;

// Loads the newest address that is wanted, one at a time: what came up meanwhile is left out.
async function load(side) {
  if (loading[side] || wanted[side] === shown[side]) return;
  loading[side] = true;
  const address = wanted[side];
  try {
    const answer = await fetch(address);
    if (answer.ok) {
      const bitmap = await createImageBitmap(await answer.blob());
      const canvas = sides[side];
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      if (side === "left") {
        view.style.setProperty("--w", canvas.width);
        view.style.setProperty("--h", canvas.height);
      }
      view.dataset[side] = address;
      document.body.dataset.frames = ++frames;
    }
  } catch {
    // the server is gone, which the stream of events finds out
  }
  shown[side] = address;
  loading[side] = false;
  load(side);
}

const address = (what, state) => {
  if (what !== "live") return `/versions/${what}`;
  const progress = state.progress;
  if (state.status === "empty" || !progress || progress.done === 0) return state.content ? `/pictures/content/0?${state.content.key}` : "";
  return `/frame?${state.started}-${progress.done}-${progress.scale}-${state.status}`;
};

export function show(state, left, right, brushing) {
  const started = state.progress && state.progress.done > 0;
  view.classList.toggle("waiting", left === "live" && !started && !brushing);
  wanted.left = brushing && state.content ? `/pictures/content/0?${state.content.key}` : address(left, state);
  wanted.right = right === null ? "" : address(right, state);
  sides.right.hidden = $("#wipe").hidden = right === null;
  const name = (what) => (what === "live" ? "Now" : `Version ${what}`);
  $("figcaption.left").textContent = right === null ? "" : name(left);
  $("figcaption.right").textContent = right === null ? "" : name(right);
  for (const side of ["left", "right"]) if (wanted[side]) load(side);
}

$("#wipe").addEventListener("input", (event) => sides.right.style.setProperty("--wipe", `${event.target.value}%`));
