// Numbers, durations and moments as people say them.

const THIN = "\u202f";
export const NONE = "–";

let ahead = 0; // seconds that the gateway's clock is ahead of this machine's

export const setClock = (now) => {
  ahead = now - Date.now() / 1000;
};
export const now = () => Date.now() / 1000 + ahead;

export function number(value) {
  if (value === null || value === undefined) return NONE;
  const rounded = Math.abs(value) >= 10 || Number.isInteger(value) ? Math.round(value) : Math.round(value * 100) / 100;
  const [whole, part] = String(rounded).split(".");
  return whole.replace(/\B(?=(\d{3})+(?!\d))/g, THIN) + (part ? `.${part}` : "");
}

/** 131072 → "131 k": how long a context is. */
export function short(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1e6) return `${number(Math.round(value / 1e5) / 10)}${THIN}M`;
  return value >= 1000 ? `${number(Math.round(value / 1000))}${THIN}k` : number(value);
}

export const plural = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

export const dollars = (value, digits = 2) => `${(value ?? 0).toFixed(digits)} dollars`;

/** How long something took. */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 9.95) return `${value.toFixed(value < 0.995 ? 2 : 1)} s`;
  return span(value);
}

/** A duration in at most two units. */
export function span(value) {
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

const at = (moment, options) => new Intl.DateTimeFormat("en-GB", options).format(new Date(moment * 1000));

export const clock = (moment) => at(moment, { hour: "2-digit", minute: "2-digit" });
export const clockExact = (moment) => at(moment, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const dayOf = (moment) => at(moment, { weekday: "long", day: "numeric", month: "long" });
const dayAndClock = (moment) => at(moment, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const isToday = (moment) => dayOf(moment) === dayOf(now());

/** "09:00", "tomorrow 09:00", "Sat 28 Nov, 09:00". */
export function moment(value) {
  if (value === null || value === undefined) return NONE;
  if (isToday(value)) return clock(value);
  if (isToday(value - 86400)) return `tomorrow ${clock(value)}`;
  return dayAndClock(value);
}

/** "in 3 h 20 min, 09:00". */
export function whenOpen(value) {
  const left = value - now();
  if (left <= 0.5) return "now";
  return left < 120 ? `in ${span(left)}` : `in ${span(left)}, ${moment(value)}`;
}

export function ago(value) {
  if (value === null || value === undefined) return "never";
  const passed = now() - value;
  return passed < 5 ? "just now" : passed < 172800 ? `${span(passed)} ago` : moment(value);
}

export const iso = (value) => new Date(value * 1000).toISOString();
