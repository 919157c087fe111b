// Draws the charts, lets their legends choose what is shown, sorts the tables, copies the SQL.
"use strict";

const each = (selector, act, within = document) => within.querySelectorAll(selector).forEach(act);

// ── charts ──
// Colours are CSS variables, so nothing is drawn again when the theme changes or the page is printed.
// Expressions are interpreted (ast), not evaluated: the page's policy forbids that.
const options = {
  mode: "vega-lite",
  renderer: "svg",
  ast: true,
  actions: false,
  defaultStyle: false,
  tooltip: { disableDefaultStyle: true },
};

each("script[data-chart]", async (script) => {
  const place = document.getElementById(script.dataset.chart);
  // Its label says what it shows, and the table beside it every number: the marks themselves would only be noise.
  const { view } = await vegaEmbed(place.firstElementChild, JSON.parse(script.textContent), options);
  const buttons = place.closest("figure").querySelectorAll(".legend button");
  buttons.forEach((button) =>
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      let hidden = [...buttons].filter((one) => one.getAttribute("aria-pressed") !== "true");
      // A chart of nothing tells nothing: with the last one taken away all come back.
      if (hidden.length === buttons.length) {
        hidden.forEach((one) => one.setAttribute("aria-pressed", true));
        hidden = [];
      }
      view.signal("hidden", hidden.map((one) => one.dataset.series)).runAsync();
    }),
  );
  place.dataset.drawn = "true";
});

// On paper a table is below its chart and not beside it: charts are drawn again, as wide as a sheet, and back.
for (const [event, isPaper] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    document.body.classList.toggle("paper", isPaper);
    dispatchEvent(new Event("resize"));
  });
}

// ── tables ──
// What is empty goes last, either way; the same values keep their order.
function sort(table, heading) {
  const column = [...heading.parentNode.children].indexOf(heading);
  const isNumber = heading.dataset.kind === "number";
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const order = heading.getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.sort;
  const compare = (a, b) => (isNumber ? a - b : a < b ? -1 : a > b ? 1 : 0);
  const rows = [...body.rows].sort((a, b) =>
    key(a) === "" || key(b) === "" ? (key(a) === "") - (key(b) === "") : sign * compare(key(a), key(b)),
  );
  body.append(...rows);
  each("th", (other) => other.removeAttribute("aria-sort"), table);
  heading.setAttribute("aria-sort", order);
}

each("th button", (button) => {
  const heading = button.closest("th");
  const table = heading.closest("table");
  if (!table.querySelector("td.none")) button.addEventListener("click", () => sort(table, heading));
});

// ── the SQL ──
each(".copy", (button) =>
  button.addEventListener("click", async () => {
    const text = button.parentNode.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  }),
);

// A link to a view opens it.
function open() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();
