// The box to type into, with suggestions for commands and people.

import { el } from "./dom.js";

export class Composer {
  constructor(form, { send, commands, people }) {
    this.form = form;
    this.area = form.querySelector("textarea");
    this.hints = form.querySelector(".hints");
    this.commands = commands;
    this.people = people;
    this.chosen = 0;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const words = this.area.value.trim();
      if (!words) return;
      this.area.value = "";
      this.update();
      if ((await send(words)) || this.area.value) return;
      this.area.value = words; // nobody heard them
      this.update();
    });
    this.area.addEventListener("input", () => this.update());
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.area.addEventListener("blur", () => (this.hints.hidden = true));
  }

  key(event) {
    const options = [...this.hints.children];
    if (!this.hints.hidden && options.length) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        this.chosen = (this.chosen + step + options.length) % options.length;
        this.moved = true;
        this.mark();
        event.preventDefault();
        return;
      }
      const completes = this.moved || options[this.chosen].dataset.partial;
      if ((event.key === "Tab" && !event.shiftKey) || (event.key === "Enter" && !event.shiftKey && completes)) {
        options[this.chosen].dispatchEvent(new MouseEvent("mousedown", { cancelable: true }));
        event.preventDefault();
        return;
      }
      if (event.key === "Escape") {
        this.hints.hidden = true;
        return;
      }
    }
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.form.requestSubmit();
    }
  }

  update() {
    this.area.style.height = "auto";
    this.area.style.height = `${Math.min(this.area.scrollHeight, 180)}px`;
    const found = this.suggestions();
    this.hints.replaceChildren(...found.map((hint) => this.option(hint)));
    this.hints.hidden = !found.length;
    this.chosen = 0;
    this.moved = false;
    this.mark();
  }

  mark() {
    for (const [index, node] of [...this.hints.children].entries())
      node.setAttribute("aria-selected", String(index === this.chosen));
  }

  suggestions() {
    const typed = this.area.value.slice(0, this.area.selectionStart);
    const command = /^(\/\S*)$/.exec(typed);
    if (command) {
      return this.commands()
        .filter((entry) => entry.name.startsWith(command[1]))
        .map((entry) => ({ word: `${entry.name} `, label: `${entry.name} ${entry.usage_hint}`, note: entry.description, from: 0 }));
    }
    const known = this.commands().find((entry) => typed.startsWith(`${entry.name} `));
    if (known && !typed.slice(known.name.length + 1).trim()) {
      return known.usage_hint
        .split("|")
        .map((hint) => hint.trim())
        .filter(Boolean)
        .map((hint) => ({ word: `${known.name} ${hint}`, label: hint, note: "", from: 0, optional: true }));
    }
    const mention = /(?:^|\s)@(\w*)$/.exec(typed);
    if (mention) {
      const from = typed.length - mention[1].length - 1;
      return this.people()
        .filter((person) => person.name.startsWith(mention[1].toLowerCase()))
        .map((person) => ({ word: `@${person.name} `, label: `@${person.name}`, note: person.real_name, from }));
    }
    return [];
  }

  option(hint) {
    const typed = this.area.value.slice(hint.from, this.area.selectionStart);
    const partial = !hint.optional && typed !== hint.word.trim();
    const note = hint.note ? el("small", {}, hint.note) : null;
    const node = el("div", { role: "option", "data-partial": partial ? "yes" : null }, el("b", {}, hint.label), note);
    node.addEventListener("mousedown", (event) => {
      event.preventDefault();
      const end = this.area.selectionStart;
      this.area.setRangeText(hint.word, hint.from, end, "end");
      this.update();
      this.area.focus();
    });
    return node;
  }
}
