// The page: which tab is shown, whether the gateway is there, who is signed in. Tabs say what they show.

import { ask, get, Live, post } from "./api.js";
import { h, render } from "./dom.js";
import { now, number, setClock, span } from "./format.js";
import { field, form, heading, trouble, waiting } from "./parts.js";
import { changes } from "./changes.js";
import { clients } from "./clients.js";
import { connect } from "./connect.js";
import { models } from "./models.js";
import { playground } from "./playground.js";
import { requests } from "./requests.js";
import { setup } from "./setup.js";
import { sources } from "./sources.js";
import { today } from "./today.js";

const TABS = [
  ["today", "Today", today],
  ["sources", "Sources", sources],
  ["requests", "Requests", requests],
  ["models", "Models", models],
  ["changes", "Changes", changes],
  ["clients", "Clients", clients],
  ["playground", "Playground", playground],
  ["connect", "Connect", connect],
  ["setup", "Set-up", setup],
];
const STANDING = { live: "Live", offline: "The gateway does not answer", paused: "Paused", starting: "Connecting" };
const DRAW_EVERY = 250; // milliseconds between two drawings that nobody asked for
const TICK = 20_000;

const main = document.getElementById("main");
const made = new Map();

const page = {
  overview: null,
  session: null, // {signed_in, needs_key, said}
  refused: null, // why the session could not be had
  standing: "starting",

  /** Draw soon: at once for a person, now and then for what happens by itself. */
  draw(unasked = false) {
    if (drawing) return;
    const wait = unasked ? Math.max(0, DRAW_EVERY - (performance.now() - drawn)) : 0;
    drawing = true;
    setTimeout(() => requestAnimationFrame(draw), wait);
  },

  /** Told to a screen reader, and shown for a moment. */
  said(text) {
    const said = document.getElementById("said");
    said.textContent = text;
    said.className = "toast";
    clearTimeout(said.later);
    said.later = setTimeout(() => {
      said.className = "unseen";
    }, 5000);
  },

  /** Do *act*, and say what came of it: *done*, or why not. */
  async doing(act, done) {
    try {
      const value = await act();
      if (done) page.said(done);
      return value;
    } catch (error) {
      if (error.status === 401) await enter();
      page.said(error.message);
      return null;
    } finally {
      page.draw();
    }
  },

  tab: (id) => made.get(id),
};

let drawing = false;
let drawn = 0;

function draw() {
  drawing = false;
  drawn = performance.now();
  document.title = `${TABS.find(([id]) => id === current())[1]} · Freeway`;
  drawRail();
  render(main, ...drawable());
}

/** What is to be shown; a mistake in one tab takes no other along, and is not mute. */
function drawable() {
  try {
    return content();
  } catch (error) {
    console.error(error);
    return [heading("This cannot be shown"), trouble(new Error(`The page has a mistake here: ${error.message}`))];
  }
}

function content() {
  if (page.refused) return [heading("Freeway"), trouble(page.refused, enter)];
  if (!page.session) return [waiting()];
  if (!page.session.signed_in) return [page.session.needs_key ? signIn() : shut()];
  const offline =
    page.standing === "offline" &&
    h("p", { class: "note wait offline", role: "alert" }, "The gateway does not answer. What you see is the last that was known; it is asked again all the time.");
  return [offline, h("div", { class: `tab ${offline ? "stale" : ""}`, key: current() }, tabShown().view())];
}

const current = () => {
  const id = location.hash.slice(1).split("/")[0];
  return TABS.some(([one]) => one === id) ? id : "today";
};

function tabShown() {
  const id = current();
  if (!made.has(id)) made.set(id, TABS.find(([one]) => one === id)[2](page));
  return made.get(id);
}

const isIn = () => page.session?.signed_in;

function drawRail() {
  const links = TABS.map(([id, title]) => h("a", { href: `#${id}`, "aria-current": id === current() ? "page" : null }, title));
  render(document.getElementById("tabs"), isIn() ? links : []);
  render(
    document.getElementById("standing"),
    isIn() && h("p", { class: `standing-word ${page.standing}` }, STANDING[page.standing]),
    page.overview && h("p", { class: "dim" }, `Version ${page.overview.version}`, h("br"), `running for ${span(now() - page.overview.started)}`, page.overview.replicas > 1 && [h("br"), `${number(page.overview.replicas)} gateways`]),
    isIn() && page.session.needs_key && h("button", { type: "button", class: "link", onclick: leave }, "Sign out"),
  );
}

// ── signing in ──

const shut = () => h("section", { class: "sign-in", key: "shut" }, h("h1", null, "Not from here"), h("p", null, page.session.said));

let wrong = null;

function signIn() {
  return h(
    "section",
    { class: "sign-in", key: "sign-in" },
    h("h1", null, "Sign in"),
    h("p", null, "This page shows who calls and what is set. It wants the admin key, ", h("code", null, "FREEWAY_ADMIN_KEY"), "."),
    wrong && trouble(wrong),
    form("Sign in", field("Admin key", { name: "key", type: "password", required: true, autocomplete: "current-password" }), async ({ key }) => {
      try {
        await post("session", { key });
        wrong = null;
        await enter();
      } catch (error) {
        wrong = error;
      }
      page.draw();
    }),
  );
}

async function enter() {
  try {
    page.session = await get("session");
    page.refused = null;
    if (isIn()) {
      await fresh();
      live.open();
      tabShown().open?.();
    } else {
      live.close();
    }
  } catch (error) {
    page.refused = error;
    if (error.status === 0) setTimeout(() => page.refused && enter(), 3000);
  }
  page.draw();
}

async function leave() {
  await page.doing(() => ask("DELETE", "session"));
  made.clear();
  page.overview = null;
  await enter();
}

async function fresh() {
  known(await get("overview"));
}

function known(overview) {
  setClock(overview.now);
  page.overview = overview;
}

// ── what happens ──

const live = new Live(
  (name, value) => {
    if (name === "overview") known(value);
    for (const tab of made.values()) tab.heard?.(name, value);
    page.draw(true);
  },
  (standing) => {
    const back = page.standing === "offline" || page.standing === "paused";
    page.standing = standing;
    if (standing === "live" && back) page.doing(async () => {
      await fresh();
      tabShown().open?.();
    });
    page.draw();
  },
);

addEventListener("hashchange", () => {
  if (!isIn()) return;
  tabShown().open?.();
  draw();
  document.querySelector('#tabs [aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" });
  if (document.activeElement?.closest("#tabs") === null) main.focus();
  scrollTo(0, 0);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(() => document.hidden || page.draw(true), TICK);
enter();
