// The admin API, and the session with it. Addresses are relative, so that the page works under any path.

export const ADMIN = "admin/v1/";

/** The gateway said no, and why; *status* 0: it did not answer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(method, path, body) {
  const response = await reach(ADMIN + path, {
    method,
    headers: method === "GET" ? {} : { "content-type": "application/json" }, // also without a body: no form can send it
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 204) return null;
  return await response.json();
}

export const get = (path) => ask("GET", path);
export const post = (path, body = {}) => ask("POST", path, body);

/** fetch, whose failures are all Refused. */
export async function reach(address, options) {
  let response;
  try {
    response = await fetch(address, { cache: "no-store", credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The gateway does not answer.");
  }
  if (response.ok) return response;
  throw new Refused(response.status, messageIn(await response.text()) || `The gateway answered ${response.status}.`);
}

function messageIn(text) {
  try {
    const told = JSON.parse(text);
    return told.error?.message ?? told.message ?? told.detail ?? "";
  } catch {
    return text.slice(0, 300);
  }
}

/** "a?b=c&d=e" of what is set in *fields*. */
export function query(path, fields) {
  const set = Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return set.length ? `${path}?${new URLSearchParams(set)}` : path;
}

export const segment = encodeURIComponent;

const HIDDEN_FOR = 60_000;
const AGAIN_IN = 3_000;

/**
 * What happens, as it happens. *heard* is called with an event's name and value, *standing* with "live", "offline" or "paused"
 * whenever that changes. A page that is not looked at lets go after a minute, and costs nothing then.
 */
export class Live {
  constructor(heard, standing) {
    this.heard = heard;
    this.standing = standing;
    this.stream = null;
    this.hiding = 0;
    this.later = 0;
    this.wanted = false;
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  open() {
    this.wanted = true;
    this.#connect();
  }

  close() {
    this.wanted = false;
    this.#letGo();
  }

  #connect() {
    this.#letGo();
    if (!this.wanted) return;
    const stream = new EventSource(`${ADMIN}events`);
    this.stream = stream;
    stream.onopen = () => this.standing("live");
    stream.onerror = () => {
      this.standing("offline");
      if (stream.readyState === EventSource.CLOSED) this.later = setTimeout(() => this.#connect(), AGAIN_IN);
    };
    for (const name of ["overview", "request", "source", "change"]) {
      stream.addEventListener(name, (event) => this.heard(name, JSON.parse(event.data)));
    }
  }

  #letGo() {
    clearTimeout(this.later);
    this.stream?.close();
    this.stream = null;
  }

  #seen() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.#letGo();
        this.standing("paused");
      }, HIDDEN_FOR);
    } else if (this.wanted && !this.stream) {
      this.#connect();
    }
  }
}
