// One fact: what it says, how it fares, and its revisions; changed and taken out here.

import { confirmed } from "../components/dialog.js";
import { changedKeys } from "../components/changes.js";
import { says, stateBadge, tagList, time, validity, withTerms } from "../components/facts.js";
import { JobEvent } from "../components/jobs.js";
import { ProblemPlace } from "../components/problem.js";
import { RecordForm } from "../components/record-form.js";
import { field, h } from "../dom.js";
import { counted } from "../words.js";
import { questionOf } from "./ask.js";
import { refused } from "./shared.js";

const STANDS = ["in_force", "learning", "ready", "proposed"]; // states that can be retired

export async function factView(app, route, signal) {
  if (!app.can("edit")) return refused("A fact", "read facts", "edit", app);
  const id = route.parts[1];
  const [{ fact, version }, revisions] = await Promise.all([
    app.api.fact(app.set, id, signal),
    app.api.revisions(app.set, id, signal),
  ]);
  if (route.parts[2] === "edit") return editing(app, fact, version, route.query.getAll("more"));
  app.addEventListener("changed", () => app.reload(), { signal });
  return { title: fact.subject, content: shown(app, fact, version, revisions) };
}

// --- looking at it

function shown(app, fact, version, revisions) {
  const inForce = revisions.find((one) => one.state === "in_force");
  return [
    h("p.lead.fact-says", says(fact)),
    h("p.fact-state", stateBadge(fact.state), fact.why && h("span.muted", ` ${fact.why}`)),
    inForce &&
      inForce !== revisions[0] &&
      h("p", `Revision ${inForce.revision} is in force until then: “${inForce.target}”.`),
    actions(app, fact, version),
    shaky(app, fact),
    h("div.columns", details(app, fact), wordings(fact)),
    history(revisions),
  ];
}

function actions(app, fact, version) {
  const stands = STANDS.includes(fact.state);
  const proposed = fact.state === "proposed";
  return h(
    "div.actions",
    h(
      "a",
      { class: "button primary", href: app.link("ask", { prompt: questionOf(fact) }) },
      "Ask it",
    ),
    h(
      "a",
      { class: "button", href: app.link(["facts", fact.id, "edit"]) },
      app.proposes ? "Propose a change" : "Edit",
    ),
    proposed && h("a", { class: "button", href: app.link("review") }, "Review it"),
    stands &&
      app.retires &&
      h(
        "button",
        {
          type: "button",
          class: "danger",
          id: "retire",
          onclick: () => retire(app, fact, version),
        },
        "Retire",
      ),
    stands &&
      !app.retires &&
      h(
        "span.muted",
        "Changes of this set are approved, so to retire facts takes the role approve.",
      ),
    fact.state === "retired" &&
      h(
        "button",
        {
          type: "button",
          id: "bring-back",
          onclick: (event) => bringBack(app, fact, event.currentTarget),
        },
        app.proposes ? "Propose it again" : "Bring back",
      ),
  );
}

function shaky(app, fact) {
  if (!fact.shaky?.length) return null;
  const line = (wording) =>
    h("li", `“${wording}” `, h("a", { href: app.link("ask", { prompt: wording }) }, "Ask it so"));
  return h(
    "section.card.caution",
    h("h2", "Shaky wordings"),
    h("p", "Asked in these ways, the model did not give the target:"),
    h("ul", fact.shaky.map(line)),
    h(
      "p",
      "Add those that do ask for this fact as other ways to ask, and save: the fact is then learnt with them. One that means something else belongs under “Must not fire on”.",
    ),
    h(
      "a",
      { class: "button", href: app.link(["facts", fact.id, "edit"], { more: fact.shaky }) },
      "Add them and edit",
    ),
  );
}

function details(app, fact) {
  const row = (name, ...value) => value.some(Boolean) && [h("dt", name), h("dd", value)];
  const tested =
    fact.shaky === null
      ? "not tested yet"
      : fact.shaky.length
        ? null
        : "held in all wordings tested";
  return h(
    "section.card",
    h("h2", "Details"),
    h(
      "dl.details",
      row("Id", h("code", fact.id)),
      row("Revision", String(fact.revision)),
      row("Hits", counted(fact.hits, "text"), " since the server was started"),
      row("Self-test", tested),
      row("Valid", validity(fact)),
      row(
        "Tags",
        tagList(fact.tags, (tag) => app.link("facts", { tag })),
      ),
      row(
        "In force",
        fact.since !== null && `from version ${fact.since}`,
        fact.until !== null && ` until version ${fact.until}`,
      ),
      row("Written", time(fact.at), fact.by && ` by ${fact.by}`),
      row("Reason", fact.reason),
    ),
  );
}

