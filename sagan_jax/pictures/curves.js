"use strict";
// Curves: while the pointer is over a chart, its key shows the numbers of that step
// instead of the last ones.
(() => {
  for (const chart of document.querySelectorAll(".chart")) {
    const drawing = chart.querySelector("svg");
    if (!drawing) continue;
    const [first, last, left, right, top, bottom] = drawing.dataset.axes.split(" ").map(Number);
    const place = (step) => left + (step - first) / (last - first) * (right - left);
    const keys = [...chart.querySelectorAll(".key b")];
    const lasts = keys.map((key) => key.textContent);
    const cursor = drawing.querySelector(".cursor");
    const at = chart.querySelector(".at");
    const lines = [...drawing.querySelectorAll(".line")].map((line) => ({
      steps: line.dataset.steps.split(" ").map(Number),
      values: line.dataset.values.split(" "),
    }));
    const nearest = (steps, step) => steps.reduce(
      (best, found, i) => (Math.abs(found - step) < Math.abs(steps[best] - step) ? i : best), 0);

    function read(event) {
      const box = drawing.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width;
      const pointed = first + (x - left) / (right - left) * (last - first);
      const step = lines[0].steps[nearest(lines[0].steps, pointed)];
      lines.forEach(({ steps, values }, i) => {
        keys[i].textContent = values[nearest(steps, step)];
      });
      cursor.setAttribute("d", `M${place(step).toFixed(1)} ${top}V${bottom}`);
      at.textContent = ` at step ${step.toLocaleString("en")}`;
    }

    drawing.addEventListener("pointermove", read);
    drawing.addEventListener("pointerdown", read);
    drawing.addEventListener("pointerleave", () => {
      keys.forEach((key, i) => { key.textContent = lasts[i]; });
      cursor.removeAttribute("d");
      at.textContent = "";
    });
  }
})();
