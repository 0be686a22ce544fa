// Block Kit to DOM.

import { el, safeLink } from "./dom.js";
import { element } from "./elements.js";
import { emoji } from "./emoji.js";
import { link, mrkdwn, plain, text } from "./mrkdwn.js";

export function renderBlocks(blocks, context) {
  return blocks.map((block) => {
    const build = BUILDERS[block.type];
    const node = build ? build(block, context) : el("div", { class: "unknown" }, `[${block.type}]`);
    node.dataset.block = block.block_id;
    return node;
  });
}

function section(block, context) {
  const body = el("div", { class: "section-body" });
  if (block.text) body.append(el("div", { class: "text" }, ...text(block.text, context.names)));
  if (block.fields) {
    const fields = block.fields.map((field) => el("div", { class: "text" }, ...text(field, context.names)));
    body.append(el("div", { class: "fields" }, fields));
  }
  const node = el("div", { class: "block section" }, body);
  if (block.accessory) {
    const isImage = block.accessory.type === "image";
    const held = isImage ? picture(block.accessory, context) : element(block, block.accessory, context);
    node.append(el("div", { class: "accessory" }, held));
  }
  return node;
}

function picture(item, context) {
  const file = item.slack_file ? context.file(item.slack_file) : null;
  const source = file?.url_private ?? item.image_url ?? "";
  if (source.startsWith(`${location.origin}/files/`)) return el("img", { src: source, alt: item.alt_text });
  // The page loads nothing from elsewhere: a picture on another server is offered as a link.
  const url = safeLink(source);
  const label = `🖼 ${item.alt_text}`;
  return el("span", { class: "elsewhere" }, url ? link(url, label) : label);
}

function context(block, outer) {
  const items = block.elements.map((item) =>
    item.type === "image" ? picture(item, outer) : el("span", {}, ...text(item, outer.names)),
  );
  return el("div", { class: "block context" }, items);
}

function actions(block, outer) {
  return el("div", { class: "block actions" }, block.elements.map((item) => element(block, item, outer)));
}

function image(block, outer) {
  const title = block.title ? el("figcaption", {}, ...plain(block.title.text)) : null;
  return el("figure", { class: "block image" }, title, picture(block, outer));
}

function input(block, outer) {
  const quiet = !block.dispatch_action;
  const label = el("span", { class: "label" }, ...plain(block.label.text));
  if (block.optional) label.append(el("small", {}, " (optional)"));
  const isGroup = ["checkboxes", "radio_buttons"].includes(block.element.type);
  return el(
    isGroup ? "div" : "label",
    { class: "block input" },
    label,
    element(block, block.element, outer, { quiet }),
    block.hint ? el("small", { class: "hint" }, ...plain(block.hint.text)) : null,
    el("span", { class: "fault", role: "alert" }),
  );
}

function table(block, outer) {
  const settings = block.column_settings ?? [];
  const rows = block.rows.map((cells, index) =>
    el(
      "tr",
      {},
      cells.map((cell, column) => {
        const align = settings[column]?.align;
        const attributes = { class: align ? `align-${align}` : null, scope: index ? null : "col" };
        return el(index ? "td" : "th", attributes, cell.type === "rich_text" ? richText(cell, outer) : plain(cell.text));
      }),
    ),
  );
  const body = [el("thead", {}, rows.slice(0, 1)), el("tbody", {}, rows.slice(1))];
  return el("div", { class: "block table", tabindex: 0 }, el("table", {}, body));
}

// -- rich text

function richText(block, outer) {
  return el("div", { class: "block rich" }, block.elements.map((part) => richPart(part, outer)));
}

function richPart(part, outer) {
  const inside = () => part.elements.map((leaf) => richLeaf(leaf, outer));
  if (part.type === "rich_text_preformatted") return el("pre", {}, inside());
  if (part.type === "rich_text_quote") return el("blockquote", {}, inside());
  if (part.type === "rich_text_list") {
    const items = part.elements.map((item) => el("li", {}, item.elements.map((leaf) => richLeaf(leaf, outer))));
    return el(part.style === "ordered" ? "ol" : "ul", { class: `indent-${part.indent ?? 0}` }, items);
  }
  return el("div", { class: "text" }, inside());
}

const STYLES = { code: "code", bold: "strong", italic: "em", strike: "s", underline: "u" };

function richLeaf(leaf, outer) {
  let node = richContent(leaf, outer);
  for (const [style, tag] of Object.entries(STYLES)) if (leaf.style?.[style]) node = el(tag, {}, node);
  return node;
}

function richContent(leaf, outer) {
  switch (leaf.type) {
    case "text":
      return el("span", { class: "keep" }, leaf.text);
    case "link": {
      const url = safeLink(leaf.url);
      return url ? link(url, leaf.text ?? leaf.url) : (leaf.text ?? leaf.url);
    }
    case "user":
      return outer.names.mention(leaf.user_id);
    case "channel":
      return el("span", { class: "mention" }, `#${outer.names.channel(leaf.channel_id)}`);
    case "emoji":
      return emoji(leaf.name) ?? `:${leaf.name}:`;
    case "broadcast":
      return el("span", { class: "mention" }, `@${leaf.range}`);
    case "date":
      return el("span", {}, ...mrkdwn(`<!date^${leaf.timestamp}^${leaf.format}|${leaf.fallback ?? ""}>`, outer.names));
    default:
      return el("span", { class: "mention" }, `@${leaf.usergroup_id ?? leaf.type}`);
  }
}

const BUILDERS = {
  section,
  context,
  actions,
  image,
  input,
  table,
  rich_text: richText,
  header: (block) => el("h3", { class: "block header" }, ...plain(block.text.text)),
  divider: () => el("hr", { class: "block" }),
  markdown: (block) => el("div", { class: "block text keep" }, block.text),
};
