// Those that may call: make one, limit it, give it another key, end it. A key is shown once.

import { ask, get, post, segment } from "./api.js";
import { h } from "./dom.js";
import { ago, number, plural, whenOpen, span } from "./format.js";
import { Asked, copyable, empty, field, form, heading, pair, shown, tag, tick } from "./parts.js";

const words = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);
const orNone = (text) => (text === "" ? null : Number(text));

export function clients(page) {
  const all = new Asked(() => get("clients"), () => page.draw());
  let making = false;
  let limiting = null;
  let ending = null; // the client whose end waits for a second word
  let key = null; // one that was made just now

  async function make(values, at) {
    const wanted = {
      name: values.name.trim(),
      limits: words(values.limits),
      wait: orNone(values.wait),
      max_wait: orNone(values.max_wait),
      share: values.share === "" ? null : Number(values.share) / 100,
      expires: values.expires ? new Date(`${values.expires}T00:00:00`).getTime() / 1000 : null,
      no_train: values.no_train === "on",
      priority: values.priority,
    };
    const made = await page.doing(() => post("clients", wanted), `${wanted.name} may call now.`);
    if (!made) return;
    key = made;
    making = false;
    at.reset();
    all.again();
  }

  async function limit(client, values) {
    const changed = await page.doing(() => ask("PATCH", `clients/${segment(client.name)}`, { limits: words(values.limits) }), `${client.name} is limited.`);
    if (!changed) return;
    limiting = null;
    all.again();
  }

  async function end(client) {
    if (ending !== client.name) {
      ending = client.name;
      page.draw();
      return;
    }
    ending = null;
    await page.doing(() => ask("DELETE", `clients/${segment(client.name)}`), `${client.name} may no longer call.`);
    all.again();
  }

  async function rotate(client) {
    const made = await page.doing(() => post(`clients/${segment(client.name)}/rotate`), `${client.name} has another key; the old one is refused.`);
    if (made) key = made;
    page.draw();
  }

  const set = (change) => {
    change();
    page.draw();
  };
  const doing = {
    limit,
    end,
    rotate,
    keep: () => set(() => { ending = null; }),
    toggle: (client) => set(() => { limiting = limiting === client.name ? null : client.name; }),
  };

  return {
    open() {
      key = null;
      all.again();
    },
    view: () => [
      heading("Clients", h("button", { type: "button", "aria-expanded": String(making), onclick: () => set(() => { making = !making; }) }, making ? "Close" : "New client")),
      key && shownOnce(key, page, () => set(() => { key = null; })),
      making && makes(make),
      shown(all, (list) =>
        list.length === 0
          ? empty("No client has a key of its own.", "As long as the gateway listens on this machine alone, programs here need none.")
          : h("div", { class: "cards" }, list.map((one) => card(one, doing, limiting === one.name, ending === one.name))),
      ),
    ],
  };
}

function shownOnce(key, page, done) {
  return h(
    "section",
    { class: "note next once", key: "once", "aria-label": "The new key" },
    h("p", null, h("b", null, `The key of ${key.name}`), " is shown once. Copy it now: only its hash is kept."),
    copyable(key.key, page.said),
    h("button", { type: "button", class: "quiet", onclick: done }, "I have it"),
  );
}

function makes(make) {
  return h(
    "section",
    { class: "card", key: "make", "aria-label": "New client" },
    form("Make it", [
      h(
        "div",
        { class: "fields" },
        field("Name", { name: "name", required: true, pattern: "[A-Za-z0-9._\\-]+", maxlength: 64 }, "letters, digits, dots and dashes"),
        field("Limits", { name: "limits", placeholder: "20/minute, 500/day" }, "also 200000 tokens/day; none: no limit of its own"),
        field("Waits for room, in seconds", { name: "wait", type: "number", min: 0 }, "where the request does not say"),
        field("Longest wait, in seconds", { name: "max_wait", type: "number", min: 0 }),
        field("Share of scarce quota, in %", { name: "share", type: "number", min: 1, max: 100 }, "above it, others go first"),
        field("Expires", { name: "expires", type: "date" }),
        h("label", { class: "field" }, h("span", null, "Priority"), h("select", { name: "priority" }, ["normal", "high", "low"].map((one) => h("option", { value: one }, one)))),
      ),
      tick("Only sources that do not train on prompts", { name: "no_train" }),
    ], make),
  );
}

function card(client, doing, limiting, ending) {
  return h(
    "article",
    { class: "card", key: client.name, "aria-label": client.name },
    h("header", null, h("h2", null, client.name), client.declared && tag("in the configuration file"), client.no_train && tag("no training", "good"), client.priority !== "normal" && tag(`${client.priority} priority`)),
    h("p", null, `${plural(client.requests, "request")} and ${plural(client.tokens, "token")} in the last 24 hours, ${client.last_seen === null ? "not seen yet" : `last seen ${ago(client.last_seen)}`}`),
    client.limits.length > 0 &&
      h(
        "ul",
        { class: "limits" },
        client.limits.map((one) => used(one)),
      ),
    h(
      "dl",
      { class: "pairs" },
      client.wait !== null && pair("Waits", span(client.wait)),
      client.max_wait !== null && pair("Longest wait", span(client.max_wait)),
      client.share !== null && pair("Share of scarce quota", `${number(client.share * 100)} %`),
      client.expires !== null && pair("Expires", whenOpen(client.expires)),
      client.models.length > 0 && pair("Models", client.models.join(", ")),
      client.providers.length > 0 && pair("Sources", client.providers.join(", ")),
    ),
    limiting &&
      form("Set limits", field(`Limits of ${client.name}`, { name: "limits", value: client.limits.map((one) => one.limit).join(", ") }, "empty: none of its own"), (values) => doing.limit(client, values)),
    client.declared
      ? h("p", { class: "dim" }, "Change it in the configuration file.")
      : h(
          "footer",
          null,
          button(limiting ? "Close" : "Limit", client, () => doing.toggle(client)),
          button("Another key", client, () => doing.rotate(client)),
          button(ending ? "Revoke for good" : "Revoke", client, () => doing.end(client), ending ? "danger" : "quiet"),
          ending && button("Keep", client, doing.keep),
        ),
  );
}

function used(limit) {
  const all = limit.used + limit.remaining;
  const share = all > 0 ? Math.min(1, limit.used / all) : 0;
  return h(
    "li",
    { class: `limit ${share >= 1 ? "bad" : share > 0.8 ? "wait" : "good"}` },
    h("div", { class: "limit-words" }, h("span", { class: "limit-name" }, limit.limit), h("span", { class: "limit-count" }, `${number(limit.used)} used`)),
    h(
      "div",
      { class: "track", role: "meter", "aria-label": limit.limit, "aria-valuemin": 0, "aria-valuemax": all, "aria-valuenow": limit.used },
      h("i", { style: { width: `${(share * 100).toFixed(1)}%` } }),
    ),
    limit.used > 0 && limit.resets_at && h("p", { class: "limit-note" }, `resets ${whenOpen(limit.resets_at)}`),
  );
}

const button = (text, client, act, kind = "quiet") => h("button", { type: "button", class: kind, onclick: act, "aria-label": `${text}: ${client.name}` }, text);
