// Interactive elements. `context` has: names, press(block, element, choice, control), values (action id -> reader),
// files (id -> file), people. Whatever is chosen is kept in `values`, and told to the app unless an input block holds it.

import { el, safeLink } from "./dom.js";
import { confirmed } from "./confirm.js";
import { plain, text } from "./mrkdwn.js";

export function element(block, item, context, { quiet = false } = {}) {
  const build = BUILDERS[item.type];
  if (!build) return el("span", { class: "unknown" }, `[${item.type}]`);
  const tell = async (choice, control) => {
    if (quiet) return;
    if (item.confirm && !(await confirmed(item.confirm, context.names))) return;
    context.press(block, item, choice, control);
  };
  return build(item, tell, context);
}

// What is chosen now, by action id.
export function chosen(values) {
  return Object.fromEntries([...values].map(([actionId, reader]) => [actionId, reader()]));
}

function button(item, tell) {
  const label = plain(item.text.text);
  const attributes = { class: `action ${item.style ?? ""}`, "data-action": item.action_id, type: "button" };
  const control = el("button", { ...attributes, "aria-label": item.accessibility_label }, ...label);
  control.addEventListener("click", () => {
    const url = item.url && safeLink(item.url);
    if (url) window.open(url, "_blank", "noopener,noreferrer");
    tell(undefined, control);
  });
  return control;
}

function select(item, tell, context, options, initial) {
  const placeholder = item.placeholder ? item.placeholder.text : "Choose…";
  const control = el(
    "select",
    { class: "action", "aria-label": placeholder, "data-action": item.action_id },
    el("option", { value: "" }, placeholder),
    options.map(([value, label]) => el("option", { value, selected: value === initial }, label)),
  );
  context.values.set(item.action_id, () => control.value || null);
  control.addEventListener("change", () => control.value && tell(control.value, control));
  return control;
}

function staticSelect(item, tell, context) {
  const options = item.options.map((option) => [option.value, option.text.text]);
  return select(item, tell, context, options, item.initial_option?.value);
}

function usersSelect(item, tell, context) {
  const options = context.people.map((person) => [person.id, person.real_name]);
  return select(item, tell, context, options, item.initial_user);
}

function overflow(item, tell) {
  const list = el("div", { class: "menu" });
  const menu = el("details", { class: "overflow" }, el("summary", { class: "action", "aria-label": "More" }, "⋯"), list);
  for (const option of item.options) {
    const choose = () => {
      menu.open = false;
      tell(option.value, menu.firstChild);
    };
    list.append(el("button", { type: "button", class: "plain", onclick: choose }, option.text.text));
  }
  return menu;
}

function boxes(item, tell, context, kind) {
  const name = `${item.action_id}-${Math.random()}`;
  const initial = new Set([item.initial_option, ...(item.initial_options ?? [])].filter(Boolean).map((o) => o.value));
  const inputs = [];
  const group = el("fieldset", { class: "boxes", "data-action": item.action_id });
  for (const option of item.options) {
    const input = el("input", { type: kind, name, value: option.value, checked: initial.has(option.value) });
    inputs.push(input);
    const described = option.description ? el("small", {}, ...text(option.description, context.names)) : null;
    group.append(el("label", {}, input, el("span", {}, ...text(option.text, context.names), described)));
  }
  const read = () => {
    const checked = inputs.filter((input) => input.checked).map((input) => input.value);
    return kind === "radio" ? (checked[0] ?? null) : checked;
  };
  context.values.set(item.action_id, read);
  group.addEventListener("change", () => tell(read(), group));
  return group;
}

function field(item, tell, context, attributes) {
  const tag = item.multiline ? "textarea" : "input";
  const control = el(tag, {
    placeholder: item.placeholder?.text,
    "data-action": item.action_id,
    minlength: item.min_length,
    maxlength: item.max_length,
    autofocus: item.focus_on_load,
    ...attributes,
  });
  if (item.initial_value ?? item.initial_date) control.value = item.initial_value ?? item.initial_date;
  context.values.set(item.action_id, () => control.value || null);
  control.addEventListener("change", () => tell(control.value, control));
  return control;
}

const BUILDERS = {
  button,
  overflow,
  static_select: staticSelect,
  users_select: usersSelect,
  checkboxes: (item, tell, context) => boxes(item, tell, context, "checkbox"),
  radio_buttons: (item, tell, context) => boxes(item, tell, context, "radio"),
  datepicker: (item, tell, context) => field(item, tell, context, { type: "date" }),
  plain_text_input: (item, tell, context) => field(item, tell, context, { type: "text" }),
  number_input: (item, tell, context) =>
    field(item, tell, context, {
      type: "number",
      step: item.is_decimal_allowed ? "any" : 1,
      min: item.min_value,
      max: item.max_value,
    }),
};
