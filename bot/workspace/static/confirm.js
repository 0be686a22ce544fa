// "Are you sure?" before what an element does.

import { el } from "./dom.js";
import { text } from "./mrkdwn.js";

export function confirmed(confirm, names) {
  const dialog = document.getElementById("confirm");
  return new Promise((resolve) => {
    const finish = (answer) => {
      dialog.close();
      resolve(answer);
    };
    const style = confirm.style ?? "primary";
    const accept = el("button", { class: `action ${style}`, type: "button" }, confirm.confirm.text);
    const deny = el("button", { class: "action", type: "button" }, confirm.deny.text);
    accept.addEventListener("click", () => finish(true));
    deny.addEventListener("click", () => finish(false));
    dialog.oncancel = () => resolve(false);
    dialog.replaceChildren(
      el("h2", {}, confirm.title.text),
      el("p", {}, ...text(confirm.text, names)),
      el("footer", {}, deny, accept),
    );
    dialog.showModal();
    accept.focus();
  });
}
