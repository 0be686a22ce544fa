// The page as a whole: what is shown, who is acting, and what happens when something is typed or pressed.

import { Composer } from "./composer.js";
import { Modal, toast } from "./dialogs.js";
import { renderBlocks } from "./blocks.js";
import { avatar, el } from "./dom.js";
import { chosen } from "./elements.js";
import { AWAY, act, follow } from "./link.js";
import { MessageList } from "./messages.js";

const at = (id) => document.getElementById(id);
const state = { bot: {}, people: [], channels: [], commands: [], messages: new Map(), files: [], homes: new Map(), views: new Map(), connected: false, lost: false };
const shown = { home: false, channel: null, acting: null, thread: null, read: new Map() };
const SLACKBOT = { id: "USLACKBOT", name: "slackbot", real_name: "Slackbot" };

// -- what everything needs to know

function author(userId) {
  if (userId === state.bot.id) return { id: userId, real_name: "Trainmaster", is_app: true };
  if (userId === SLACKBOT.id) return SLACKBOT;
  return state.people.find((person) => person.id === userId) ?? { id: userId, real_name: String(userId) };
}

const names = {
  mention(userId) {
    const who = author(userId);
    const isMe = userId === shown.acting;
    return el("span", { class: isMe ? "mention me" : "mention" }, `@${who.is_app ? state.bot.name : who.real_name}`);
  },
  channel: (channelId) => state.channels.find((channel) => channel.id === channelId)?.name ?? channelId,
};

function file(wanted) {
  return state.files.find((found) => found.id === wanted.id || found.url_private === wanted.url) ?? null;
}

const context = () => ({ names, author, file, people: state.people });
const sorted = () => [...state.messages.values()].sort((a, b) => (a.ts < b.ts ? -1 : 1));
const visible = (message) => !message.visible_to || message.visible_to === shown.acting;
const isReply = (message) => message.thread_ts && message.thread_ts !== message.ts;

async function send(action, body, { quiet = false } = {}) {
  const answer = await act(action, { person: shown.acting, ...body });
  if (!answer.ok && (!quiet || answer.error === AWAY)) toast(EXPLAINED[answer.error] ?? `Refused: ${answer.error}.`);
  return answer;
}

const EXPLAINED = {
  [AWAY]: "The workspace does not answer: has the program that shows it ended?",
  operation_timeout: "The app did not answer in time (operation_timeout). Slack gives it 3 seconds.",
  dispatch_failed: "The app is not connected (dispatch_failed).",
  not_supported_in_threads: "Slash commands don't work in threads; mention the app there.",
};

// -- drawing

function draw() {
  drawSidebar();
  drawChannel();
  if (state.lost) at("channel-topic").textContent = "Connection lost: what stands here may be old.";
  drawThread();
  const mine = [...state.views.values()].findLast((entry) => entry.user === shown.acting);
  modal.show(mine?.view);
}

function drawSidebar() {
  const presence = at("presence");
  presence.textContent = state.lost ? "connection lost" : state.connected ? "app connected" : "app not connected";
  presence.className = state.connected && !state.lost ? "on" : "off";
  const entries = state.channels.map((channel) => ({
    channel,
    current: channel.id === shown.channel && !shown.home,
    unread: countUnread(channel),
  }));
  const publics = entries.filter(({ channel }) => channel.kind === "channel");
  const own = entries.filter(({ channel }) => channel.kind === "im" && channel.person === shown.acting);
  fill(at("channels"), publics, (entry) => channelItem(entry, `# ${entry.channel.name}`));
  fill(at("directs"), own, (entry) => channelItem(entry, state.bot.name, avatar(author(state.bot.id))));
  fill(at("apps"), [{ current: shown.home, acting: shown.acting }], homeItem);
  fill(at("people"), state.people.map((person) => ({ person, checked: person.id === shown.acting })), personItem);
}

// Draw a list anew only when something in it changed: a button that has the focus keeps it.
function fill(node, entries, build) {
  const signature = JSON.stringify(entries);
  if (node.dataset.signature === signature) return;
  node.dataset.signature = signature;
  node.replaceChildren(...entries.map(build));
}

