// The weighted terms of the loss over the evaluations, on a logarithmic scale.
import { $, element } from "./api.js";

const TERMS = [["style", "Style"], ["content", "Likeness"], ["tv", "Smooth"]];

export function draw(losses) {
  const chart = $(".chart"), svg = chart.querySelector("svg");
  chart.hidden = losses.length < 2;
  if (chart.hidden) return;
  const values = losses.flatMap(([, terms]) => TERMS.map(([key]) => terms[key])).filter((v) => v > 0);
  const logs = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
  const first = losses[0][0], last = losses.at(-1)[0];
  const place = ([done, terms], key) => {
    const x = (100 * (done - first)) / Math.max(1, last - first);
    const y = 100 - (100 * (Math.log(terms[key]) - logs[0])) / Math.max(0.1, logs[1] - logs[0]);
    return `${x.toFixed(2)} ${y.toFixed(2)}`;
  };
  svg.replaceChildren();
  const items = [];
  for (const [key, label] of TERMS) {
    const points = losses.filter(([, terms]) => terms[key] > 0);
    if (points.length < 2) continue;
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", `M${points.map((point) => place(point, key)).join("L")}`);
    path.setAttribute("class", key);
    svg.append(path);
    const value = points.at(-1)[1][key];
    items.push(element("li", { class: key, "data-value": value }, label, element("b", {}, value.toPrecision(2))));
  }
  chart.querySelector("ul").replaceChildren(...items);
}
