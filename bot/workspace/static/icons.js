// The signs that supervision uses most, drawn here: many servers have no emoji font, and a box says nothing.

const NS = "http://www.w3.org/2000/svg";
const GREEN = "#22a559", RED = "#d93a3a", AMBER = "#e8a317", BLUE = "#2f7fd6", GREY = "#8b9696", WHITE = "#ffffff";

const fill = (d, colour) => ({ d, fill: colour });
const line = (d, colour, width = 2) => ({ d, fill: "none", stroke: colour, "stroke-width": width });
const disc = (colour) => fill("M10 2a8 8 0 1 1 0 16a8 8 0 0 1 0-16Z", colour);
const tile = (colour) => fill("M4 2h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2Z", colour);
const OCTAGON = fill("M6.700 2h6.600L18 6.700v6.600L13.300 18H6.700L2 13.300V6.700Z", RED);
const BELL = fill("M10 2a5 5 0 0 1 5 5c0 4 1.500 5.500 2 7H3c.500-1.500 2-3 2-7a5 5 0 0 1 5-5ZM8 15.500h4a2 2 0 0 1-4 0Z", AMBER);
const GLASS = [
  line("M5 2.500h10M5 17.500h10", GREY),
  fill("M6 4h8c0 4-3 4-3 6s3 2 3 6H6c0-4 3-4 3-6S6 8 6 4Z", AMBER),
];
const ARROW = (d) => [tile(BLUE), line(d, WHITE)];
const TURNING = line("M5 11a5 5 0 0 1 8.500-4.500L15 8m0-4v4h-4M15 9a5 5 0 0 1-8.500 4.500L5 12m0 4v-4h4", WHITE, 1.8);

