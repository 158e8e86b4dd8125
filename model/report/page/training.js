"use strict";
// Pages of a training run and of a network's features.

function trainingPage() {
  section("curves", "Curves",
    element("div", { class: "charts" }, ...content.charts.map(curveChart)),
    element("ul", { class: "notes" }, ...content.notes.map((note) => element("li", {}, note))));
  if (content.pictures.length) stepPictures();
  if (content.settings.length) {
    section("settings", "Settings", element("div", { class: "scroll" }, element("table", { class: "settings" },
      element("tbody", {}, ...content.settings.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)))))));
  }
}

/** Validation pictures with a slider over the steps. */
function stepPictures() {
  const { pictures } = content;
  const image = element("img", { class: "sheet" });
  const label = element("output", {});
  const slider = element("input", { type: "range", min: 0, max: pictures.length - 1, step: 1, value: pictures.length - 1, "aria-label": "Training step", oninput: () => draw() });
  function draw() {
    const chosen = pictures[Number(slider.value)];
    image.src = chosen.picture;
    image.alt = `Validation samples at ${chosen.label}`;
    label.textContent = chosen.label;
    slider.setAttribute("aria-valuetext", chosen.label);
  }
  section("pictures", "Validation pictures",
    content.picturesNote ? element("p", { class: "hint" }, content.picturesNote) : null,
    element("div", { class: "controls" }, element("label", { class: "field wide" }, label, slider)),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Validation picture" }, image));
  draw();
}

/** Groups of tiles, one section per pair. */
function featuresPage() {
  content.pairs.forEach((pair, i) => {
    const groups = pair.groups.map((group) => {
      const tiles = zoomGrid();
      tiles.show(group.tiles);
      return element("div", { class: "group" }, element("h3", {}, group.title), element("p", { class: "hint" }, group.note), tiles.grid);
    });
    section(`pair-${i}`, pair.name, ...groups);
  });
}
