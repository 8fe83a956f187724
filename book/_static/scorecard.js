// The scorecard: headings sort the claims of each paper, and a link opens the entry that it leads to.
// Without this script the table is complete, in the order of the papers, and entries open by a click.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.scorecard")) sortable(table);
  window.addEventListener("hashchange", openEntry);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]'); // to where we are: no hash changes
    if (link?.hash === location.hash) openEntry();
  });
  openEntry();
});

function openEntry() {
  const entry = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!entry?.matches("details.claim")) return;
  entry.open = true;
  entry.scrollIntoView();
}

function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  // A claim moves with the variants below it; the line that names the paper stays on top.
  const papers = [...table.tBodies].map((body) => ({ body, claims: claimsOf(body) }));
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", column ? "none" : "ascending");
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      for (const { body, claims } of papers) {
        const ordered = claims.map((rows, place) => ({ rows, rank: rank(rows[0], column, place) }));
        ordered.sort((a, b) => (up ? a.rank - b.rank : b.rank - a.rank)); // equal ones keep their order
        body.append(...ordered.flatMap(({ rows }) => rows));
      }
    });
  });
}

function claimsOf(body) {
  const claims = [];
  for (const row of [...body.rows].filter((row) => !row.matches(".paper"))) {
    if (row.matches(".variant") && claims.length) claims.at(-1).push(row);
    else claims.push([row]);
  }
  return claims;
}

// The first column has the order of the papers.
const rank = (row, column, place) => (column ? Number(row.cells[column].dataset.rank) : place);
