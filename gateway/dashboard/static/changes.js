// What appeared, vanished, became paid or lost an ability.

import { get } from "./api.js";
import { h } from "./dom.js";
import { clock, dayOf, iso } from "./format.js";
import { Asked, empty, heading, shown, state } from "./parts.js";

const WELL = { appeared: "good", "capability gained": "good", vanished: "", "became paid": "bad", charged: "bad", withdrawn: "wait", "capability lost": "wait", "limit changed": "wait" };
const MOST = 300;

export function changes(page) {
  const all = new Asked(() => get("changes?limit=200"), () => page.draw());
  return {
    open: () => all.again(),
    heard(name, change) {
      if (name === "change" && all.value !== null) all.value = [change, ...all.value].slice(0, MOST);
    },
    view: () => [
      heading("Changes", h("a", { class: "button quiet", href: "changes.atom" }, "Atom feed")),
      shown(all, (list) => (list.length === 0 ? empty("Nothing has changed yet.", "What appears, vanishes or becomes paid is told here.") : days(list))),
    ],
  };
}

function days(list) {
  const by_day = new Map();
  for (const one of list) {
    const day = dayOf(one.at);
    if (!by_day.has(day)) by_day.set(day, []);
    by_day.get(day).push(one);
  }
  return [...by_day].map(([day, changed]) =>
    h(
      "section",
      { class: "day", key: day },
      h("h2", null, day),
      h(
        "ul",
        { class: "rows" },
        changed.map((one) =>
          h(
            "li",
            { class: "row change" },
            h("time", { datetime: iso(one.at) }, clock(one.at)),
            state(one.kind, WELL[one.kind] ?? ""),
            h("span", { class: "route" }, h("b", null, one.name), one.detail && h("span", { class: "dim" }, ` ${one.detail}`)),
          ),
        ),
      ),
    ),
  );
}
