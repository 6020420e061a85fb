// Each provider and the account there: how it is, what is used of it, and what a person can do.

import { ask, get, post, segment } from "./api.js";
import { away, h } from "./dom.js";
import { ago, plural } from "./format.js";
import { Asked, bar, empty, field, form, freeWords, heading, pair, shown, state, training } from "./parts.js";

export const WELL = { on: "good", starting: "wait", "no key": "", "key refused": "bad", shut: "bad", failing: "bad", off: "" };
const ORDER = ["key refused", "shut", "failing", "starting", "on", "no key", "off"];
const IDLE = new Set(["no key", "off"]);
const SHOWN = 4;

export function sources(page) {
  const all = new Asked(() => get("sources"), () => page.draw());
  const tried = new Map(); // what became of a key that was typed, by source
  let typing = null; // the source whose key is being typed

  const replace = (source) => {
    if (source) all.value = all.value?.map((one) => (one.name === source.name ? source : one)) ?? null;
  };

  async function act(source, verb, done) {
    replace(await page.doing(() => post(`sources/${segment(source.name)}/${verb}`), done));
    page.draw();
  }

  async function open(level) {
    await page.doing(() => post("buckets/open", { bucket: level.bucket }), "It is open again.");
    all.again();
  }

  async function key(source, typed, at) {
    const said = await page.doing(() => ask("PUT", `sources/${segment(source.name)}/key`, { key: typed }));
    if (!said) return;
    tried.set(source.name, said);
    if (said.accepted !== false) typing = null;
    at.reset();
    page.said(said.said);
    all.again();
  }

  async function forget(source) {
    await page.doing(() => ask("DELETE", `sources/${segment(source.name)}/key`), `The stored key of ${source.title} is forgotten.`);
    all.again();
  }

  const toggle = (source) => {
    typing = typing === source.name ? null : source.name;
    page.draw();
  };

  const cards = (list) =>
    h(
      "div",
      { class: "cards" },
      [...list].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.title.localeCompare(b.title)).map((source) =>
        card(source, { act, open, key, forget, toggle, now: page.overview?.now ?? 0, typing: typing === source.name, tried: tried.get(source.name) }),
      ),
    );

  return {
    open: () => all.again(),
    heard: (name, value) => name === "source" && (all.value?.some((one) => one.name === value.name) ? replace(value) : all.value && all.again()),
    view: () => [
      heading("Sources"),
      shown(all, (list) =>
        list.length === 0
          ? empty("No source is configured.", "Every source that is shipped is switched off in the configuration.")
          : [cards(list.filter((one) => !IDLE.has(one.state))), list.some((one) => IDLE.has(one.state)) && [h("h2", null, "Not in use"), cards(list.filter((one) => IDLE.has(one.state)))]],
      ),
    ],
  };
}

function card(source, doing) {
  const all = [...source.buckets].sort((a, b) => urgency(b, doing.now) - urgency(a, doing.now));
  const fullest = all.filter((one) => urgency(one, doing.now) > 0.011).slice(0, SHOWN);
  const others = all.filter((one) => !fullest.includes(one));
  const idle = IDLE.has(source.state);
  const keyed = source.key !== "none needed";
  return h(
    "article",
    { class: "card", key: source.name, "aria-label": source.title },
    h("header", null, h("h2", null, source.title), state(source.state, WELL[source.state] ?? "")),
    source.reason && h("p", { class: "reason" }, source.reason),
    source.remedy && h("p", { class: "remedy" }, h("b", null, "What to do: "), source.remedy),
    fullest.length > 0 && h("ul", { class: "limits" }, fullest.map((one) => bar(one, doing.now, doing.open))),
    others.length > 0 &&
      h(
        "details",
        null,
        h("summary", null, fullest.length ? plural(others.length, "further limit") : `${plural(others.length, "limit")}, nothing used yet`),
        h("ul", { class: "limits" }, others.map((one) => bar(one, doing.now, doing.open))),
      ),
    h(
      "details",
      { class: "facts" },
      h("summary", null, source.models ? `${plural(source.models, "model")}, ` : "", source.free ? `${freeWords(source.free)} ` : "", training(source.trains)),
      h(
        "dl",
        null,
        source.free && pair("Why it is free", source.free.because, source.free.source && [" (", away(source.free.source), ")"]),
        pair("Prompts", source.prompts),
        keyed && pair("Key", source.key === "set" ? `${source.key_variable}, from ${source.key_from}` : `${source.key_variable} is not set`),
        pair("Looked at", ago(source.looked_at)),
      ),
    ),
    doing.tried && h("p", { class: `note ${doing.tried.accepted === false ? "bad" : "next"}` }, doing.tried.said, doing.tried.stored && ` Stored in ${doing.tried.stored}.`),
    doing.typing && typed(source, doing),
    h(
      "footer",
      null,
      !idle && button("Refresh", source, () => doing.act(source, "refresh", `${source.title} was asked for its list.`)),
      (source.state === "shut" || source.state === "failing" || source.state === "key refused") &&
        button("Let in again", source, () => doing.act(source, "readmit", `${source.title} is let in again.`)),
      keyed && button(doing.typing ? "Close" : source.key === "set" ? "New key" : "Put in a key", source, () => doing.toggle(source)),
      doing.typing && source.key_from === "keys.env" && button("Forget the stored key", source, () => doing.forget(source)),
    ),
  );
}

const button = (text, source, act) => h("button", { type: "button", class: "quiet", onclick: act, "aria-label": `${text}: ${source.title}` }, text);

export function typed(source, doing) {
  return form(
    "Try and store it",
    [
      field(`Key of ${source.title}`, { name: "key", type: "password", required: true, spellcheck: "false" }),
      h("p", { class: "dim" }, "It is tried at once, and stored where only you can read it. ", source.get_a_key && away(source.get_a_key, "Make one")),
    ],
    (values, at) => doing.key(source, values.key.trim(), at),
  );
}

/** Closed limits first, then the fullest, then what counts for all of an account. */
function urgency(level, now) {
  const closed = level.closed_until !== null && level.closed_until > now ? 4 : 0;
  const share = level.limit ? level.used / level.limit : 0;
  return closed + share + (level.bucket.includes("/*/") ? 0.01 : 0);
}

