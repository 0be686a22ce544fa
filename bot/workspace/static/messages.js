// A list of messages that follows the state: only what changed is drawn anew, so focus and scrolling stay.

import { renderBlocks } from "./blocks.js";
import { avatar, el } from "./dom.js";
import { emoji } from "./emoji.js";
import { daysAhead, link, mrkdwn } from "./mrkdwn.js";

const GROUP_S = 300;

export class MessageList {
  constructor(root, { context, press, openThread, explain, inThread }) {
    this.root = root;
    this.context = context;
    this.press = press;
    this.openThread = openThread;
    this.explain = explain;
    this.inThread = inThread;
    this.rows = new Map();
    this.key = "";
    this.sticks = true;
    this.height = 0;
    // A picture that loads makes the list longer and scrolls nothing: only a scroll at the same length is the reader's.
    root.addEventListener("scroll", () => {
      if (root.scrollHeight === this.height) this.sticks = this.isAtEnd();
    });
    const stick = () => this.sticks && this.toEnd();
    root.addEventListener("load", stick, true);
    new ResizeObserver(stick).observe(root);
  }

  // Show these messages; `key` says what list it is, so that another channel starts at its end.
  show(key, messages, acting) {
    const isNew = key !== this.key;
    const atEnd = isNew || this.sticks;
    this.key = key;
    if (isNew) {
      this.rows.clear();
      this.root.replaceChildren();
    }
    const kept = new Map();
    let before = null;
    let cursor = this.root.firstChild;
    for (const message of messages) {
      const follows = isContinuation(before, message);
      const signature = JSON.stringify([message, follows, acting]);
      let row = this.rows.get(message.ts);
      if (!row || row.signature !== signature) {
        const node = this.draw(message, follows, before);
        if (row) {
          if (row.node === cursor) cursor = cursor.nextSibling;
          row.node.replaceWith(node);
        }
        row = { node, signature };
      }
      if (row.node === cursor) cursor = cursor.nextSibling;
      else this.root.insertBefore(row.node, cursor);
      kept.set(message.ts, row);
      before = message;
    }
    for (const [ts, row] of this.rows) if (!kept.has(ts)) row.node.remove();
    this.rows = kept;
    if (!messages.length) this.root.replaceChildren(el("p", { class: "empty" }, "Nothing here yet."));
    else this.root.querySelector(":scope > .empty")?.remove();
    if (atEnd) this.toEnd();
    this.height = this.root.scrollHeight;
    return atEnd;
  }

  isAtEnd() {
    return this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 60;
  }

  toEnd() {
    this.sticks = true;
    this.height = this.root.scrollHeight;
    this.root.scrollTop = this.height;
  }

  draw(message, follows, before) {
    const context = this.context();
    const author = context.author(message.user);
    const when = new Date(Number(message.ts) * 1000);
    const values = new Map();
    const press = (block, item, choice, control) => this.press(message, block, item, choice, control, values);
    const inner = { ...context, values, press };
    const node = el("article", {
      class: ["message", follows && "follows", message.visible_to && "private", message.pinned_to && "pinned"].filter(Boolean).join(" "),
      "data-ts": message.ts,
    });
    if (!sameDay(before, message)) node.append(el("div", { class: "day" }, el("span", {}, dayName(when))));
    const gutter = el("div", { class: "gutter" }, follows ? timeOf(when) : avatar(author));
    const body = el("div", { class: "body" });
    if (message.pinned_to) body.append(el("div", { class: "pinned-note" }, "📌 Pinned"));
    if (message.visible_to) body.append(el("div", { class: "private-note" }, "👁 Only visible to you"));
    const edited = message.edited ? el("span", { class: "edited" }, "(edited)") : null;
    if (!follows) body.append(heading(author, when, edited));
    body.append(...content(message, inner));
    if (follows && edited) body.append(edited);
    body.append(...reactions(message));
    if (!this.inThread && message.reply_count) body.append(this.replies(message));
    node.append(el("div", { class: "row" }, gutter, body, this.tools(message)));
    return node;
  }

