"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

// ---- Sorting: by the number in data-sort where there is one, else by text; empty cells last.
function cellKey(row, place) {
  const cell = row.cells[place];
  if (cell.dataset.sort !== undefined) return parseFloat(cell.dataset.sort);
  return cell.classList.contains("missing") ? null : cell.textContent;
}
function sortTable(table, place, ascending) {
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((a, b) => {
    const x = cellKey(a, place), y = cellKey(b, place);
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number"
      ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows);
  const heads = table.tHead.rows[0].cells;
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[place].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      sortTable(table, place, head.getAttribute("aria-sort") !== "ascending");
    });
  });
}

// ---- Tables wider than the page: say so, and shade the side on which more is.
function markOverflow(scroll) {
  const hidden = scroll.scrollWidth - scroll.clientWidth;
  scroll.classList.toggle("more-left", hidden > 1 && scroll.scrollLeft > 1);
  scroll.classList.toggle("more-right", hidden > 1 && scroll.scrollLeft < hidden - 1);
  scroll.previousElementSibling.hidden = hidden <= 1;
}
const overflowing = new ResizeObserver(entries => entries.forEach(e => markOverflow(e.target)));
for (const scroll of document.querySelectorAll(".scroll")) {
  scroll.addEventListener("scroll", () => markOverflow(scroll), { passive: true });
  overflowing.observe(scroll);
}

// ---- Saving a table's CSV or LaTeX as a file.
for (const details of document.querySelectorAll("details.export")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = `Save ${details.dataset.file}`;
  button.addEventListener("click", () => {
    const blob = new Blob([details.querySelector("pre").textContent], { type: "text/plain" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = details.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  details.append(button);
}

// ---- A link to evidence opens the long table it points at.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const long = target && target.querySelector("details.long");
  if (long) long.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();

// ---- Isolating one method everywhere: tables, plots, chips.
const isolation = { family: null, listeners: [] };
function isolate(family) {
  isolation.family = isolation.family === family ? null : family;
  const on = isolation.family;
  for (const row of document.querySelectorAll("tr[data-family]")) {
    row.classList.toggle("dim", on !== null && row.dataset.family !== on);
  }
  for (const mark of document.querySelectorAll("svg [data-family]")) {
    mark.classList.toggle("dim", on !== null && mark.dataset.family !== "" && mark.dataset.family !== on);
  }
  for (const chip of document.querySelectorAll("button.chip")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.family === on));
  }
  for (const listener of isolation.listeners) listener(on);
}
document.addEventListener("click", (event) => {
  const row = event.target.closest("tbody tr[data-family]");
  if (row && row.dataset.family && !String(window.getSelection())) isolate(row.dataset.family);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    hideTooltip();
    if (isolation.family !== null) isolate(isolation.family);
  }
});

// ---- One tooltip for all plots. Text only: nothing of a study is ever read as markup.
const tooltip = document.getElementById("tooltip");
function showTooltip(lines, x, y) {
  tooltip.replaceChildren(...lines.filter(Boolean).map((line, place) => {
    const part = document.createElement(place === 0 ? "strong" : "div");
    part.textContent = line;
    return part;
  }));
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const left = Math.min(x + 14, document.documentElement.clientWidth - box.width - 6);
  const top = y + 16 + box.height > window.innerHeight ? y - box.height - 10 : y + 16;
  tooltip.style.left = `${Math.max(4, left)}px`;
  tooltip.style.top = `${Math.max(4, top)}px`;
}
function hideTooltip() { tooltip.hidden = true; }
