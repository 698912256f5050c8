// Small charts: SVG for the eye, a table for whoever does not see it.

import { h, svg } from "../dom.js";
import { table } from "./table.js";

const WIDTH = 600;
const HEIGHT = 120;

/** A whole or a short number above all values, for the scale. */
function top(values) {
  const most = Math.max(0, ...values);
  if (most <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((times) => times * step).find((value) => value >= most);
}

/**
 * Bars over time, each of several parts from the bottom up; a part is contained in the one before it.
 * @param rows [{label, values}]; names and classes are those of the values
 */
export function barChart({ title, note, rows, names, write = String }) {
  const most = top(rows.map((row) => row.values[0]));
  const step = WIDTH / rows.length;
  const bars = rows.flatMap(({ label, values }, i) =>
    values.map((value, part) => {
      const height = (value / most) * HEIGHT;
      const told = names.map((name, k) => `${name} ${write(values[k])}`).join(", ");
      return (
        value > 0 &&
        svg(
          "rect",
          {
            class: `part-${part}`,
            x: i * step + step * 0.12,
            y: HEIGHT - height,
            width: step * 0.76,
            height,
          },
          svg("title", `${label}: ${told}`),
        )
      );
    }),
  );
  return figure({ title, note, names, rows, write, most, drawing: bars });
}

/** Lines over time. A value that is null is left out. */
export function lineChart({ title, note, rows, names, write = String }) {
  const most = top(rows.flatMap((row) => row.values.filter((value) => value !== null)));
  const x = (i) => (rows.length > 1 ? (i / (rows.length - 1)) * WIDTH : 0);
  const lines = names.map((_, part) => {
    const points = rows
      .map((row, i) => [x(i), row.values[part]])
      .filter(([, value]) => value !== null);
    const at = points.map(
      ([left, value]) => `${left.toFixed(1)},${(HEIGHT - (value / most) * HEIGHT).toFixed(1)}`,
    );
    if (at.length === 1) at.push(`${(points[0][0] + 4).toFixed(1)},${at[0].split(",")[1]}`); // one point is seen too
    return (
      at.length > 0 &&
      svg("polyline", {
        class: `line-${part}`,
        points: at.join(" "),
        fill: "none",
        "vector-effect": "non-scaling-stroke",
      })
    );
  });
  return figure({ title, note, names, rows, write, most, drawing: lines });
}

function figure({ title, note, names, rows, write, most, drawing }) {
  const grid = [0, 0.5, 1].map((share) =>
    svg("line", {
      class: "grid",
      x1: 0,
      x2: WIDTH,
      y1: HEIGHT * share,
      y2: HEIGHT * share,
      "vector-effect": "non-scaling-stroke",
    }),
  );
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      class: "plot",
    },
    grid,
    drawing,
  );
  const legend =
    names.length > 1 &&
    h(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      names.map((name, part) => h("li", h("span", { class: `key key-${part}` }), name)),
    );
  return h(
    "figure.chart",
    h("figcaption", h("span", title, note && h("span.muted", ` ${note}`)), legend),
    h(
      "div",
      { class: "plot-area", "aria-hidden": "true" },
      h("div.scale", h("span", write(most)), h("span", write(0))),
      picture,
    ),
    h(
      "div",
      { class: "axis", "aria-hidden": "true" },
      h("span", rows[0]?.label),
      h("span", rows.at(-1)?.label),
    ),
    h(
      "details.as-table",
      h("summary", "As a table", h("span.unseen", `: ${title}`)),
      asTable(title, names, rows, write),
    ),
  );
}

function asTable(title, names, rows, write) {
  const told = rows.filter((row) => row.values.some(Boolean));
  if (!told.length) return h("p.muted", "Nothing yet.");
  const heads = ["Time", ...names.map((name) => [name, "number"])];
  const cell = (value) => h("td.number", value === null ? "–" : write(value));
  const body = told.map((row) =>
    h("tr", h("th", { scope: "row" }, row.label), row.values.map(cell)),
  );
  return h(
    "div.scroll",
    { tabindex: "0", role: "group", "aria-label": title },
    table(title, heads, body),
  );
}

/** Things and how many there are of each, the most first; a list with bars. */
export function ranking({ title, rows }) {
  const most = Math.max(1, ...rows.map((row) => row.value));
  return h(
    "figure.chart",
    h("figcaption", title),
    h(
      "ol.ranking",
      rows.map(({ label, value, told }) =>
        h(
          "li",
          h("span.ranked", label),
          h("span.number", told),
          svg(
            "svg",
            { class: "bar", "aria-hidden": "true" },
            svg("rect", {
              class: "part-1",
              width: `${(100 * value) / most}%`,
              height: "100%",
              rx: 3,
            }),
          ),
        ),
      ),
    ),
  );
}
