// The controls, made of what the server says of the recipe's fields.
import { $, act, element } from "./api.js";

const STEPS = 1000;
const controls = new Map();
let sent = {}, timer = null;

// Sends the newest values at most some times a second, while a slider is dragged as well.
function send(name, value) {
  sent[name] = value;
  timer ??= setTimeout(() => {
    const values = sent;
    [sent, timer] = [{}, null];
    act("set", { values });
  }, 120);
}

const written = (value) => (typeof value === "number" ? String(+value.toPrecision(4)) : (value ?? ""));

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function slider(row, set) {
  const { least, greatest, log } = row;
  const position = (value) =>
    !log ? (value - least) / (greatest - least)
      : value > 0 ? Math.log(value / least) / Math.log(greatest / least) : 0;
  const value = (share) => +(log ? least * (greatest / least) ** share : least + (greatest - least) * share).toPrecision(3);
  const input = element("input", {
    type: "range", class: "slider wide", min: 0, max: STEPS, id: `slider-${row.name}`, "aria-label": row.label,
    oninput: () => set(value(input.value / STEPS)),
    ondblclick: () => set(null),
  });
  return [input, (now) => {
    const share = Math.min(1, Math.max(0, position(now)));
    if (document.activeElement !== input || Math.abs(value(input.value / STEPS) - now) > 1e-9 * Math.abs(now)) input.value = Math.round(share * STEPS);
    input.style.setProperty("--fill", `${share * 100}%`);
    input.setAttribute("aria-valuetext", written(now));
  }];
}

function make(row) {
  const id = `control-${row.name}`;
  const label = element("label", { for: id, title: row.help }, row.label);
  const made = element("div", { class: "control", "data-name": row.name }, label);
  let show;
  const set = (value) => {
    control.until = Date.now() + 700;
    control.show(value ?? row.value);
    send(row.name, value);
  };
  if (row.kind === "choice" && row.choices && Object.keys(row.choices).length <= 5 && row.name === "size") {
    label.removeAttribute("for");
    const group = element("div", { class: "segments", role: "radiogroup", "aria-label": row.label });
    for (const choice of Object.keys(row.choices)) {
      const radio = element("input", { type: "radio", name: row.name, value: choice, onchange: () => set(+choice) });
      group.append(element("label", {}, radio, choice));
    }
    made.append(group);
    show = (value) => group.querySelectorAll("input").forEach((radio) => (radio.checked = radio.value === String(value)));
  } else if (row.kind === "choice") {
    const select = element("select", { id, onchange: () => set(select.value === "" ? null : select.value) });
    const hint = element("small");
    if (row.value === null) select.append(element("option", { value: "" }, "The network's own"));
    for (const [choice, help] of Object.entries(row.choices)) // those with a help of their own are names
      select.append(element("option", { value: choice }, help ? choice : capital(choice.replaceAll("-", " "))));
    made.append(element("div", { class: "select" }, select), hint);
    show = (value) => {
      select.value = value ?? "";
      hint.textContent = row.choices[value] || (row.first ? "" : row.help);
      hint.hidden = !hint.textContent;
    };
  } else {
    const number = row.kind === "number";
    const read = () => {
      const value = number ? parseFloat(input.value) : input.value;
      set(input.value.trim() === "" || Number.isNaN(value) ? null : value);
    };
    const input = element("input", {
      id, class: number ? "number" : "text wide", inputmode: number ? "decimal" : undefined, spellcheck: "false",
      placeholder: number ? "auto" : "", onchange: read,
    });
    made.append(input);
    let move = () => {};
    if (row.least !== undefined) {
      const [range, to] = slider(row, set);
      made.append(range);
      move = to;
    }
    if (!row.first) made.append(element("small", {}, row.help));
    show = (value) => {
      if (document.activeElement !== input) input.value = written(value);
      if (value !== null) move(value);
    };
  }
  const control = { row, made, show, until: 0 };
  controls.set(row.name, control);
  return made;
}

const PARTS = { method: "Method", content: "Content", style: "Style", tv: "Smoothness", solver: "Optimizer", scales: "Scales", colors: "Colors" };

export function build(rows) {
  controls.clear();
  $("#first").replaceChildren(...rows.filter((row) => row.first).map(make));
  const others = [];
  let part;
  for (const row of rows.filter((row) => !row.first)) {
    const title = PARTS[row.part] ?? PARTS.method;
    if (title !== part) others.push(element("h3", {}, (part = title)));
    others.push(make(row));
  }
  $("#others").replaceChildren(...others);
}

export function show(values, pending) {
  for (const [name, control] of controls) {
    const value = values[name];
    control.made.classList.toggle("changed", String(value) !== String(control.row.value) && !control.row.restarts);
    control.made.classList.toggle("pending", pending.includes(name));
    if (Date.now() > control.until) control.show(value);
  }
}

// How much of each painting: one slider between two, or one for each of several.
let mixed = "";
export function mixture(styles, weights, pending) {
  const form = $("#first"), key = styles.map((style) => style.key).join();
  let made = form.querySelector(".mixture");
  if (styles.length < 2) { made?.remove(); mixed = ""; return; }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const rows = styles.length === 2 ? [[`${styles[0].name} and ${styles[1].name}`, 1]] : styles.map((style, i) => [style.name, i]);
  if (key !== mixed || !made) {
    made?.remove();
    made = element("div", { class: "control mixture", "data-name": "style_mix" }, element("span", { class: "label" }, "Mixture"));
    for (const [label, index] of rows) {
      const input = element("input", {
        type: "range", class: "slider wide", min: 0, max: 100, "data-index": index, "aria-label": `Mixture: ${label}`, title: label,
        oninput: () => {
          const shares = [...made.querySelectorAll("input")].map((other) => other.value / 100);
          const mix = styles.length === 2 ? [1 - shares[0], shares[0]] : shares;
          made.dataset.until = Date.now() + 700;
          input.style.setProperty("--fill", `${input.value}%`);
          if (mix.some((weight) => weight > 0)) send("style_mix", mix);
        },
        ondblclick: () => send("style_mix", null),
      });
      made.append(input);
    }
    form.append(made);
    mixed = key;
  }
  made.classList.toggle("pending", pending.includes("style_mix"));
  if (Date.now() > (made.dataset.until ?? 0))
    made.querySelectorAll("input").forEach((input) => {
      input.value = (100 * weights[input.dataset.index]) / (styles.length === 2 ? total : Math.max(...weights));
      input.style.setProperty("--fill", `${input.value}%`);
    });
}
