// Pieces that several tabs show.

import { h } from "./dom.js";
import { moment, NONE, number, plural, seconds, whenOpen } from "./format.js";

/** What *fetcher* gives, with what became of asking: {value, error, busy}. *changed* is called whenever that is new. */
export class Asked {
  constructor(fetcher, changed) {
    this.fetcher = fetcher;
    this.changed = changed;
    this.value = null;
    this.error = null;
    this.busy = false;
    this.turn = 0;
  }

  async again() {
    const turn = ++this.turn;
    this.busy = true;
    this.changed();
    try {
      const value = await this.fetcher();
      if (turn !== this.turn) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (turn !== this.turn) return;
      this.error = error;
    }
    this.busy = false;
    this.changed();
  }
}

/** *view* of what was asked for; before that a quiet placeholder, after a failure why, with a way to try again. */
export function shown(asked, view) {
  const failed = asked.error && trouble(asked.error, () => asked.again());
  if (asked.value !== null) return [failed, view(asked.value)];
  return failed ?? waiting();
}

export const waiting = () =>
  h("div", { class: "skeleton", role: "status" }, h("span", { class: "unseen" }, "Loading …"), h("i"), h("i"), h("i"));

export const trouble = (error, again) =>
  h(
    "div",
    { class: "note bad", role: "alert" },
    h("p", null, error.message),
    again && h("button", { type: "button", class: "quiet", onclick: again }, "Try again"),
  );

export const empty = (title, ...text) => h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", null, text));

export const heading = (title, ...beside) => h("div", { class: "heading" }, h("h1", null, title), beside);

/** A word with a dot whose colour says how well it is: "good", "wait", "bad" or "". */
export const state = (word, well) => h("span", { class: `state ${well}` }, word);

export const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);

const FREE = { proven: "proven to be free", promised: "promised to be free", "not knowable": "free, as far as can be known" };

export const freeWords = (free) => FREE[free.level] ?? free.level;

/** So much of a unit, as one counts it: a part of a request is one. */
const counted = (value, unit) => (value === null || unit === "dollars" ? number(value) : number(Math.ceil(value - 1e-6)));

const TRAINS = { yes: ["trains on prompts", "wait"], no: ["never trains", "good"], unknown: ["may train", "wait"] };

export function training(trains) {
  const [text, kind] = TRAINS[trains] ?? [trains, ""];
  return tag(text, kind);
}

/** "groq/openai/gpt-oss-120b/tokens/minute" → ["gpt-oss-120b", "tokens a minute"]. */
function named(level) {
  const parts = level.bucket.split("/");
  const period = parts.pop();
  const unit = parts.pop() ?? "";
  const model = parts.slice(1).join("/");
  const text = period === "in-flight" || unit === "in-flight" ? "at once" : `${unit} a ${period}`;
  return [model === "*" || model === "" ? "" : model, text];
}

/** One limit as a bar. *open* lifts its closing, where it is closed. */
export function bar(level, now, open) {
  const [model, text] = named(level);
  const closed = level.closed_until !== null && level.closed_until > now;
  const share = level.limit ? Math.min(1, level.used / level.limit) : 0;
  const left = level.limit === null ? null : Math.max(0, level.limit - level.used);
  const well = closed || share >= 1 ? "bad" : share > 0.8 ? "wait" : "good";
  const resets = level.unit !== "in-flight" && level.used > 0 && level.resets_at ? `resets ${whenOpen(level.resets_at)}` : "";
  return h(
    "li",
    { class: `limit ${well}`, key: level.bucket },
    h(
      "div",
      { class: "limit-words" },
      h("span", { class: "limit-name" }, model && h("b", null, model), model && " ", text),
      h("span", { class: "limit-count" }, `${counted(level.used, level.unit)} of ${number(level.limit)}`),
    ),
    h(
      "div",
      {
        class: "track",
        role: "meter",
        "aria-label": `${model} ${text}`.trim(),
        "aria-valuemin": 0,
        "aria-valuemax": level.limit ?? 0,
        "aria-valuenow": Math.min(level.used, level.limit ?? level.used),
        "aria-valuetext": `${counted(level.used, level.unit)} of ${number(level.limit)} used`,
      },
      h("i", { style: { width: `${(share * 100).toFixed(1)}%` } }),
    ),
    closed
      ? h(
          "p",
          { class: "limit-note" },
          `Closed until ${moment(level.closed_until)}${level.closed_because ? `: ${level.closed_because}` : ""}. `,
          open && h("button", { type: "button", class: "link", onclick: () => open(level) }, "Open it now"),
        )
      : resets && h("p", { class: "limit-note" }, left === null ? resets : `${level.unit === "dollars" ? number(left) : number(Math.floor(left + 1e-6))} left, ${resets}`),
  );
}