const DRAWN = {
  "✅": [tile(GREEN), line("m5.500 10.500 3 3 6-7", WHITE, 2.4)],
  "☑️": [tile(BLUE), line("m5.500 10.500 3 3 6-7", WHITE, 2.4)],
  "✔️": [line("m4 11 4 4 8-10", GREEN, 2.8)],
  "❌": [line("m4.500 4.500 11 11m0-11-11 11", RED, 3)],
  "✖️": [line("m4.500 4.500 11 11m0-11-11 11", GREY, 3)],
  "⚠️": [fill("M10 2 19 18H1Z", AMBER), line("M10 8v5m0 1.700v.600", "#3d2c00", 2)],
  "🚨": [fill("M5 14V10a5 5 0 0 1 10 0v4Z", RED), fill("M3 15h14v3H3Z", GREY), line("M10 1v2M3.500 4 5 5.500M16.500 4 15 5.500", RED, 1.6)],
  "🛑": [OCTAGON],
  "⛔": [disc(RED), line("M5.500 10h9", WHITE, 3)],
  "🚫": [line("M10 3a7 7 0 1 1 0 14a7 7 0 0 1 0-14ZM5 5l10 10", RED, 2.4)],
  "🔴": [disc(RED)],
  "🟠": [disc("#e8792b")],
  "🟡": [disc("#e9c22e")],
  "🟢": [disc(GREEN)],
  "🔵": [disc(BLUE)],
  "⚪": [disc("#c3cccb")],
  "⚫": [disc("#39424a")],
  "🟩": [tile(GREEN)],
  "🟥": [tile(RED)],
  "🟨": [tile("#e9c22e")],
  "⬜": [tile("#c3cccb")],
  "⌛": GLASS,
  "⏳": GLASS,
  "⏱️": [disc(GREY), fill("M10 4.200a5.800 5.800 0 1 1 0 11.600a5.800 5.800 0 0 1 0-11.600Z", WHITE), line("M10 6.500V10l2.500 1.500", "#39424a", 1.6)],
  "⏹️": [tile(BLUE), fill("M6 6h8v8H6Z", WHITE)],
  "⏸️": [tile(BLUE), line("M7.500 5.500v9m5-9v9", WHITE, 2.4)],
  "▶️": [tile(BLUE), fill("M7 5.500v9l7.500-4.500Z", WHITE)],
  "⏪": [tile(BLUE), fill("M10 5.500v9L3.500 10ZM16.500 5.500v9L10 10Z", WHITE)],
  "⏩": [tile(BLUE), fill("M10 5.500v9l6.500-4.500ZM3.500 5.500v9L10 10Z", WHITE)],
  "↩️": ARROW("M15 13.500V11a3.500 3.500 0 0 0-3.500-3.500H5.500m3-3-3 3 3 3"),
  "⬆️": ARROW("M10 15V5M6 9l4-4 4 4"),
  "⬇️": ARROW("M10 5v10m-4-4 4 4 4-4"),
  "➡️": ARROW("M5 10h10m-4-4 4 4-4 4"),
  "⬅️": ARROW("M15 10H5m4-4-4 4 4 4"),
  "🔄": [tile(BLUE), TURNING],
  "ℹ️": [tile(BLUE), line("M10 9v5.500m0-9v.600", WHITE, 2.2)],
  "❓": [line("M6.500 6.500a3.500 3.500 0 1 1 5 3.200c-1.200.700-1.500 1.300-1.500 2.800m0 3v.600", RED, 2.4)],
  "❔": [line("M6.500 6.500a3.500 3.500 0 1 1 5 3.200c-1.200.700-1.500 1.300-1.500 2.800m0 3v.600", GREY, 2.4)],
  "❗": [line("M10 3v8.500m0 4v.600", RED, 3)],
  "📌": [line("M8.500 11.500 3 17", GREY, 1.8), fill("m11.500 2.500 6 6-1.800.800-1.200-.300-2.700 2.700.400 3.300-1.400 1.400-7.200-7.200L5 7.800l3.300.400L11 5.500l-.300-1.200Z", RED)],
  "🔔": [BELL],
  "🔕": [BELL, line("m3 3 14 14", RED, 2)],
  "🔇": [fill("M3 7.500h3L11 3v14l-5-4.500H3Z", GREY), line("m13.500 8 4 4m0-4-4 4", RED, 1.8)],
  "👀": [fill("M6 4a3.600 6 0 1 1 0 12a3.600 6 0 0 1 0-12ZM14 4a3.600 6 0 1 1 0 12a3.600 6 0 0 1 0-12Z", "#f4f7f7"), line("M6 4a3.600 6 0 1 1 0 12a3.600 6 0 0 1 0-12ZM14 4a3.600 6 0 1 1 0 12a3.600 6 0 0 1 0-12Z", GREY, 1), fill("M7 8a1.700 2.600 0 1 1 0 5.200A1.700 2.600 0 0 1 7 8ZM15 8a1.700 2.600 0 1 1 0 5.200A1.700 2.600 0 0 1 15 8Z", "#2a3338")],
  "👁": [line("M2 10c4-6.500 12-6.500 16 0c-4 6.500-12 6.500-16 0Z", GREY, 1.6), fill("M10 7.500a2.500 2.500 0 1 1 0 5a2.500 2.500 0 0 1 0-5Z", GREY)],
  "💬": [line("M4 3.500h12A1.500 1.500 0 0 1 17.500 5v7a1.500 1.500 0 0 1-1.500 1.500H9.500L6 17v-3.500H4A1.500 1.500 0 0 1 2.500 12V5A1.500 1.500 0 0 1 4 3.500Z", "currentColor", 1.6)],
  "🖼": [tile(GREY), fill("m4 15 4-5 3 3 2.500-3 3 5Z", WHITE)],
  "📎": [line("m6 10 5-5a2.500 2.500 0 0 1 3.500 3.500l-6.500 6.500a1.500 1.500 0 0 1-2-2l5.500-5.500", GREY, 1.6)],
  "📈": [tile("#e6ebeb"), line("m4 14 4-4 3 2.500 5-7", GREEN, 2)],
  "📉": [tile("#e6ebeb"), line("m4 6 4 4 3-2 5 6.500", RED, 2)],
  "📊": [tile("#e6ebeb"), line("M6 15v-4m4 4V6m4 9V8.500", BLUE, 2.4)],
  "💾": [tile(BLUE), fill("M6 2h8v6H6ZM5 11h10v7H5Z", WHITE)],
  "📦": [fill("M10 2 17.500 6v8.500L10 18.500l-7.500-4V6Z", "#b98a56"), line("M2.500 6 10 10l7.500-4M10 10v8.500", "#7d5a33", 1.2)],
  "🔒": [line("M6.500 9V6.500a3.500 3.500 0 0 1 7 0V9", GREY), fill("M4.500 9h11v8.500h-11Z", AMBER)],
  "🛡️": [fill("M10 2l7 2.500v5c0 4.500-3 7-7 8.500c-4-1.500-7-4-7-8.500v-5Z", BLUE)],
  "🏁": [line("M4 2v16", GREY, 1.8), fill("M5 3h12v9H5Z", "#e6ebeb"), fill("M5 3h3v3H5Zm6 0h3v3h-3ZM8 6h3v3H8Zm6 0h3v3h-3ZM5 9h3v3H5Zm6 0h3v3h-3Z", "#39424a")],
  "🚀": [fill("M12.500 3C15 1.500 17 2 18 2c0 1 .500 3-1 5.500L11 14l-5-5Z", "#d5dcdc"), fill("m6.500 8.500-4 .500 3 2.500m5 2 .500 4-2.500-3", RED), fill("M5 13l2 2-3.500 1.500Z", AMBER)],
  "🔥": [fill("M10 1.500c.500 3 5.500 5 5.500 10.500a5.500 6 0 0 1-11 0c0-2.500 1.500-4 2-5.500c.500 1 1 1.500 1.500 2c.500-2.500 0-4.500 2-7Z", "#e8792b")],
  "💀": [fill("M10 2a7 7 0 0 1 7 7c0 2.500-1.500 4-3 5v3.500H6V14c-1.500-1-3-2.500-3-5a7 7 0 0 1 7-7Z", "#c3cccb"), fill("M7.200 8a1.700 1.700 0 1 1 0 3.400A1.700 1.700 0 0 1 7.200 8ZM12.800 8a1.700 1.700 0 1 1 0 3.400A1.700 1.700 0 0 1 12.800 8Z", "#39424a")],
};

const BARE = new Map(Object.keys(DRAWN).map((sign) => [sign.replace("\ufe0f", ""), sign]));
const ANY = new RegExp(`(?:${[...BARE.keys()].join("|")})\\ufe0f?`, "gu");

function draw(sign, name) {
  const svg = document.createElementNS(NS, "svg");
  const attributes = { viewBox: "0 0 20 20", class: "icon", role: "img", "aria-label": name ?? sign };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  for (const shape of DRAWN[sign]) {
    const path = document.createElementNS(NS, "path");
    for (const [key, value] of Object.entries(shape)) path.setAttribute(key, value);
    path.setAttribute("stroke-linecap", "round");
    path.setAttribute("stroke-linejoin", "round");
    svg.append(path);
  }
  return svg;
}

// The text as strings and drawings, in order.
export function withIcons(text, name) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(ANY)) {
    if (match.index > from) parts.push(text.slice(from, match.index));
    parts.push(draw(BARE.get(match[0].replace("\ufe0f", "")), name));
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}
