// Requests that run and that ran: for whom, served by whom, what was tried. Never what was said in them.

import { get, post, query } from "./api.js";
import { h } from "./dom.js";
import { clockExact, iso, moment, NONE, number, seconds } from "./format.js";
import { Asked, empty, explained, heading, pair, shown, state, trouble } from "./parts.js";

const PAGE = 50;
const MOST = 200; // rows that stay on the page while new ones come
const RUNNING = new Set(["waiting", "serving"]);

export function requests(page) {
  const chosen = { client: "", provider: "" };
  const all = new Asked(
    async () => {
      const rows = await get(query("requests", { limit: PAGE, ...chosen }));
      more = rows.length === PAGE;
      return rows;
    },
    () => page.draw(),
  );
  const names = { clients: [], providers: [] };
  const why = new Map(); // explanations by request
  let more = false;
  let opened = null;

  async function choices() {
    try {
      const [clients, sources] = await Promise.all([get("clients"), get("sources")]);
      names.clients = clients.map((one) => one.name);
      names.providers = sources.map((one) => one.name);
      page.draw();
    } catch {
      // the list is there without them
    }
  }

  async function older() {
    const last = all.value.at(-1);
    const rows = await page.doing(() => get(query("requests", { limit: PAGE, before: last.at, ...chosen })));
    if (!rows) return;
    const known = new Set(all.value.map((one) => one.id));
    all.value = [...all.value, ...rows.filter((one) => !known.has(one.id))];
    more = rows.length === PAGE;
    page.draw();
  }

  function heard(name, request) {
    if (name !== "request" || all.value === null) return;
    const place = all.value.findIndex((one) => one.id === request.id);
    if (place >= 0) all.value[place] = request;
    else if (fits(request)) all.value.unshift(request);
    if (all.value.length > MOST && opened === null) {
      all.value.length = MOST;
      more = true;
    }
  }

  const fits = (request) =>
    (!chosen.client || request.client === chosen.client) && (!chosen.provider || request.deployment?.startsWith(`${chosen.provider}/`));

  async function explain(request) {
    const asking = new Asked(() => post("explain", { model: request.asked, messages: [{ role: "user", content: "?" }] }), () => page.draw());
    why.set(request.id, asking);
    await asking.again();
  }

  function choose(kind, value) {
    chosen[kind] = value;
    all.again();
  }

  const toggle = (request) => {
    opened = opened === request.id ? null : request.id;
    page.draw();
  };

  return {
    open() {
      all.again();
      choices();
    },
    heard,
    view: () => [
      heading(
        "Requests",
        h("div", { class: "filters" }, select("Client", names.clients, chosen.client, (value) => choose("client", value)), select("Source", names.providers, chosen.provider, (value) => choose("provider", value))),
      ),
      shown(all, (rows) =>
        rows.length === 0
          ? empty("No request yet.", "Point a program at this gateway (", h("a", { href: "#connect" }, "Connect"), "), or ask something in the ", h("a", { href: "#playground" }, "Playground"), ".")
          : [
              h("p", { class: "dim" }, "Who asked, and what came of it. Prompts and answers are not kept."),
              h("ul", { class: "rows requests", "aria-label": "Requests" }, rows.map((one) => row(one, one.id === opened, toggle, why.get(one.id), explain))),
              more && h("p", null, h("button", { type: "button", class: "quiet", onclick: older }, "Show older ones")),
            ],
      ),
    ],
  };
}

function select(label, names, value, choose) {
  return h(
    "label",
    { class: "select" },
    h("span", null, label),
    h(
      "select",
      { onchange: (event) => choose(event.currentTarget.value) },
      h("option", { value: "" }, "all"),
      names.map((one) => h("option", { value: one, selected: one === value }, one)),
    ),
  );
}

const well = (request) => (RUNNING.has(request.state) ? "wait" : request.state === "served" ? "good" : request.state === "left" ? "" : "bad");

function row(request, open, toggle, asked, explain) {
  const running = RUNNING.has(request.state);
  return h(
    "li",
    { key: request.id, class: `row ${open ? "opened" : ""}` },
    h(
      "button",
      { type: "button", class: "row-head", "aria-expanded": String(open), onclick: () => toggle(request) },
      h("time", { datetime: iso(request.at) }, clockExact(request.at)),
      state(request.state.replaceAll("_", " "), well(request)),
      h("span", { class: "route" }, h("span", null, request.asked), h("span", { class: "arrow", "aria-label": "served by" }, " → "), h("b", null, request.deployment ?? (running ? "…" : "nobody"))),
      h("span", { class: "who" }, request.client),
      h(
        "span",
        { class: "figures" },
        request.attempts.length > 1 && h("span", { class: "wait-text" }, `${number(request.attempts.length)} attempts`),
        request.took === null ? null : h("span", null, seconds(request.took)),
        request.output_tokens === null ? null : h("span", null, `${number(request.prompt_tokens)} → ${number(request.output_tokens)}`, h("span", { class: "unseen" }, " tokens")),
      ),
    ),
    open && detail(request, asked, explain),
  );
}

function detail(request, asked, explain) {
  return h(
    "div",
    { class: "row-body" },
    h(
      "dl",
      { class: "pairs" },
      pair("At", moment(request.at)),
      pair("Operation", request.operation),
      pair("Status", request.status ?? NONE),
      pair("Model", request.model ?? NONE),
      pair("Waited for room", seconds(request.waited)),
      pair("First word after", seconds(request.first_content)),
      pair("Altogether", seconds(request.took)),
      pair("Tokens", `${number(request.prompt_tokens)} in, ${number(request.output_tokens)} out`),
      pair("Speed", request.tokens_per_second === null ? NONE : `${number(request.tokens_per_second)} tokens a second`),
      pair("Request", h("code", null, request.id)),
    ),
    request.attempts.length > 0 && [
      h("h3", null, "What was tried"),
      h(
        "ol",
        { class: "attempts" },
        request.attempts.map((one) => h("li", null, h("b", null, one.deployment), " ", state(one.outcome, one.outcome === "served" ? "good" : "wait"), one.message && h("p", { class: "dim" }, one.message))),
      ),
    ],
    asked
      ? [h("h3", null, `A request for ${request.asked}, now`), asked.value ? explained(asked.value) : asked.error ? trouble(asked.error) : h("p", { class: "dim" }, "Asking …")]
      : h("button", { type: "button", class: "quiet", onclick: () => explain(request) }, "Why this one?"),
  );
}
