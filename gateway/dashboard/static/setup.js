// What each source would give, where to get its key, and a place to put it.

import { ask, get, post, segment } from "./api.js";
import { away, h } from "./dom.js";
import { Asked, empty, heading, pair, shown, state } from "./parts.js";
import { typed } from "./sources.js";

export function setup(page) {
  const all = new Asked(() => get("setup"), () => page.draw());
  const settings = new Asked(() => get("config"), () => page.draw());
  const tried = new Map();

  async function key(source, value, at) {
    const said = await page.doing(() => ask("PUT", `sources/${segment(source.name)}/key`, { key: value }));
    if (!said) return;
    tried.set(source.name, said);
    at.reset();
    page.said(said.said);
    all.again();
  }

  async function reload() {
    const told = await page.doing(() => post("reload"));
    if (told) page.said(told.changed.length ? `Read again; changed: ${told.changed.join(", ")}.` : "Read again; nothing has changed.");
    settings.again();
  }

  return {
    open() {
      all.again();
      settings.again();
    },
    view: () => [
      heading("Set-up", h("button", { type: "button", class: "quiet", onclick: reload }, "Read the files again")),
      h("p", null, "Each key makes more answers free. A key is tried when you paste it, and stored where only you can read it."),
      shown(all, (list) =>
        list.length === 0
          ? empty("Nothing to set up.", "")
          : h("div", { class: "cards" }, [...list].sort((a, b) => Number(a.key === "set") - Number(b.key === "set")).map((one) => card(one, { key, tried: tried.get(one.name) }))),
      ),
      h("h2", null, "Settings of your own"),
      shown(settings, (rows) =>
        rows.length === 0
          ? h("p", { class: "dim" }, "All is as it was shipped.")
          : h(
              "div",
              { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings" },
              h(
                "table",
                null,
                h("thead", null, h("tr", null, h("th", { scope: "col" }, "Setting"), h("th", { scope: "col" }, "Value"), h("th", { scope: "col" }, "From"))),
                h("tbody", null, rows.map((one) => h("tr", null, h("td", null, h("code", null, one.key)), h("td", null, h("code", null, one.value)), h("td", null, one.source)))),
              ),
            ),
      ),
    ],
  };
}

function card(source, doing) {
  const keyed = source.key !== "none needed";
  return h(
    "article",
    { class: "card", key: source.name, "aria-label": source.title },
    h("header", null, h("h2", null, source.title), state(source.key === "set" ? "key set" : source.key === "missing" ? "no key" : "no key needed", source.key === "missing" ? "" : "good")),
    h("dl", null, pair("Gives", source.gives), pair("Prompts", source.trains), pair("Could cost", source.could_cost)),
    source.near_misses.length > 0 && h("p", { class: "note wait" }, `${source.near_misses.join(", ")} is set, but this source reads ${source.key_variable}.`),
    doing.tried && h("p", { class: `note ${doing.tried.accepted === false ? "bad" : "next"}` }, doing.tried.said, doing.tried.stored && ` Stored in ${doing.tried.stored}.`),
    keyed && source.get_a_key && h("p", null, away(source.get_a_key, "Get a free key")),
    keyed && h("details", null, h("summary", null, source.key === "set" ? "Another key for " : "I have a key for ", h("code", null, source.key_variable)), typed({ ...source, get_a_key: "" }, doing)),
  );
}
