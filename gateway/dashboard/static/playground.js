// Ask something, see it come, and see why it was served by whom.

import { get, post, reach } from "./api.js";
import { h } from "./dom.js";
import { now, number, seconds } from "./format.js";
import { Asked, explained, heading, pair, trouble } from "./parts.js";

const SUGGESTED = ["auto", "auto:fast", "auto:smart", "auto:coding", "auto:private", "auto:long"];
const STORED = 2000;

export function playground(page) {
  const known = new Asked(() => get("models?available=true"), () => page.draw());
  let run = null; // the question that runs or ran last

  async function send(values) {
    run?.stop.abort();
    const mine = { text: "", thought: "", told: null, usage: null, error: null, busy: true, began: now(), first: null, took: null, why: null, stop: new AbortController() };
    run = mine;
    const body = { model: values.model.trim() || "auto", messages: [{ role: "user", content: values.prompt }] };
    if (values.private === "on") body.provider = { data_collection: "deny" };
    mine.why = new Asked(() => post("explain", body), () => page.draw());
    mine.why.again();
    page.draw();
    try {
      await stream(mine, { ...body, stream: true, stream_options: { include_usage: true } });
    } catch (error) {
      if (error.name !== "AbortError") mine.error = error;
    }
    mine.busy = false;
    mine.took = now() - mine.began;
    page.draw();
  }

  async function stream(mine, body) {
    const response = await reach("v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", "x-freeway-trace": "true" },
      body: JSON.stringify(body),
      signal: mine.stop.signal,
    });
    mine.told = response.headers;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const one of lines) if (one.startsWith("data: ") && one !== "data: [DONE]") take(mine, JSON.parse(one.slice(6)));
      page.draw();
    }
  }

  function take(mine, chunk) {
    if (chunk.error) throw new Error(chunk.error.message);
    const delta = chunk.choices?.[0]?.delta ?? {};
    if (delta.content) {
      mine.first ??= now() - mine.began;
      mine.text += delta.content;
    }
    mine.thought = (mine.thought + (delta.reasoning_content ?? delta.reasoning ?? "")).slice(-STORED);
    if (chunk.usage) mine.usage = chunk.usage;
  }

  return {
    open: () => known.again(),
    view: () => [heading("Playground"), asks(known, send, run), run && answer(run)],
  };
}

function asks(known, send, run) {
  const names = [...new Set([...SUGGESTED, ...(known.value ?? []).map((one) => one.model)])].slice(0, 400);
  return h(
    "form",
    {
      class: "form ask",
      onsubmit: (event) => {
        event.preventDefault();
        send(Object.fromEntries(new FormData(event.currentTarget)));
      },
    },
    h(
      "label",
      { class: "field" },
      h("span", null, "Question"),
      h("textarea", {
        name: "prompt",
        rows: 4,
        required: true,
        placeholder: "Why is the sky blue?",
        onkeydown: (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && event.currentTarget.form.requestSubmit(),
      }),
    ),
    h(
      "div",
      { class: "form-end" },
      h("label", { class: "field inline" }, h("span", null, "Model"), h("input", { name: "model", list: "known-models", placeholder: "auto", autocomplete: "off", spellcheck: "false" })),
      h("datalist", { id: "known-models" }, names.map((one) => h("option", { value: one }))),
      h("label", { class: "tick" }, h("input", { type: "checkbox", name: "private" }), h("span", null, "no training on it")),
      h("span", { class: "push" }),
      run?.busy && h("button", { type: "button", class: "quiet", onclick: () => run.stop.abort() }, "Stop"),
      h("button", { type: "submit" }, "Ask"),
    ),
  );
}

function answer(run) {
  const served = run.told?.get("x-freeway-provider");
  return h(
    "section",
    { class: "answer", "aria-label": "Answer", "aria-busy": String(run.busy) },
    run.error && trouble(run.error),
    run.thought && h("details", null, h("summary", null, "What it thought"), h("p", { class: "said dim" }, run.thought)),
    h("p", { class: `said ${run.busy ? "coming" : ""}` }, run.text),
    run.busy && !run.told && h("p", { class: "dim" }, "Waiting for a source …"),
    served &&
      h(
        "dl",
        { class: "pairs" },
        pair("Served by", h("b", null, served)),
        pair("Model", run.told.get("x-freeway-model")),
        pair("Attempts", run.told.get("x-freeway-attempts")),
        pair("First word after", seconds(run.first)),
        run.took !== null && pair("Altogether", seconds(run.took)),
        run.usage && pair("Tokens", `${number(run.usage.prompt_tokens)} in, ${number(run.usage.completion_tokens)} out`),
        pair("Request", h("code", null, run.told.get("x-request-id"))),
      ),
    run.why.value && [h("h2", null, "Why this one"), explained(run.why.value)],
  );
}
