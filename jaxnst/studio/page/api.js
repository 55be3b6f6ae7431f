// What the page asks of the server; errors are one line, shown for some seconds.
export const $ = (selector) => document.querySelector(selector);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true || value === false) made.toggleAttribute(key, value);
    else if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS(svg.namespaceURI, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

let timer;
export function say(text) {
  const toast = $(".toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (toast.hidden = true), 7000);
}

async function post(address, type, body) {
  try {
    const answer = await fetch(address, { method: "POST", headers: { "content-type": type }, body });
    if (answer.ok) return await answer.text();
    say(await answer.text());
  } catch {
    say("The studio does not answer: is it still running in the terminal?");
  }
  return null;
}

export const act = (action, facts = {}) =>
  post("/act", "application/json", JSON.stringify({ action, ...facts }));

export const upload = (file, role, { name = file.name, at } = {}) => {
  const query = new URLSearchParams({ role, name });
  if (at !== undefined) query.set("at", at);
  return post(`/pictures?${query}`, "application/octet-stream", file);
};
