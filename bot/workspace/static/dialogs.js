// Modals and short notices.

import { el } from "./dom.js";
import { renderBlocks } from "./blocks.js";
import { chosen } from "./elements.js";
import { plain, text } from "./mrkdwn.js";

export class Modal {
  constructor({ send, context }) {
    this.dialog = document.getElementById("modal");
    this.send = send;
    this.context = context;
    this.shown = null;
  }

  // Show the view, or nothing when there is none for the acting person.
  show(view) {
    if (!view) {
      this.shown = null;
      this.dialog.close();
      return;
    }
    if (this.shown?.id === view.id && this.shown.hash === view.hash) return;
    this.shown = view;
    const values = new Map();
    const press = (_block, item, choice) =>
      this.send("act_in_view", { view_id: view.id, action_id: item.action_id, choice, values: chosen(values) });
    const cancel = () => this.send("close_view", { view_id: view.id });
    const body = renderBlocks(view.blocks, { ...this.context(), values, press });
    const close = el("button", { class: "action", type: "button", onclick: cancel }, view.close?.text ?? "Cancel");
    const submit = view.submit ? el("button", { class: "action primary" }, view.submit.text) : null;
    const fault = el("p", { class: "fault", role: "alert" });
    const form = el(
      "form",
      { novalidate: true },
      el("header", {}, el("h2", {}, ...plain(view.title.text))),
      el("div", { class: "modal-body" }, body),
      fault,
      el("footer", {}, close, submit),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      fault.textContent = "";
      for (const note of form.querySelectorAll(".input .fault")) note.textContent = "";
      const answer = await this.send("submit", { view_id: view.id, values: chosen(values) }, { quiet: true });
      submit.disabled = false;
      if (answer.ok) return;
      const faults = Object.entries(answer.errors ?? {});
      if (!faults.length) fault.textContent = `The app did not take it: ${answer.error}.`;
      for (const [blockId, note] of faults) {
        const block = [...form.querySelectorAll("[data-block]")].find((node) => node.dataset.block === blockId);
        block?.querySelector(".fault")?.append(note);
      }
    });
    this.dialog.oncancel = (event) => {
      event.preventDefault();
      cancel();
    };
    this.dialog.replaceChildren(form);
    if (!this.dialog.open) this.dialog.showModal();
    form.querySelector(".input input, .input textarea, .input select")?.focus();
  }
}

let hiding = 0;

export function toast(words) {
  const node = document.getElementById("toast");
  node.textContent = words;
  node.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (node.hidden = true), 6000);
}
