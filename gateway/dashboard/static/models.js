// Every deployment: what it can do, why it is free, whether it can be used now.

import { get, post, query } from "./api.js";
import { away, h } from "./dom.js";
import { ago, plural, short, whenOpen } from "./format.js";
import { Asked, empty, freeWords, heading, pair, shown, state, tag, training } from "./parts.js";

const AT_ONCE = 100;
const TYPING = 180;

export function models(page) {
  const wanted = { q: "", available: "" };
  const all = new Asked(() => get(query("models", wanted)), () => page.draw());
  let most = AT_ONCE;
  let later = 0;
  let opened = null;

  function search(text) {
    wanted.q = text.trim();
    most = AT_ONCE;
    clearTimeout(later);
    later = setTimeout(() => all.again(), TYPING);
  }

  async function readmit(model) {
    await page.doing(() => post("models/readmit", { name: model.deployment }), `${model.deployment} is let in again.`);
    all.again();
  }

  const toggle = (model) => {
    opened = opened === model.deployment ? null : model.deployment;
    page.draw();
  };

  return {
    open: () => all.again(),
    heard: (name) => name === "change" && all.again(),
    view: () => [
      heading(
        "Models",
        h(
          "div",
          { class: "filters" },
          h("label", { class: "search" }, h("span", { class: "unseen" }, "Search models"), h("input", { type: "search", placeholder: "Search models", value: "", oninput: (event) => search(event.currentTarget.value) })),
          h(
            "label",
            { class: "tick" },
            h("input", {
              type: "checkbox",
              onchange: (event) => {
                wanted.available = event.currentTarget.checked ? "true" : "";
                all.again();
              },
            }),
            h("span", null, "only what can be used now"),
          ),
        ),
      ),
      shown(all, (list) =>
        list.length === 0
          ? empty(wanted.q ? "No model has that name." : "No model yet.", wanted.q ? "Try a shorter part of it." : "Sources tell theirs a moment after the start.")
          : [
              h("p", { class: "dim", role: "status" }, `${plural(list.length, "deployment")}, ${plural(list.filter((one) => one.available).length, "usable", "usable")} now`),
              h("ul", { class: "rows models", "aria-label": "Models" }, list.slice(0, most).map((one) => row(one, one.deployment === opened, toggle, readmit))),
              list.length > most &&
                h("p", null, h("button", { type: "button", class: "quiet", onclick: () => { most += AT_ONCE * 2; page.draw(); } }, `Show more of ${plural(list.length, "deployment")}`)),
            ],
      ),
    ],
  };
}

const SAID = { tools: "tools", vision: "pictures", audio: "sound", reasoning: "reasoning", json_schema: "schemas", file: "files" };

/** What one would choose a model for; the rest is told when it is opened. */
const tagsOf = (model) => [
  ...(model.operations.includes("chat") ? Object.keys(SAID).filter((one) => model.capabilities.includes(one)).map((one) => SAID[one]) : []),
  ...model.operations.filter((one) => one !== "chat"),
];

function row(model, open, toggle, readmit) {
  return h(
    "li",
    { key: model.deployment, class: `row ${open ? "opened" : ""}` },
    h(
      "button",
      { type: "button", class: "row-head", "aria-expanded": String(open), onclick: () => toggle(model) },
      h("span", { class: "route" }, h("b", null, model.model), " ", h("span", { class: "dim" }, model.provider)),
      h("span", { class: "tags" }, tagsOf(model).map((one) => tag(one))),
      h("span", { class: "figures" }, model.context === null ? "" : h("span", null, short(model.context), h("span", { class: "unseen" }, " tokens of context"))),
      model.available ? state("usable", "good") : state(model.opens_at ? `opens ${whenOpen(model.opens_at)}` : "not now", "wait"),
    ),
    open &&
      h(
        "div",
        { class: "row-body" },
        !model.available && h("p", { class: "reason" }, model.why_not),
        h(
          "dl",
          { class: "pairs" },
          pair("Name", h("code", null, model.deployment)),
          pair("Can", model.capabilities.length ? model.capabilities.join(", ") : "text"),
          pair("Context", short(model.context)),
          pair("Longest answer", short(model.max_output)),
          pair("Prompts", training(model.trains)),
          pair(freeWords(model.free), model.free.because, model.free.source && [" (", away(model.free.source), ")"], model.free.since && h("span", { class: "dim" }, `, read ${ago(model.free.since)}`)),
        ),
        !model.available && h("button", { type: "button", class: "quiet", onclick: () => readmit(model) }, "Let it in again"),
      ),
  );
}
