// Elements made of text and of other elements. Nothing here reads markup: what a provider says stays text.

const SVG = "http://www.w3.org/2000/svg";
const KEY = Symbol("key"); // a form has its fields as properties: one of them may be called "key"
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit", "onkeydown", "ontoggle", "onpointermove", "onpointerleave"];

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "key") element[KEY] = String(value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name.startsWith("on")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** An element: h("p", {class: "note"}, "text", other). A *key* in the properties tells it from its siblings. */
export const h = (name, properties, ...children) => made(document.createElement(name), properties, children);

/** The same of SVG. */
export const s = (name, properties, ...children) => made(document.createElementNS(SVG, name), properties, children);

/** A link that leads away, if it is one of the web: an address may come from a provider. */
export function away(address, text) {
  return /^https?:\/\//i.test(address ?? "")
    ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text ?? address)
    : (text ?? address ?? "");
}

/** Make *root* look like *children*, and keep what is the same: the focus, what was typed, what was opened. */
export function render(root, ...children) {
  arrange(root, flat(children));
}

function arrange(parent, wanted) {
  const keys = new Set(wanted.map((node) => node[KEY]).filter(Boolean));
  const kept = new Map();
  for (const node of [...parent.childNodes]) {
    if (!node[KEY]) continue;
    if (keys.has(node[KEY])) kept.set(node[KEY], node);
    else node.remove();
  }
  let at = parent.firstChild;
  for (const node of wanted) {
    const there = node[KEY] ? kept.get(node[KEY]) : at && !at[KEY] ? at : null;
    if (!there || there.nodeName !== node.nodeName) {
      parent.insertBefore(node, at);
      continue;
    }
    if (there === at) at = at.nextSibling;
    else parent.insertBefore(there, at);
    become(there, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function become(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "style" && name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== next.style.cssText) old.style.cssText = next.style.cssText;
  for (const name of HANDLERS) old[name] = next[name];
  arrange(old, [...next.childNodes]);
}
