"use strict";
// Tables sort by the number in data-sort where there is one, else by text; empty cells stay last.
function cellKey(row, place) {
  const cell = row.cells[place];
  if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
  return cell.textContent === "–" ? null : cell.textContent;
}
function sortTable(table, place, ascending) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((a, b) => {
    const x = cellKey(a, place), y = cellKey(b, place);
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number"
      ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return ascending ? order : -order;
  });
  body.append(...rows);
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[place].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      sortTable(table, place, head.getAttribute("aria-sort") !== "ascending");
    });
  });
}
