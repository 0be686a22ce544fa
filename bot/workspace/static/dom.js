import { withIcons } from "./icons.js";

// Building elements. Text only ever becomes a text node; no string is parsed as HTML anywhere on this page.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  const shown = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.flatMap((child) => (child instanceof Node ? [child] : withIcons(String(child)))));
  return node;
}

// Only addresses that a click may open; anything else is shown as text.
export function safeLink(url) {
  return /^(https?:|mailto:)/i.test(url) ? url : null;
}

const HUES = [212, 28, 292, 142, 332, 188, 4, 256];

export function avatar(user) {
  if (user.is_app) return el("img", { class: "avatar", src: "/static/bot.svg", alt: "" });
  const words = user.real_name.split(/\s+/).filter(Boolean);
  const initials = (words[0]?.[0] ?? "?") + (words.length > 1 ? words.at(-1)[0] : "");
  const node = el("span", { class: "avatar initials", "aria-hidden": "true" }, initials.toUpperCase());
  node.style.setProperty("--hue", HUES[(user.index ?? 6) % HUES.length]);
  return node;
}
