// What is left today, what it cost, and how the last hours went.

import { get } from "./api.js";
import { h } from "./dom.js";
import { dollars, moment, number, plural, seconds, now } from "./format.js";
import { Asked, shown, waiting } from "./parts.js";
import { bars, legend, line } from "./plots.js";

const WINDOWS = [
  [6, "6 hours"],
  [24, "24 hours"],
  [168, "7 days"],
];
const FEWEST = 24; // points of a plot, where there are so many
const OFTEN = 60; // seconds after which the plots are asked for again
const WORDS = {
  chat: "answers",
  tools: "with tools",
  vision: "with pictures",
  audio: "with sound",
  private: "kept private",
  embeddings: "of embeddings",
};

export function today(page) {
  let hours = 24;
  let asked_at = 0;
  const series = new Asked(() => get(`series?hours=${hours}`), () => page.draw());

  function again() {
    asked_at = now();
    series.again();
  }

  function choose(wanted) {
    hours = wanted;
    again();
  }

  return {
    open: again,
    heard: (name) => name === "overview" && now() - asked_at > OFTEN && !document.hidden && again(),
    view: () =>
      page.overview
        ? [sentence(page.overview), steps(page.overview), tiles(page.overview), plots(series, hours, choose)]
        : waiting(),
  };
}

function sentence(overview) {
  const chat = overview.left.find((one) => one.capability === "chat");
  return h(
    "header",
    { class: "hero" },
    h("h1", null, headline(overview, chat)),
    chat?.answers === null && h("p", { class: "hero-said" }, chat.said),
    h(
      "p",
      { class: "hero-line" },
      h("span", { class: overview.spent > 0 ? "alarm" : "calm" }, `Spent ${dollars(overview.spent, 6)}`),
      h("span", null, `saved ${dollars(overview.saved)}`),
      overview.credit > 0 && h("span", null, `${dollars(overview.credit, 4)} of free credit used`),
    ),
  );
}

function headline(overview, chat) {
  if (overview.status === "no source") return "No source yet";
  if (overview.status === "starting") return "Asking the sources what is free";
  if (chat && chat.answers === 0 && chat.until === null) return chat.said[0].toUpperCase() + chat.said.slice(1);
  const until = chat?.until ? ` until ${moment(chat.until)}` : " today";
  if (!chat || chat.answers === 0) return ["No answers ", h("b", null, "left"), until];
  return chat.answers === null ? ["Answers ", h("b", null, "without end")] : ["About ", h("b", null, number(chat.answers)), ` more answers${until}`];
}

function steps(overview) {
  return [
    overview.next_step && h("p", { class: "note next" }, h("b", null, "Next: "), overview.next_step),
    overview.status === "no source" && h("p", { class: "note next" }, h("a", { href: "#setup" }, "Set-up"), " has the free sources, and a place for the key of each."),
    overview.problems.length > 0 && h("ul", { class: "note wait problems" }, overview.problems.map((one) => h("li", null, one))),
  ];
}

function tiles(overview) {
  const others = overview.left.filter((one) => one.capability !== "chat");
  return h(
    "dl",
    { class: "tiles" },
    others.map((one) => tile(WORDS[one.capability] ?? one.capability, one.answers === null ? "no end" : number(one.answers), one.answers === null ? one.said : one.until && `until ${moment(one.until)}`)),
    tile("being served", number(overview.live), overview.waiting ? `${number(overview.waiting)} waiting` : "nobody waits"),
  );
}

const tile = (term, value, note) => h("div", { class: "tile" }, h("dt", null, term), h("dd", null, h("b", null, value), note && h("small", null, note)));

function plots(series, hours, choose) {
  return h(
    "section",
    { class: "plots" },
    h(
      "div",
      { class: "heading" },
      h("h2", null, "The last hours"),
      h(
        "div",
        { class: "choice", role: "group", "aria-label": "How far back" },
        WINDOWS.map(([one, text]) => h("button", { type: "button", "aria-pressed": String(one === hours), onclick: () => choose(one) }, text)),
      ),
    ),
    shown(series, ({ points, seconds: step }) =>
      points.some(active) ? figures(lately(points), step) : h("p", { class: "dim" }, "Nothing has happened yet."),
    ),
  );
}

const active = (point) => point.refused > 0 || point.retried > 0 || point.waiters > 0 || [point.served, point.used, point.lost].some((one) => Object.keys(one).length > 0);

/** From a little before the first thing that happened: a gateway that was just started has no long past. */
const lately = (points) => points.slice(Math.max(0, Math.min(points.findIndex(active) - 2, points.length - FEWEST)));

function figures(points, step) {
  const sum = (of) => points.reduce((total, point) => total + of(point), 0);
  const waiters = sum((point) => point.waiters);
  const waited = waiters ? sum((point) => point.waited * point.waiters) / waiters : 0;
  const served = sum((point) => Object.values(point.served).reduce((all, one) => all + one, 0));
  const used = sum((point) => Object.values(point.used).reduce((all, one) => all + one, 0));
  const lost = sum((point) => Object.values(point.lost).reduce((all, one) => all + one, 0));
  return [
    bars({ title: "Requests", said: `${number(served)} served`, points, step, parts: (point) => point.served, wide: true }),
    legend(points.flatMap((point) => Object.keys(point.served))),
    h(
      "div",
      { class: "plot-grid" },
      bars({
        title: "Refusals no caller saw",
        said: `${number(sum((point) => point.retried))} passed over, ${number(sum((point) => point.refused))} told`,
        points,
        step,
        parts: (point) => ({ "passed over": point.retried, "told to a caller": point.refused }),
        colours: { "passed over": "k-good", "told to a caller": "k-bad" },
      }),
      line({ title: "Waits", said: waiters ? `${plural(waiters, "request")} waited ${seconds(waited)}` : "nobody waited", points, step, of: (point) => point.waited, unit: seconds }),
      bars({
        title: "Tokens",
        said: `${number(sum((point) => point.prompt_tokens))} in, ${number(sum((point) => point.output_tokens))} out`,
        points,
        step,
        parts: (point) => ({ prompt: point.prompt_tokens, answer: point.output_tokens }),
        colours: { prompt: "k-0", answer: "k-1" },
      }),
      bars({
        title: "Daily quota",
        said: `${number(used)} used, ${number(lost)} lost at reset`,
        points,
        step,
        parts: (point) => ({
          used: Object.values(point.used).reduce((all, one) => all + one, 0),
          "lost at reset": Object.values(point.lost).reduce((all, one) => all + one, 0),
        }),
        colours: { used: "k-good", "lost at reset": "k-wait" },
      }),
    ),
  ];
}
