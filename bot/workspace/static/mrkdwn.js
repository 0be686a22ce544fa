// Slack's mrkdwn to DOM nodes. `names` knows people and channels by id.

import { el, safeLink } from "./dom.js";
import { emoji } from "./emoji.js";
import { withIcons } from "./icons.js";

const SPAN = [
  { tag: "code", pattern: /`([^`\n]+)`/, literal: true },
  { tag: "strong", pattern: /(?<![\w*])\*(?!\s)([^*\n]*[^*\s]|[^*\s])\*(?![\w*])/ },
  { tag: "em", pattern: /(?<![\w_])_(?!\s)([^_\n]*[^_\s]|[^_\s])_(?![\w_])/ },
  { tag: "s", pattern: /(?<![\w~])~(?!\s)([^~\n]*[^~\s]|[^~\s])~(?![\w~])/ },
];
const ANGLE = /<([^<>]+)>/;
const SHORTCODE = /:([a-z0-9_+-]+):/;

function unescape(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

export function plain(text) {
  return [unescape(text.replace(new RegExp(SHORTCODE, "g"), (whole, name) => emoji(name) ?? whole))];
}

export function mrkdwn(text, names) {
  const parts = [];
  for (const [index, piece] of text.split("```").entries()) {
    if (index % 2 === 1) parts.push(el("pre", {}, unescape(strip(piece.replace(/^\n|\n$/g, "")))));
    else if (piece) parts.push(...lines(index ? piece.replace(/^\n/, "") : piece, names));
  }
  return parts;
}

// Inside code, Slack shows the address or the name of a link, not the angle brackets.
function strip(text) {
  return text.replace(/<([^<>|]+)(?:\|([^<>]*))?>/g, (_whole, target, label) => label ?? target);
}

function lines(text, names) {
  const nodes = [];
  let quote = null;
  const all = text.split("\n");
  for (const [index, line] of all.entries()) {
    const quoted = /^(?:&gt;|>)\s?(.*)$/.exec(line);
    if (quoted) {
      if (!quote) nodes.push((quote = el("blockquote")));
      else quote.append(el("br"));
      quote.append(...spans(quoted[1], names));
      continue;
    }
    const afterQuote = quote !== null;
    quote = null;
    if (index && !afterQuote) nodes.push(el("br"));
    nodes.push(...spans(line, names));
  }
  return nodes;
}

function spans(text, names) {
  if (!text) return [];
  let first = null;
  for (const kind of SPAN) first = earlier(first, kind.pattern.exec(text), kind);
  first = earlier(first, ANGLE.exec(text), { angle: true });
  first = earlier(first, SHORTCODE.exec(text), { emoji: true });
  if (!first) return [unescape(text)];
  const { match, kind } = first;
  const before = text.slice(0, match.index);
  const after = text.slice(match.index + match[0].length);
  return [...(before ? [unescape(before)] : []), ...build(kind, match, names), ...spans(after, names)];
}

function earlier(best, match, kind) {
  if (!match || (best && best.match.index <= match.index)) return best;
  return { match, kind };
}

function build(kind, match, names) {
  if (kind.emoji) {
    const glyph = emoji(match[1]);
    return [glyph ? el("span", { title: match[0] }, withIcons(glyph, match[1].replaceAll("_", " "))) : match[0]];
  }
  if (kind.angle) return [angle(match[1], names)];
  return [el(kind.tag, {}, ...(kind.literal ? [unescape(strip(match[1]))] : spans(match[1], names)))];
}

function angle(inside, names) {
  const bar = inside.indexOf("|");
  const target = bar < 0 ? inside : inside.slice(0, bar);
  const label = bar < 0 ? null : unescape(inside.slice(bar + 1));
  if (target.startsWith("@")) return names.mention(target.slice(1));
  if (target.startsWith("#")) return el("span", { class: "mention" }, `#${label || names.channel(target.slice(1))}`);
  if (target.startsWith("!date^")) return date(target, label ?? "");
  if (target.startsWith("!subteam^")) return el("span", { class: "mention" }, label ?? "@group");
  if (target.startsWith("!")) return el("span", { class: "mention" }, `@${target.slice(1)}`);
  const url = safeLink(unescape(target));
  if (!url) return label ?? unescape(target);
  return link(url, label ?? url.replace(/^mailto:/, ""));
}

// A text object of Slack's: plain_text or mrkdwn.
export function text(object, names) {
  if (!object) return [];
  return object.type === "mrkdwn" ? mrkdwn(object.text, names) : plain(object.text);
}

export function link(url, label) {
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label);
}

function date(target, fallback) {
  const [, seconds, format, url] = target.split("^");
  const when = new Date(Number(seconds) * 1000);
  if (Number.isNaN(when.getTime()) || !format) return fallback;
  const text = format.replace(/\{(\w+)\}/g, (whole, token) => dateToken(token, when) ?? whole);
  const node = el("time", { datetime: when.toISOString(), title: when.toLocaleString() }, text);
  const safe = url ? safeLink(unescape(url)) : null;
  return safe ? link(safe, node) : node;
}

const DATE_STYLES = {
  date: { year: "numeric", month: "long", day: "numeric" },
  date_short: { year: "numeric", month: "short", day: "numeric" },
  date_long: { weekday: "long", year: "numeric", month: "long", day: "numeric" },
};

function dateToken(token, when) {
  const pad = (number) => String(number).padStart(2, "0");
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}`;
  if (token === "time") return clock;
  if (token === "time_secs") return `${clock}:${pad(when.getSeconds())}`;
  if (token === "date_num") return `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  if (token === "ago") return ago(when);
  const pretty = token.endsWith("_pretty");
  const style = DATE_STYLES[token.replace(/_pretty$/, "")];
  if (!style) return null;
  if (pretty) {
    const word = { 0: "today", 1: "tomorrow", "-1": "yesterday" }[daysAhead(when)];
    if (word) return word;
  }
  return when.toLocaleDateString("en", style);
}

// How many days from today: 0 for any time of today, -1 for yesterday's.
export function daysAhead(when) {
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(when) - midnight(new Date())) / 86400000);
}

function ago(when) {
  const minutes = Math.round((Date.now() - when.getTime()) / 60000);
  if (Math.abs(minutes) < 60) return new Intl.RelativeTimeFormat("en").format(-minutes, "minute");
  return new Intl.RelativeTimeFormat("en").format(-Math.round(minutes / 60), "hour");
}