function wordings(fact) {
  const list = (title, texts) =>
    texts?.length > 0 && [
      h("h3", title),
      h(
        "ul",
        texts.map((text) => h("li", typeof text === "string" ? text : text.prompt)),
      ),
    ];
  const parts = [
    list("Other ways to ask", fact.paraphrases),
    list("Other names", fact.aliases),
    list("Must not fire on", fact.negative),
    list("Other questions, whose answers stay", [fact.locality ?? []].flat()),
  ].filter(Boolean);
  return parts.length > 0 && h("section.card", h("h2", "Wordings"), parts);
}

function history(revisions) {
  const item = (one, i) =>
    h(
      "li",
      h(
        "p",
        h("b", `Revision ${one.revision}`),
        " ",
        stateBadge(one.state),
        " ",
        h("span.muted", time(one.at), one.by && ` · ${one.by}`),
      ),
      one.reason && h("p", `Reason: ${one.reason}`),
      one.why && h("p.muted", one.why),
      revisions[i + 1] ? changedKeys(revisions[i + 1], one) : h("p", says(one)),
    );
  return h(
    "section.card",
    h("h2", "Revisions"),
    h("ol", { class: "revisions", reversed: true }, revisions.map(item)),
  );
}

// --- changing it

function editing(app, fact, version, more) {
  const record = new RecordForm(
    fact,
    more.filter((one) => !(fact.paraphrases ?? []).includes(one)),
  );
  const reason = h("input", { name: "reason", autocomplete: "off" });
  const problem = new ProblemPlace(() => app.reload());
  const button = h(
    "button",
    { class: "primary", id: "save" },
    app.proposes ? "Propose this revision" : "Save as a new revision",
  );
  const back = app.link(["facts", fact.id]);
  const form = h(
    "form",
    { class: "card written", onsubmit: submit },
    record.element,
    field("Reason", reason, { hint: "Kept in the history." }),
    problem.element,
    h("div.actions", button, h("a", { class: "button", href: back }, "Cancel")),
    h("p.hint", "What is in force now stays so until the new revision is learnt."),
  );

  async function submit(event) {
    event.preventDefault();
    let job;
    const sent = merged(fact, record.record);
    if (
      await problem.during(button, async () => {
        job = await app.api.replace(app.set, fact.id, sent, reason.value.trim(), version);
      })
    ) {
      app.dispatchEvent(new JobEvent(job));
      location.hash = back;
    }
  }

  return { title: `Edit: ${fact.subject}`, content: form };
}

/** What the form has, and of the fact all keys that the form does not show. */
function merged(fact, record) {
  const shownKeys = ["paraphrases", "aliases", "negative", "tags", "valid_from", "valid_until"];
  const kept = Object.entries(withTerms(fact)).filter(([key]) => !shownKeys.includes(key));
  return { ...Object.fromEntries(kept), ...record };
}

async function retire(app, fact, version) {
  const reason = h("input", { name: "reason", autocomplete: "off" });
  const done = await confirmed({
    title: `Retire “${fact.subject}”?`,
    content: [
      h("p", "The model answers this as if it had never been told: ", says(fact)),
      field("Reason", reason, { hint: "Kept in the history." }),
    ],
    action: "Retire",
    danger: true,
    run: (form) => app.api.retire(app.set, [fact.id], form.get("reason").trim(), version),
    reload: app.reload,
  });
  if (!done) return;
  const undo = h(
    "button",
    { type: "button", id: "undo", onclick: () => bringBack(app, fact, undo) },
    "Undo",
  );
  app.notice(`“${fact.subject}” is out of force.`, undo);
  await app.changed();
  undo.focus();
}

/** The same record once more; its block is known, so that nothing is learnt anew. */
async function bringBack(app, fact, button) {
  button.disabled = true;
  try {
    const job = await app.api.add(app.set, { edits: [withTerms(fact)], reason: "brought back" });
    app.clearNotices();
    app.dispatchEvent(new JobEvent(job));
  } catch (error) {
    button.disabled = false;
    app.notice(error.message);
  }
}
