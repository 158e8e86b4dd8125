"use strict";
// Tiles whose pictures zoom together, and the gallery of pairs.

const KEY_STEP = 0.05;

/** A grid of {label, picture, detail, baseline}; pointing at one tile magnifies the same place in all. */
function zoomGrid() {
  const grid = element("div", { class: "tiles" });
  const state = { x: 0.5, y: 0.5, zoom: 3, locked: false, touch: false };

  const apply = (on) => {
    grid.classList.toggle("zoomed", on);
    grid.style.setProperty("--zoom", on ? state.zoom : 1);
    grid.style.setProperty("--x", `${(state.x * 100).toFixed(2)}%`);
    grid.style.setProperty("--y", `${(state.y * 100).toFixed(2)}%`);
  };
  const follow = (event) => {
    const view = event.target.closest(".view");
    if (!view) return;
    const box = view.getBoundingClientRect();
    state.x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    state.y = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    apply(true);
  };
  grid.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch" || state.locked) follow(event); });
  grid.addEventListener("pointerout", (event) => {
    if (event.pointerType !== "touch" && !grid.contains(event.relatedTarget)) apply(state.locked = false);
  });
  // A tap magnifies and a second one ends it; with a mouse, pointing is enough.
  grid.addEventListener("pointerdown", (event) => { state.touch = event.pointerType === "touch"; });
  grid.addEventListener("click", (event) => {
    if (!state.touch || !event.target.closest(".view")) return;
    state.locked = !state.locked;
    if (state.locked) follow(event); else apply(false);
  });
  grid.addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("view")) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const on = grid.classList.contains("zoomed");
    if (event.key === "Enter" || event.key === " ") apply(!on);
    else if (event.key === "Escape") apply(false);
    else if (on && moves[event.key]) {
      state.x = Math.min(1, Math.max(0, state.x + moves[event.key][0] * KEY_STEP));
      state.y = Math.min(1, Math.max(0, state.y + moves[event.key][1] * KEY_STEP));
      apply(true);
    } else return;
    event.preventDefault();
  });

  const show = (tiles) => {
    apply(state.locked = false);
    grid.replaceChildren(...tiles.map((tile) => element("figure", { class: tile.baseline ? "baseline" : null },
      element("div", { class: "view", tabindex: 0, role: "button", "aria-label": `${tile.label}: Enter magnifies, arrow keys move` },
        element("img", { src: tile.picture, alt: tile.label, decoding: "async", draggable: "false" })),
      element("figcaption", {}, element("span", {}, tile.label), tile.detail ? element("small", {}, tile.detail) : null))));
  };
  const factor = element("input", { type: "range", min: 2, max: 10, step: 1, value: state.zoom,
    oninput: () => { state.zoom = Number(factor.value); } });
  const field = element("label", { class: "field" }, element("span", {}, "Magnify"), factor);
  return { grid, show, field };
}

/** The gallery: one pair at a time, all methods side by side. Returns a function that opens an image. */
function gallery() {
  const { columns, pairs, note } = content.gallery;
  const state = { pair: 0, baselines: true, errors: false, metric: honestMetric() };
  const tiles = zoomGrid();
  const compare = comparison(columns);
  const detail = (column) => {
    if (column.method === null) return "";
    const metric = content.metrics[state.metric];
    return `${metric.name} ${format(content.scores[state.metric][column.method][pairs[state.pair].image])}`;
  };
  const draw = () => {
    const pair = pairs[state.pair];
    const visible = (column) => column.kind === "error" ? state.errors : column.kind !== "baseline" || state.baselines;
    tiles.show(columns.map((column, i) => ({ label: column.name, picture: pair.pictures[i], detail: detail(column), baseline: column.kind === "baseline", visible: visible(column) }))
      .filter((tile) => tile.visible));
    compare.show(pair.pictures);
    images.select.value = String(state.pair);
    position.textContent = `${state.pair + 1} / ${pairs.length}`;
  };
  const go = (pair) => { state.pair = (pair + pairs.length) % pairs.length; draw(); };

  const images = chooser("Pair", pairs.map((pair, i) => [i, content.images[pair.image]]), 0, (value) => go(Number(value)));
  const metrics = chooser("Score shown", content.metrics.map((metric, i) => [i, metric.name]), state.metric, (value) => { state.metric = Number(value); draw(); });
  const position = element("output", {});
  const several = pairs.length > 1;
  const node = section("pictures", "Pictures",
    note ? element("p", { class: "hint" }, note) : null,
    element("div", { class: "controls" },
      element("button", { type: "button", disabled: !several, "aria-label": "Previous pair", onclick: () => go(state.pair - 1) }, "←"),
      images.node, position,
      element("button", { type: "button", disabled: !several, "aria-label": "Next pair", onclick: () => go(state.pair + 1) }, "→"),
      metrics.node, tiles.field,
      toggle("baselines", true, (on) => { state.baselines = on; draw(); }),
      columns.some((column) => column.kind === "error") ? toggle("error maps", false, (on) => { state.errors = on; draw(); }) : null),
    tiles.grid,
    element("h3", {}, "Before and after"), compare.node);
  draw();
  return (image) => {
    const found = pairs.findIndex((pair) => pair.image === image);
    if (found < 0) return;
    go(found);
    node.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  };
}
