"use strict";
// Pictures of one series: without this script all of them are shown in a row, the newest
// first; with it one at a time, chosen by a slider or played as a film.
(() => {
  for (const album of document.querySelectorAll(".album")) {
    const figures = [...album.querySelectorAll("figure")].reverse();  // oldest first
    const controls = album.querySelector(".controls");
    if (figures.length < 2) continue;
    const slider = controls.querySelector("input");
    const button = controls.querySelector("button");
    let timer = 0;
    const show = (place) => {
      figures.forEach((figure, i) => { figure.hidden = i !== place; });
      slider.value = place;
      slider.setAttribute("aria-valuetext", figures[place].querySelector("figcaption").textContent);
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = "Play";
    };
    slider.addEventListener("input", () => {
      stop();
      show(Number(slider.value));
    });
    button.addEventListener("click", () => {
      if (timer) return stop();
      button.textContent = "Stop";
      if (Number(slider.value) === figures.length - 1) show(0);
      timer = setInterval(() => {
        const next = Number(slider.value) + 1;
        show(next);
        if (next === figures.length - 1) stop();
      }, 400);
    });
    album.classList.add("scripted");
    album.querySelector(".strip").removeAttribute("tabindex");  // it no longer scrolls
    controls.hidden = false;
    show(figures.length - 1);
  }
  // A closed part of the page would be missing on paper.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
