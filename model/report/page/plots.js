"use strict";
// Plots drawn as SVG: every image's score by method, win rates, and curves over steps.

const CURVE_COLOURS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)"];

/** The first metric that neither noise nor sharpening raises here. */
function honestMetric() {
  return Math.max(0, content.metrics.findIndex((metric) => !metric.marks.length));
}

function metricPlots(openPicture) {
  let index = honestMetric();
  const plot = element("div", { class: "plot" });
  const wins = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Win rates" });
  const hint = element("p", { class: "hint" });
  const drawDots = (width) => plot.replaceChildren(scorePlot(index, width, openPicture));
  const draw = () => {
    hint.textContent = metricHint(content.metrics[index]);
    wins.replaceChildren(winTable(index));
    if (plot.clientWidth) drawDots(Math.floor(plot.clientWidth));
  };
  const metrics = content.metrics.map((metric, i) => [i, `${metricLabel(metric)} – ${metric.title}`]);
  section("metrics", "Metrics",
    element("div", { class: "controls" }, chooser("Metric", metrics, index, (value) => { index = Number(value); draw(); }).node),
    hint,
    element("div", { class: "panels" },
      element("figure", {}, element("figcaption", {}, "Every pair: a dot. Bar: mean and standard error. A dot opens its pictures."), plot),
      element("figure", {}, element("figcaption", {}, "Share of pairs on which the row beats the column; a tie counts half."), wins)));
  draw();
  drawToWidth(plot, drawDots);
}

