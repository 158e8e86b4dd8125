"use strict";
// Content and helpers. Text from files is only ever set as text, never as markup.

const content = JSON.parse(document.getElementById("content").textContent);

/** Create an element: attributes by name, on* as listeners, children as nodes or text. */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A section of the page, entered into the navigation. */
function section(id, title, ...children) {
  const node = element("section", { id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title), ...children);
  document.getElementById("main").append(node);
  document.getElementById("sections").append(element("a", { href: `#${id}` }, title));
  return node;
}

/** Decimals that give the largest of some values about four digits. */
function decimalsFor(values) {
  const largest = Math.max(...values.map(Math.abs));
  return largest > 0 ? Math.min(4, Math.max(0, 3 - Math.floor(Math.log10(largest)))) : 0;
}

/** A number as people write it: about four digits, or as many decimals as asked for. */
function format(value, decimals = null) {
  if (value === null || value === undefined) return "–";
  if (decimals !== null) return value.toFixed(decimals).replace("-", "−");
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2).replace("-", "−");
  return value.toFixed(decimalsFor([value])).replace("-", "−");
}

/** Ticks with their labels: every digit that one of them has, so that no two are alike; powers of ten where they are short. */
function labelled(values) {
  const largest = Math.max(...values.map(Math.abs));
  const powers = largest !== 0 && (largest >= 1e5 || largest < 1e-2);
  let decimals = 0;
  while (decimals < 15 && values.some((value) => Number(value.toFixed(decimals)) !== value)) decimals++;
  const power = (value) => value === 0 ? "0" : value.toExponential().replace("+", "");
  const text = (value) => powers ? power(value) : value.toFixed(decimals);
  return values.map((value) => [value, text(value).replace(/-/g, "−")]);
}

/** A labelled drop-down list of [value, text]. */
function chooser(label, options, value, change) {
  const select = element("select", { onchange: () => change(select.value) },
    ...options.map(([key, text]) => element("option", { value: key, selected: String(key) === String(value) }, text)));
  return { node: element("label", { class: "field" }, element("span", {}, label), select), select };
}

/** A labelled check box. */
function toggle(label, checked, change) {
  const box = element("input", { type: "checkbox", checked, onchange: () => change(box.checked) });
  return element("label", { class: "check" }, box, label);
}

/** Draw now and whenever the container's width changes. */
function drawToWidth(container, draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(container.clientWidth);
    if (now && now !== width) draw(width = now);
  }).observe(container);
}

/** Show a hint beside the pointer; without text, hide it. */
function tip(text, event) {
  const node = document.getElementById("tip");
  node.hidden = !text;
  if (!text) return;
  node.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - node.offsetWidth - 8);
  const above = event.clientY - node.offsetHeight - 12;
  node.style.left = `${Math.max(8, left)}px`;
  node.style.top = `${above > 8 ? above : event.clientY + 18}px`;
}

/** Smallest and largest of any number of values. */
function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/** Round numbers that divide a range, at most about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const found = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return [...new Set(found)];
}

/** Labelled ticks of a logarithmic axis between two powers of ten: 1, 2 and 5 of each decade, or the decades alone; round numbers within one. */
function decadeTicks(low, high) {
  const decades = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => 10 ** (Math.floor(low) + i));
  const inside = (value) => Math.log10(value) >= low && Math.log10(value) <= high;
  const fine = decades.flatMap((decade) => [1, 2, 5].map((factor) => Number((factor * decade).toPrecision(1)))).filter(inside);
  if (fine.length < 3) return labelled(ticks(10 ** low, 10 ** high, 5).filter((value) => value > 0 && inside(value)));
  const chosen = fine.length > 6 ? decades.map((value) => Number(value.toPrecision(1))).filter(inside) : fine;
  return chosen.flatMap((value) => labelled([value]));
}

function startPage() {
  document.getElementById("title").textContent = content.title;
  document.getElementById("facts").append(...content.facts.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
  const button = document.getElementById("theme");
  const names = { "": "◐ system", light: "☀ light", dark: "☾ dark" };
  const show = () => { 
    const name = names[document.documentElement.dataset.theme || ""];
    button.textContent = name;
    button.setAttribute("aria-label", `Theme: ${name.slice(2)}`);
  };
  button.addEventListener("click", () => {
    const order = Object.keys(names);
    const next = order[(order.indexOf(document.documentElement.dataset.theme || "") + 1) % order.length];
    document.documentElement.dataset.theme = next;
    show();
  });
  show();
}
