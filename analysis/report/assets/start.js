// ---- All plots of the page, drawn again when its width changes.
const WIDGETS = { tradeoff, space, weights, search };
const redraws = [];
for (const root of document.querySelectorAll("[data-widget]")) redraws.push(WIDGETS[root.dataset.widget](root));
let resizing = null, lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return;
  lastWidth = window.innerWidth;
  clearTimeout(resizing);
  resizing = setTimeout(() => redraws.forEach((draw) => draw()), 150);
});
document.documentElement.dataset.ready = "true";
