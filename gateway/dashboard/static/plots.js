// Small plots, drawn by hand. They stretch with their column, so the words stand beside them, not in them.

import { h, s } from "./dom.js";
import { clock, moment, number } from "./format.js";

const HIGH = 100;
const names = []; // in the order in which they were met, so that a source keeps its colour

const colour = (name) => {
  if (!names.includes(name)) names.push(name);
  return `k-${names.indexOf(name) % 8}`;
};

export function legend(all) {
  const met = [...new Set(all)].sort();
  return h("ul", { class: "legend" }, met.map((name) => h("li", null, h("i", { class: colour(name) }), name)));
}

/** Stacked bars: *parts* of a point are numbers by name. */
export function bars({ title, said, points, step, parts, colours = {}, wide = false }) {
  const rows = points.map((point) => Object.entries(parts(point)).filter(([, value]) => value > 0));
  const most = Math.max(1, ...rows.map((row) => row.reduce((all, [, value]) => all + value, 0)));
  const drawn = rows.flatMap((row, place) => {
    let top = HIGH;
    return row.map(([name, value]) => {
      const high = (value / most) * HIGH;
      top -= high;
      return s("rect", { x: place + 0.1, y: top, width: 0.8, height: high, class: colours[name] ?? colour(name) });
    });
  });
  return plot({ title, said, points, step, drawn, most: number(most), wide, names: Object.entries(colours), words: (place) => rows[place].map(([name, value]) => `${name} ${number(value)}`).join(", ") || "nothing" });
}

/** One line, filled to its foot. */
export function line({ title, said, points, step, of, unit }) {
  const values = points.map(of);
  const most = Math.max(...values, 0) || 1;
  const path = values.map((value, place) => `${place + 0.5} ${(HIGH - (value / most) * HIGH).toFixed(2)}`).join(" L ");
  const drawn = [
    s("path", { d: `M 0.5 ${HIGH} L ${path} L ${values.length - 0.5} ${HIGH} Z`, class: "area" }),
    s("path", { d: `M ${path}`, class: "line", "vector-effect": "non-scaling-stroke" }),
  ];
  return plot({ title, said, points, step, drawn, most: Math.max(...values) > 0 ? unit(most) : "", words: (place) => unit(values[place]) });
}

function plot({ title, said, points, step, drawn, most, wide, words, names: parts = [] }) {
  const when = step >= 86400 / 4 ? moment : clock;
  const point_at = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = Math.min(points.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * points.length)));
    event.currentTarget.closest("figure").querySelector(".plot-said").textContent = `${when(points[place].at)}: ${words(place)}`;
  };
  const forget = (event) => {
    event.currentTarget.closest("figure").querySelector(".plot-said").textContent = said;
  };
  return h(
    "figure",
    { class: `plot ${wide ? "wide" : ""}` },
    h("figcaption", null, h("b", null, title), " ", h("span", { class: "plot-said" }, said)),
    h(
      "div",
      { class: "plot-box", onpointermove: point_at, onpointerleave: forget },
      s(
        "svg",
        { viewBox: `0 0 ${points.length} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${said}` },
        s("path", { d: `M 0 0 H ${points.length} M 0 ${HIGH / 2} H ${points.length}`, class: "grid", "vector-effect": "non-scaling-stroke" }),
        drawn,
      ),
      h("span", { class: "plot-most", "aria-hidden": "true" }, most),
    ),
    h("div", { class: "plot-foot", "aria-hidden": "true" }, h("span", null, when(points[0].at)), parts.map(([name, kind]) => h("span", null, h("i", { class: kind }), name)), h("span", null, "now")),
  );
}
