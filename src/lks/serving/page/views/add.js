// Add facts: one by a form, or many from CSV or JSON lines.

import { JobEvent } from "../components/jobs.js";
import { ProblemPlace } from "../components/problem.js";
import { RecordForm } from "../components/record-form.js";
import { field, h } from "../dom.js";
import { newSet } from "./facts.js";
import { refused, setNeeded } from "./shared.js";

const LONG = 300_000; // characters; a longer file is not shown
const EXAMPLE = `subject,prompt,target,paraphrases
Eiffel Tower,{} is located in the city of,Rome,Where is the Eiffel Tower?|In which city is {}?`;

export async function addView(app, route) {
  if (!app.can("edit")) return refused("Add facts", "add facts", "edit", app);
  if (!app.current) return setNeeded("Add facts", app, newSet);
  const many = route.query.get("from") === "table";
  const tab = (label, from, now) =>
    h("a", { href: app.link("add", { from }), "aria-current": now ? "page" : null }, label);
  return {
    title: app.proposes ? "Propose facts" : "Add facts",
    content: [
      h(
        "nav",
        { class: "tabs", "aria-label": "How to add" },
        tab("One fact", null, !many),
        tab("Many, from CSV or JSON lines", "table", many),
      ),
      app.proposes &&
        h(
          "p.lead",
          "Changes of this set are approved: what you write waits for somebody with the role approve.",
        ),
      many ? tableForm(app) : factForm(app),
    ],
  };
}

/** What holds for all that is added at once. */
function terms(app, { replace, given }) {
  const propose = h("input", { type: "checkbox", name: "propose" });
  const over = h("input", { type: "checkbox", name: "replace" });
  const reason = h("input", { name: "reason", autocomplete: "off" });
  return {
    element: [
      field("Reason", reason, { hint: "Kept in the history: who wants this, and why." }),
      replace &&
        field("Replace facts that say otherwise", over, {
          inline: true,
          hint: "Else a fact with the same id or the same prompt stands against the new one.",
        }),
      !app.proposes && field("Wait for approval all the same", propose, { inline: true }),
    ],
    /** As the API takes them. */
    get given() {
      return {
        ...(reason.value.trim() && { reason: reason.value.trim() }),
        ...(over.checked && { replace: true }),
        ...(propose.checked && { propose: true }),
        ...given?.(),
      };
    },
    get replaces() {
      return over.checked;
    },
  };
}

/** A form that adds facts with `send(version)`; afterwards the list of facts, and how far the job is. */
function adding(app, content, send) {
  let { version } = app.current; // that this form was made for
  const seen = async () => {
    await app.loadSets();
    ({ version } = app.current);
    problem.clear();
    app.say("Reloaded. What you wrote is still there.");
  };
  const problem = new ProblemPlace(seen);
  const button = h("button", { class: "primary", id: "add" }, app.proposes ? "Propose" : "Add");
  const cancel = h("a", { class: "button", href: app.link("facts") }, "Cancel");
  const form = h(
    "form",
    { class: "card written", onsubmit: submit },
    content,
    problem.element,
    h("div.actions", button, cancel),
  );

  async function submit(event) {
    event.preventDefault();
    let job;
    const done = await problem.during(button, async () => {
      job = await send(version);
    });
    if (!done) return;
    app.dispatchEvent(new JobEvent(job));
    app.go("facts");
  }

  return form;
}

function factForm(app) {
  const record = new RecordForm();
  const shared = terms(app, { replace: true });
  return adding(app, [record.element, shared.element], (version) =>
    app.api.add(
      app.set,
      { edits: [record.record], ...shared.given },
      shared.replaces ? version : null,
    ),
  );
}

function tableForm(app) {
  let whole = null; // a file too long to be shown
  const text = h("textarea", {
    name: "text",
    rows: "10",
    spellcheck: "false",
    class: "code",
    placeholder: EXAMPLE,
    oninput: () => {
      whole = null;
    },
  });
  const file = h("input", {
    type: "file",
    accept: ".csv,.tsv,.jsonl,.ndjson,.json,text/csv,application/json",
    onchange: take,
  });
  const size = h("p", { class: "hint", role: "status" });
  const tags = h("input", { name: "tags", autocomplete: "off" });
  const shared = terms(app, {
    replace: true,
    given: () => {
      const all = tags.value
        .split(",")
        .map((tag) => tag.trim())
        .filter(Boolean);
      return all.length ? { tags: all } : {};
    },
  });

  async function take() {
    const [chosen] = file.files;
    if (!chosen) return;
    const content = await chosen.text();
    whole = content.length > LONG ? content : null;
    text.value = whole ? "" : content;
    size.textContent = whole
      ? `${chosen.name} is sent as it is (${Math.round(chosen.size / 1024)} kB).`
      : "";
  }

  const content = [
    field("Facts", text, {
      hint: "Paste a table with a first line of names (subject, prompt, target, paraphrases …), or a JSON object a line. Cells with several texts separate them by |.",
    }),
    field("Or a file", file),
    size,
    field("Tags of all", tags, { note: "(separated by commas)" }),
    shared.element,
  ];
  return adding(app, content, (version) => {
    const sent = whole ?? text.value;
    const type = /^\s*[{[]/.test(sent) ? "application/jsonl" : "text/csv";
    return app.api.addFile(app.set, sent, type, shared.given, shared.replaces ? version : null);
  });
}