function scorePlot(index, width, openPicture) {
  const metric = content.metrics[index], rowHeight = 50, top = 30, margin = 16;
  const height = top + rowHeight * content.methods.length + 26;
  const all = content.scores[index].flat();
  const [low, high] = extent(all), spread = high - low || 1;
  const x = (value) => margin + (value - low) / spread * (width - 2 * margin);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric.name} of every pair by method` });
  const better = metric.higher ? "better →" : "← better";
  picture.append(shape("text", { x: metric.higher ? width - margin : margin, y: 14, class: "axis", "text-anchor": metric.higher ? "end" : "start" }, better));
  const marks = high > low ? ticks(low, high, Math.max(2, width / 90)) : [Number(low.toPrecision(4))];
  for (const [value, text] of labelled(marks)) {
    picture.append(shape("line", { x1: x(value), x2: x(value), y1: top - 6, y2: height - 20, class: "grid" }),
      shape("text", { x: Math.min(width - 20, Math.max(20, x(value))), y: height - 6, class: "axis", "text-anchor": "middle" }, text));
  }
  content.methods.forEach((method, row) => {
    const y = top + row * rowHeight + 30;
    const group = shape("g", { class: method.baseline ? "series baseline" : "series" });
    group.append(shape("text", { x: margin, y: y - 13, class: "label" }, method.name));
    const mean = content.means[row][index], error = content.errors[row][index] || 0;
    group.append(shape("line", { x1: x(Math.max(low, mean - error)), x2: x(Math.min(high, mean + error)), y1: y, y2: y, class: "error" }));
    content.scores[index][row].forEach((value, image) => {
      const dot = shape("circle", { cx: x(value), cy: y, r: 5, class: "dot" });
      dot.addEventListener("pointermove", (event) => tip(`${content.images[image]}: ${format(value)}`, event));
      dot.addEventListener("pointerleave", () => tip(""));
      dot.addEventListener("click", () => { tip(""); openPicture(image); });
      group.append(dot);
    });
    group.append(shape("line", { x1: x(mean), x2: x(mean), y1: y - 9, y2: y + 9, class: "mean" }));
    picture.append(group);
  });
  return picture;
}

function winTable(index) {
  const cell = (rate) => rate === null || rate === undefined
    ? element("td", { class: "none" }, "")
    : element("td", { style: `--good:${rate}`, class: rate > 0.5 ? "win" : null }, `${Math.round(rate * 100)}%`);
  return element("table", { class: "wins" },
    element("caption", { class: "unseen" }, `Win rates by ${content.metrics[index].name}`),
    element("thead", {}, element("tr", {}, element("td", {}), ...content.methods.map((method) => element("th", { scope: "col" }, element("span", {}, method.name))))),
    element("tbody", {}, ...content.methods.map((method, row) => element("tr", { class: method.baseline ? "baseline" : null },
      element("th", { scope: "row" }, method.name), ...content.wins[index][row].map(cell)))));
}

/** Curves over steps: points are [step, mean, least, greatest]. */
function curveChart({ title, curves, log }) {
  const holder = element("div", { class: "plot" });
  const readout = element("span", { class: "readout" });
  const legend = element("ul", { class: "legend" }, ...(curves.length > 1 ? curves.map((curve, i) =>
    element("li", { style: `--colour:${CURVE_COLOURS[i % 4]}` }, curve.name)) : []));
  drawToWidth(holder, (width) => holder.replaceChildren(drawCurves(curves, log, width, readout, title)));
  return element("figure", { class: "chart" },
    element("figcaption", {}, element("strong", {}, title), log ? element("small", {}, " log scale") : null, readout), legend, holder);
}

function drawCurves(curves, log, width, readout, title) {
  const height = 210, right = 10, top = 10, bottom = 24;
  const points = curves.flatMap((curve) => curve.points);
  const scale = (value) => log ? Math.log10(value) : value;
  const first = Math.min(...points.map((p) => p[0])), last = Math.max(...points.map((p) => p[0]));
  let low = Math.min(...points.map((p) => scale(p[2]))), high = Math.max(...points.map((p) => scale(p[3])));
  if (high === low) {
    const margin = log ? 0.05 : Math.abs(low) * 0.05 || 0.5;
    [low, high] = [low - margin, high + margin];
  }
  const levels = log ? decadeTicks(low, high) : labelled(ticks(low, high, 5));
  const left = Math.max(58, 12 + 7.5 * Math.max(...levels.map(([, text]) => text.length)));
  const x = (step) => left + (last > first ? (step - first) / (last - first) : 0.5) * (width - left - right);
  const y = (value) => top + (1 - (scale(value) - low) / (high - low)) * (height - top - bottom);
  const picture = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const [value, text] of levels) {
    picture.append(shape("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }),
      shape("text", { x: left - 6, y: y(value) + 4, class: "axis", "text-anchor": "end" }, text));
  }
  for (const step of ticks(first, last, width / 110).filter(Number.isInteger)) {
    const middle = Math.min(x(step), width - 4 * String(step).length); // the last one within the picture
    picture.append(shape("text", { x: middle, y: height - 6, class: "axis", "text-anchor": "middle" }, String(step)));
  }
  curves.forEach((curve, i) => {
    const colour = CURVE_COLOURS[i % 4];
    const line = (column) => curve.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[column]).toFixed(1)}`);
    picture.append(shape("polygon", { points: [...line(3), ...line(2).reverse()].join(" "), fill: colour, class: "band" }),
      shape("polyline", { points: line(1).join(" "), stroke: colour, class: "curve" }));
    if (curve.sparse) picture.append(...curve.points.map((p) => shape("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, fill: colour })));
  });
  const cursor = shape("line", { y1: top, y2: height - bottom, class: "cursor", visibility: "hidden" });
  picture.append(cursor);
  picture.addEventListener("pointermove", (event) => {
    const step = first + (event.clientX - picture.getBoundingClientRect().left - left) / (width - left - right) * (last - first);
    const nearest = curves.map((curve) => curve.points.reduce((a, b) => Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", x(nearest[0][0]));
    cursor.setAttribute("x2", x(nearest[0][0]));
    readout.textContent = `step ${nearest[0][0]}: ${nearest.map((p) => format(p[1])).join(" · ")}`;
  });
  picture.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); readout.textContent = ""; });
  return picture;
}
