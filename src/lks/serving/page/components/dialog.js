// A question that must be answered first. Escape closes it, and the focus goes back.

import { freshId, h } from "../dom.js";
import { ProblemPlace } from "./problem.js";

/**
 * Ask, and do it.
 * @param run what is done with the dialog's form; its error is shown in the dialog
 * @param reload what the button of "the set has changed" does, once the dialog is closed
 * @returns whether it was done
 */
export function confirmed({ title, content, action, danger = false, run, reload = null }) {
  return new Promise((answer) => {
    const id = freshId("dialog");
    const problem = new ProblemPlace(
      reload &&
        (() => {
          close(false);
          reload();
        }),
    );
    const button = h("button", { class: danger ? "danger" : "primary" }, action);
    const form = h(
      "form",
      { onsubmit: submit },
      h("h2", { id }, title),
      content,
      problem.element,
      h(
        "div.actions",
        button,
        h("button", { type: "button", onclick: () => close(false) }, "Cancel"),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": id, oncancel: () => answer(false) }, form);

    function close(done) {
      dialog.close();
      answer(done);
    }

    async function submit(event) {
      event.preventDefault();
      if (await problem.during(button, () => run(new FormData(form)))) close(true);
    }

    shown(dialog);
  });
}

/** Something to look at, with a button that closes it. */
export function told(title, ...content) {
  const id = freshId("dialog");
  const dialog = h(
    "dialog",
    { "aria-labelledby": id },
    h("h2", { id }, title),
    content,
    h("div.actions", h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
  );
  shown(dialog);
}

function shown(dialog) {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