  replies(message) {
    const word = message.reply_count === 1 ? "1 reply" : `${message.reply_count} replies`;
    return el("button", { class: "plain replies", onclick: () => this.openThread(message) }, `💬 ${word}`);
  }

  tools(message) {
    if (this.inThread || message.visible_to) return null;
    const tool = (label, sign, onclick) => el("button", { class: "tool", title: label, "aria-label": label, onclick }, sign);
    const reply = tool("Reply in thread", "💬", () => this.openThread(message));
    if (!this.context().author(message.user).is_app) return reply;
    return el("div", { class: "tools" }, tool("Explain this alert", "?", () => this.explain(message)), reply);
  }
}

function heading(author, when, edited) {
  return el(
    "div",
    { class: "heading" },
    el("span", { class: "author" }, author.real_name),
    author.is_app ? el("span", { class: "badge" }, "APP") : null,
    author.on_call ? el("span", { class: "badge on-call" }, "on call") : null,
    timeOf(when),
    edited,
  );
}

function timeOf(when) {
  const words = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  return el("time", { class: "when", datetime: when.toISOString(), title: when.toLocaleString() }, words);
}

function content(message, context) {
  const nodes = [];
  if (message.blocks?.length) nodes.push(el("div", { class: "blocks" }, renderBlocks(message.blocks, context)));
  else if (message.text) nodes.push(el("div", { class: "text" }, ...mrkdwn(message.text, context.names)));
  for (const attachment of message.attachments ?? []) nodes.push(attached(attachment, context));
  for (const file of message.files ?? []) nodes.push(fileNode(file));
  return nodes.length ? nodes : [el("div", { class: "text" })];
}

const COLOURS = { good: "#2eb67d", warning: "#d99a1c", danger: "#d13b3b" };

function attached(attachment, context) {
  const node = el("div", { class: "attachment" });
  const colour = COLOURS[attachment.color] ?? attachment.color;
  if (colour) node.style.setProperty("--bar", colour.startsWith("#") ? colour : `#${colour}`);
  const words = (text, kind) => text && node.append(el("div", { class: kind }, ...mrkdwn(text, context.names)));
  words(attachment.pretext, "text");
  words(attachment.author_name, "small");
  if (attachment.title) {
    const title = attachment.title_link ? link(attachment.title_link, attachment.title) : attachment.title;
    node.append(el("div", { class: "text strong" }, title));
  }
  words(attachment.text, "text");
  const fields = (attachment.fields ?? []).map((field) =>
    el("div", { class: "text" }, el("strong", {}, field.title ?? ""), el("br"), ...mrkdwn(field.value ?? "", context.names)),
  );
  if (fields.length) node.append(el("div", { class: "fields" }, fields));
  if (attachment.blocks) node.append(...renderBlocks(attachment.blocks, context));
  if (!node.childElementCount) words(attachment.fallback, "text");
  words(attachment.footer, "small");
  return node;
}

function fileNode(file) {
  const title = el("figcaption", {}, file.title);
  if (!file.mimetype.startsWith("image/")) return el("p", {}, link(file.url_private, `📎 ${file.title}`));
  return el("figure", { class: "block image" }, title, el("img", { src: file.url_private, alt: file.alt_txt || file.title }));
}

function reactions(message) {
  if (!message.reactions) return [];
  const chips = message.reactions.map(({ name, count }) =>
    el("span", { class: "reaction", title: `:${name}:` }, `${emoji(name) ?? `:${name}:`} ${count}`),
  );
  return [el("div", { class: "reactions" }, chips)];
}

function isContinuation(before, message) {
  return (
    before !== null &&
    before.user === message.user &&
    !(message.blocks?.length || message.attachments?.length) &&
    before.visible_to === message.visible_to &&
    Number(message.ts) - Number(before.ts) < GROUP_S &&
    sameDay(before, message)
  );
}

function sameDay(before, message) {
  const day = (ts) => new Date(Number(ts) * 1000).toDateString();
  return before !== null && day(before.ts) === day(message.ts);
}

function dayName(when) {
  const word = { 0: "Today", "-1": "Yesterday" }[daysAhead(when)];
  if (word) return word;
  return when.toLocaleDateString("en", { weekday: "long", month: "long", day: "numeric" });
}
