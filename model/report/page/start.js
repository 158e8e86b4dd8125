"use strict";

startPage();
if (content.kind === "evaluation") {
  scoreTable();
  let open = () => {};
  metricPlots((image) => open(image));
  open = gallery();
} else if (content.kind === "training") {
  trainingPage();
} else {
  featuresPage();
}