function countUnread(channel) {
  const since = shown.read.get(channel.id) ?? "";
  const isNew = (m) => m.channel === channel.id && visible(m) && !isReply(m) && m.ts > since;
  return [...state.messages.values()].filter(isNew).length;
}

function channelItem({ channel, current, unread }, label, picture) {
  const button = el(
    "button",
    { class: current ? "current" : unread ? "unread" : "", "aria-current": current ? "page" : null },
    picture,
    el("span", { class: "name" }, label),
    unread && !current ? el("span", { class: "count", "aria-label": `${unread} new` }, unread) : null,
  );
  button.addEventListener("click", () => openChannel(channel.id));
  return el("li", {}, button);
}

function homeItem({ current }) {
  const attributes = { class: current ? "current" : "", "aria-current": current ? "page" : null };
  const button = el("button", attributes, el("span", { class: "name" }, "⌂ Home of Trainmaster"));
  button.addEventListener("click", openHome);
  return el("li", {}, button);
}

function openHome() {
  shown.home = true;
  shown.thread = null;
  toggleMenu(false);
  send("home", {}, { quiet: true });
  draw();
}

function drawHome() {
  at("home").hidden = !shown.home;
  at("messages").hidden = shown.home;
  at("composer").querySelector(".entry").hidden = shown.home;
  if (!shown.home) return false;
  at("channel-name").textContent = "Trainmaster";
  at("channel-topic").textContent = "Home: as the app last published it for you";
  document.title = "Home · Local workspace";
  at("jump").hidden = true;
  const view = state.homes.get(shown.acting);
  fill(at("home"), view ? [view] : [{ blocks: [] }], ({ blocks }) =>
    blocks.length
      ? el("div", { class: "blocks" }, renderBlocks(blocks, { ...context(), values: new Map(), press: () => {} }))
      : el("p", { class: "empty" }, "Nothing published yet."),
  );
  return true;
}

function personItem({ person, checked }) {
  const input = el("input", { type: "radio", name: "acting", value: person.id, checked });
  input.addEventListener("change", () => actAs(person.id));
  const badge = person.on_call ? el("span", { class: "badge on-call" }, "on call") : null;
  return el("label", { class: "person" }, input, avatar(person), el("span", {}, person.real_name.split(" ")[0]), badge);
}

function drawChannel() {
  if (drawHome()) return;
  const channel = state.channels.find((entry) => entry.id === shown.channel);
  if (!channel) return;
  const isDirect = channel.kind === "im";
  const title = isDirect ? state.bot.name : `# ${channel.name}`;
  at("channel-name").textContent = title;
  at("channel-topic").textContent = isDirect ? `Between ${author(channel.person).real_name} and the app` : channel.topic;
  document.title = `${title} · Local workspace`;
  at("composer-text").placeholder = `Message ${title}, or /command`;
  const messages = sorted().filter((m) => m.channel === channel.id && visible(m) && !isReply(m));
  const atEnd = list.show(`${channel.id} ${shown.acting}`, messages, shown.acting);
  const newest = messages.at(-1)?.ts ?? "";
  if (atEnd) shown.read.set(channel.id, newest);
  at("jump").hidden = newest <= (shown.read.get(channel.id) ?? "");
}

function drawThread() {
  const root = shown.thread && state.messages.get(shown.thread);
  at("thread").hidden = !root;
  at("app").classList.toggle("with-thread", Boolean(root));
  if (!root) return;
  at("thread-where").textContent = at("channel-name").textContent;
  const [channel, ts] = [root.channel, root.thread_ts ?? root.ts];
  const replies = sorted().filter((m) => m.channel === channel && (m.ts === ts || m.thread_ts === ts) && visible(m));
  thread.show(`${ts} ${shown.acting}`, replies, shown.acting);
}

// -- acting

function openChannel(channelId) {
  shown.channel = channelId;
  shown.home = false;
  shown.thread = null;
  toggleMenu(false);
  draw();
  at("composer-text").focus();
}

