// The key: asked for where the server wants one. It is kept until the tab is closed.

import { confirmed } from "../components/dialog.js";
import { ProblemPlace } from "../components/problem.js";
import { field, h } from "../dom.js";

const HINT =
  "It is kept in this tab only, and forgotten when you close it. An admin of the server makes keys.";

function keyField() {
  const input = h("input", {
    type: "password",
    name: "key",
    autocomplete: "off",
    required: true,
    spellcheck: "false",
  });
  return field("API key", input, { hint: HINT });
}

/** Take a key if the server knows it; else the old one stays, and the error is thrown. */
async function take(app, key) {
  const before = { key: app.api.key, set: app.set };
  app.api.key = key.trim();
  try {
    app.set = null;
    await app.load();
  } catch (error) {
    app.api.key = before.key;
    app.set = before.set;
    throw error;
  }
}

export function keyView(app, error) {
  const problem = new ProblemPlace();
  if (app.api.key) {
    app.api.key = null;
    problem.show(error);
  }
  const button = h("button.primary", "Go on");
  const form = h(
    "form",
    { class: "card narrow", onsubmit: submit },
    keyField(),
    problem.element,
    h("div.actions", button),
  );

  async function submit(event) {
    event.preventDefault();
    if (await problem.during(button, () => take(app, new FormData(form).get("key")))) app.reload();
  }

  return { title: "This server wants a key", content: form };
}

export async function changeKey(app) {
  const done = await confirmed({
    title: "Use another key",
    content: keyField(),
    action: "Use this key",
    run: (form) => take(app, form.get("key")),
  });
  if (done) app.reload();
}