/** Text to take away, with a button that copies it. */
export function copyable(text, said, key) {
  return h(
    "div",
    { class: "copyable", key },
    h("pre", { tabindex: "0" }, h("code", null, text)),
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: async () => {
          try {
            await navigator.clipboard.writeText(text);
            said("Copied.");
          } catch {
            said("The browser does not let the page copy: select the text instead.");
          }
        },
      },
      "Copy",
    ),
  );
}

/** An explanation of the router, in words. */
export function explained(told) {
  const needs = [...told.needs.capabilities, ...(told.needs.no_train ? ["no training on prompts"] : [])];
  const first = told.ranked[0];
  return h(
    "div",
    { class: "why" },
    told.chosen
      ? h("p", null, h("b", null, told.chosen), " would be asked first", first ? `: ${reasons(first)}.` : ".")
      : h("p", null, h("b", null, "Nothing can serve it now. "), (told.expected?.waits ? told.expected.said : told.told?.message) ?? ""),
    h(
      "p",
      { class: "dim" },
      `The request needs ${needs.length ? needs.join(", ") : "nothing special"}; it was taken to be at most `,
      `${number(told.needs.prompt_tokens)} tokens of prompt and ${number(told.needs.output_tokens)} of answer.`,
    ),
    told.ranked.length > 1 &&
      h(
        "details",
        null,
        h("summary", null, `${plural(told.ranked.length - 1, "other")} could serve it, too`),
        h("ol", { class: "plain", start: 2 }, told.ranked.slice(1).map((one) => h("li", null, h("b", null, one.deployment), `: ${reasons(one)}`))),
      ),
    told.excluded.length > 0 &&
      h(
        "details",
        null,
        h("summary", null, `${plural(told.excluded.length, "deployment")} left out, and why`),
        h(
          "ul",
          { class: "plain" },
          told.excluded.slice(0, 60).map((one) =>
            h("li", null, h("b", null, one.deployment), `: ${one.reason || one.kind}`, one.until ? `, opens ${whenOpen(one.until)}` : ""),
          ),
          told.excluded.length > 60 && h("li", { class: "dim" }, `and ${plural(told.excluded.length - 60, "more", "more")}`),
        ),
      ),
  );
}

function reasons(one) {
  const quick = one.seconds === null ? "its speed is not known yet" : `a typical answer takes ${seconds(one.seconds)}`;
  const price = one.price > 0.02 ? "others will want its quota" : one.price < -0.02 ? "its quota would be lost otherwise" : "its quota is plentiful";
  const parts = [`it fits to ${number(Math.round(one.fitness * 100))} of 100`, price, quick];
  if (one.warm) parts.push("it has this conversation in its cache");
  if (one.last_resort) parts.push("it is the last resort");
  return parts.join(", ");
}

export const pair = (term, ...value) => h("div", { class: "pair" }, h("dt", null, term), h("dd", null, value.length ? value : NONE));

/** A form of a single step: *fields*, a button that says *verb*, *act* with what was filled in, and what became of it. */
export function form(verb, fields, act, kind = "") {
  return h(
    "form",
    {
      class: `form ${kind}`,
      onsubmit: (event) => {
        event.preventDefault();
        act(Object.fromEntries(new FormData(event.currentTarget)), event.currentTarget);
      },
    },
    fields,
    h("div", { class: "form-end" }, h("button", { type: "submit" }, verb)),
  );
}

export const field = (label, properties, hint) =>
  h("label", { class: "field" }, h("span", null, label), h("input", { autocomplete: "off", ...properties }), hint && h("small", null, hint));

export const tick = (label, properties) => h("label", { class: "tick" }, h("input", { type: "checkbox", ...properties }), h("span", null, label));