function actAs(userId) {
  const before = state.channels.find((channel) => channel.id === shown.channel);
  shown.acting = userId;
  sessionStorage.setItem("acting", userId);
  if (shown.home) send("home", {}, { quiet: true });
  if (before?.kind === "im")
    shown.channel = state.channels.find((channel) => channel.kind === "im" && channel.person === userId).id;
  draw();
  at("people").querySelector("input:checked")?.focus();
}

function openThread(message) {
  shown.thread = `${message.channel} ${message.thread_ts ?? message.ts}`;
  drawThread();
  at("thread-composer").querySelector("textarea").focus();
}

function toggleMenu(open) {
  at("app").classList.toggle("menu-open", open);
  at("menu").setAttribute("aria-expanded", String(open));
}

// Whether the workspace heard the words.
async function typed(words, threadTs) {
  const where = { channel: shown.channel, thread_ts: threadTs };
  list.toEnd();
  const command = /^(\/\S+)\s*([\s\S]*)$/.exec(words);
  const answer = command
    ? await send("slash", { ...where, command: command[1], text: command[2] }, { quiet: true })
    : await send("say", { ...where, text: words });
  return answer.error !== AWAY;
}

async function press(message, block, item, choice, control, values) {
  control.classList.add("waiting");
  control.disabled = true;
  await send("click", {
    channel: message.channel,
    message_ts: message.ts,
    action_id: item.action_id,
    block_id: block.block_id,
    choice,
    values: chosen(values),
  });
  control.classList.remove("waiting");
  control.disabled = false;
}

// -- wiring

async function explain(message) {
  const where = { channel: message.channel, message_ts: message.ts };
  await send("shortcut", { ...where, callback_id: "explain_alert" });
}

const parts = { context, press, openThread, explain };
const list = new MessageList(at("messages"), { ...parts, inThread: false });
const thread = new MessageList(at("thread-messages"), { ...parts, inThread: true });
const modal = new Modal({ send, context });
const hints = {
  commands: () => state.commands,
  people: () => [{ name: state.bot.name, real_name: "Trainmaster, the app" }, ...state.people],
};
new Composer(at("composer"), { ...hints, send: (words) => typed(words) });
new Composer(at("thread-composer"), { ...hints, send: (words) => typed(words, shown.thread.split(" ")[1]) });
at("menu").addEventListener("click", () => toggleMenu(!at("app").classList.contains("menu-open")));
at("jump").addEventListener("click", () => {
  list.toEnd();
  draw();
});
at("messages").addEventListener("scroll", () => {
  if (!at("jump").hidden && list.isAtEnd()) draw();
});
at("thread-close").addEventListener("click", () => {
  shown.thread = null;
  drawThread();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  toggleMenu(false);
  if (shown.thread) at("thread-close").click();
});

const TAKE = {
  snapshot(change) {
    const people = change.people.map((person, index) => ({ ...person, index }));
    Object.assign(state, { bot: change.bot, people, channels: change.channels, commands: change.commands });
    state.connected = change.app_connected;
    state.files = change.files;
    state.homes = new Map(change.homes.map((entry) => [entry.user, entry.view]));
    state.messages = new Map(change.messages.map((message) => [`${message.channel} ${message.ts}`, message]));
    state.views = new Map(change.views.map((entry) => [entry.view.id, entry]));
    const wanted = shown.acting ?? sessionStorage.getItem("acting");
    shown.acting = state.people.some((person) => person.id === wanted) ? wanted : (state.people[0]?.id ?? null);
    shown.channel ??= state.channels[0]?.id ?? null;
  },
  home: ({ user, view }) => state.homes.set(user, view),
  file: ({ file }) => state.files.push(file),
  message: ({ message }) => state.messages.set(`${message.channel} ${message.ts}`, message),
  deleted: (change) => state.messages.delete(`${change.channel} ${change.ts}`),
  view: ({ user, view }) => state.views.set(view.id, { user, view }),
  view_closed: (change) => state.views.delete(change.view_id),
  presence: (change) => (state.connected = change.app_connected),
  lost: () => {},
};

let drawing = 0;
follow((change) => {
  state.lost = change.type === "lost";
  TAKE[change.type]?.(change);
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(draw);
});
