"use strict";
// The table of means: sortable, with a tint from worst to best in every column.

const MARKS = { noise: "ⁿ", sharpening: "ˢ" };

function metricLabel(metric) {
  return metric.name + metric.marks.map((mark) => MARKS[mark]).join("");
}

function metricHint(metric) {
  const gamed = metric.marks.length
    ? ` Here a plain average gains by ${metric.marks.join(" and ")}.` : "";
  const unit = metric.unit ? `, in ${metric.unit}s`.replace("dBs", "dB") : "";
  return `${metric.title[0].toUpperCase()}${metric.title.slice(1)}${unit}; ${metric.higher ? "higher" : "lower"} is better.${gamed}`;
}

function methodName(method) {
  return element("span", { class: method.baseline ? "method baseline" : "method" }, method.name,
    method.baseline ? element("span", { class: "badge" }, "baseline") : null);
}

function scoreTable() {
  const state = { column: null, ascending: false, baselines: true, gamed: true };
  const holder = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores" });

  const sortBy = (column) => {
    const better = column === null ? true : !content.metrics[column].higher;
    // First click: best on top (or names from a to z); second click: the other way round.
    state.ascending = state.column === column ? !state.ascending : better;
    state.column = column;
    draw(column);
  };

  const headCell = (column, label, hint, arrow) => {
    const active = state.column === column && state.sorted;
    return element("th", { scope: "col", "aria-sort": active ? (state.ascending ? "ascending" : "descending") : "none" },
      element("button", { type: "button", "data-column": column === null ? "name" : column, title: hint, onclick: () => { state.sorted = true; sortBy(column); } },
        label, element("span", { class: "arrow", "aria-hidden": "true" }, active ? (state.ascending ? " ▲" : " ▼") : arrow)));
  };

  function draw(focus) {
    const columns = content.metrics.map((_, i) => i).filter((i) => state.gamed || !content.metrics[i].marks.length);
    const rows = content.methods.map((_, i) => i).filter((i) => state.baselines || !content.methods[i].baseline);
    if (state.sorted) {
      const key = (row) => state.column === null ? content.methods[row].name.toLowerCase() : content.means[row][state.column];
      rows.sort((x, y) => (key(x) < key(y) ? -1 : key(x) > key(y) ? 1 : 0) * (state.ascending ? 1 : -1));
    }
    const range = columns.map((column) => {
      const values = rows.map((row) => content.means[row][column]);
      return [Math.min(...values), Math.max(...values), decimalsFor(content.means.map((row) => row[column]))];
    });
    const cell = (row, column, i) => {
      const [low, high, decimals] = range[i];
      const value = content.means[row][column], error = content.errors[row][column];
      const rank = high > low ? (value - low) / (high - low) : 0;
      const good = content.metrics[column].higher ? rank : 1 - rank;
      const best = high > low && good === 1;
      return element("td", { class: best ? "best" : null, style: `--good:${good.toFixed(3)}`, title: `${value}${error === null ? "" : ` ± ${error}`}` },
        format(value, decimals), error === null ? null : element("small", {}, `± ${format(error, decimals)}`));
    };
    const table = element("table", { class: "scores" },
      element("caption", { class: "unseen" }, "Mean and standard error of every metric"),
      element("thead", {}, element("tr", {},
        headCell(null, "method", "Sort by name", ""),
        ...columns.map((column) => headCell(column, metricLabel(content.metrics[column]), metricHint(content.metrics[column]),
          content.metrics[column].higher ? " ↑" : " ↓")))),
      element("tbody", {}, ...rows.map((row) => element("tr", { class: content.methods[row].baseline ? "baseline" : null },
        element("th", { scope: "row" }, methodName(content.methods[row])),
        ...columns.map((column, i) => cell(row, column, i))))));
    holder.replaceChildren(table);
    if (focus !== undefined) holder.querySelector(`button[data-column="${focus === null ? "name" : focus}"]`)?.focus();
  }

  section("scores", "Scores",
    element("div", { class: "controls" },
      toggle("baselines", true, (on) => { state.baselines = on; draw(); }),
      toggle("metrics that noise or sharpening raises", true, (on) => { state.gamed = on; draw(); })),
    holder,
    element("ul", { class: "notes" }, ...content.notes.map((note) => element("li", {}, note))));
  draw();
}
