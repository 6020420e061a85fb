// How a program is pointed at this gateway.

import { get } from "./api.js";
import { h } from "./dom.js";
import { Asked, copyable, empty, heading, shown } from "./parts.js";

export function connect(page) {
  const all = new Asked(() => get("connect"), () => page.draw());
  const program = () => location.hash.split("/")[1] ?? "";
  return {
    open: () => all.value === null && all.again(),
    view: () => [
      heading("Connect"),
      h("p", null, "Any program that speaks to OpenAI works with this address. Where clients have keys, give it the key of one; else any word will do."),
      copyable(new URL("v1", document.baseURI.split("#")[0]).href, page.said),
      shown(all, (list) => {
        if (list.length === 0) return empty("No program is described.", "");
        const chosen = list.find((one) => encodeURIComponent(one.program) === program()) ?? list[0];
        return [
          h("nav", { class: "chips", "aria-label": "Programs" }, list.map((one) => h("a", { href: `#connect/${encodeURIComponent(one.program)}`, "aria-current": one === chosen ? "true" : null }, one.title))),
          how(chosen, page),
        ];
      }),
    ],
  };
}

/** "Run `x`." with x as code. */
const marked = (text) => text.split("`").map((part, place) => (place % 2 ? h("code", null, part) : part));

function how(view, page) {
  const variables = Object.entries(view.environment);
  return h(
    "section",
    { class: "how", key: view.program },
    h("h2", null, view.title),
    Object.keys(view.files).length > 0 && h("p", null, h("code", null, `freeway connect ${view.program}`), " writes this, and ", h("code", null, "--undo"), " takes it back."),
    Object.entries(view.files).map(([path, text]) => [h("h3", { key: path }, path), copyable(text, page.said, `file ${path}`)]),
    variables.length > 0 && [h("h3", null, "In its environment"), copyable(variables.map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'`).join("\n"), page.said, "environment")],
    view.steps.length > 0 && h("ol", { class: "steps" }, view.steps.map((one) => h("li", null, marked(one)))),
  );
}
