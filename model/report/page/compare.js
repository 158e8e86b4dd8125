"use strict";
// The before/after slider: drag over the picture, or use the slider below it with the keyboard.

function comparison(columns) {
  const firstMethod = columns.findIndex((column) => column.kind === "method" || column.kind === "baseline");
  const state = { left: 1, right: Math.max(0, firstMethod), pictures: [] };
  const under = element("img", { draggable: "false" });
  const over = element("img", { class: "over", draggable: "false" });
  const names = { left: element("span", { class: "name left" }), right: element("span", { class: "name right" }) };
  const slider = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Boundary between the two pictures", oninput: () => split() });
  const stage = element("div", { class: "stage" }, under, over, element("span", { class: "handle", "aria-hidden": "true" }), names.left, names.right);

  function split() {
    stage.style.setProperty("--split", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % ${columns[state.left].name}`);
  }
  function draw() {
    over.src = state.pictures[state.left];
    under.src = state.pictures[state.right];
    for (const side of ["left", "right"]) names[side].textContent = columns[state[side]].name;
    over.alt = columns[state.left].name;
    under.alt = columns[state.right].name;
    split();
  }
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    slider.value = Math.min(100, Math.max(0, (event.clientX - box.left) / box.width * 100));
    split();
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });

  const options = columns.map((column, i) => [i, column.name]);
  const left = chooser("Left", options, state.left, (value) => { state.left = Number(value); draw(); });
  const right = chooser("Right", options, state.right, (value) => { state.right = Number(value); draw(); });
  const swap = element("button", { type: "button", onclick: () => {
    [state.left, state.right] = [state.right, state.left];
    left.select.value = state.left;
    right.select.value = state.right;
    draw();
  } }, "Swap");
  const node = element("div", { class: "compare" }, element("div", { class: "controls" }, left.node, swap, right.node), stage, slider);
  return { node, show: (pictures) => { state.pictures = pictures; draw(); } };
}
