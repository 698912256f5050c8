// Review: what is proposed, what it would change, and the decision.

import { confirmed } from "../components/dialog.js";
import { recordOf, says, tagList, time, validity } from "../components/facts.js";
import { DryRun } from "../components/dry-run.js";
import { followOthers, JobEvent } from "../components/jobs.js";
import { field, h, replaced } from "../dom.js";
import { counted } from "../words.js";
import { newSet } from "./facts.js";
import { refused, setNeeded } from "./shared.js";

const MOST = 100;

export async function reviewView(app, route, signal) {
  if (!app.can("edit")) return refused("Review", "see proposals", "edit", app);
  if (!app.current) return setNeeded("Review", app, newSet);
  const page = new ReviewPage(app, signal);
  await page.refresh();
  followOthers(app, signal).catch(() => {});
  app.addEventListener("changed", () => page.refresh().catch(() => {}), { signal });
  return { title: "Review", content: page.content };
}

export function reviewTabs(app, at) {
  const tab = (view, label) =>
    h("a", { href: app.link(view), "aria-current": view === at ? "page" : null }, label);
  return h(
    "nav",
    { class: "tabs", "aria-label": "Review" },
    tab("review", "Proposals"),
    tab("history", "History"),
  );
}

class ReviewPage {
  #list = h("div");
  #proposals = [];
  #chosen = new Set(); // ids

  constructor(app, signal) {
    Object.assign(this, { app, signal });
    this.dryRun = new DryRun(app, () => this.#selected.map(recordOf));
  }

  get content() {
    return [reviewTabs(this.app, "review"), this.#list, this.dryRun.element];
  }

  get #selected() {
    return this.#proposals.filter((fact) => this.#chosen.has(fact.id));
  }

  async refresh() {
    const { app, signal } = this;
    const { data, total } = await app.api.facts(
      app.set,
      { state: "proposed", limit: MOST },
      signal,
    );
    const known = new Set(this.#proposals.map((fact) => fact.id));
    for (const fact of data) if (!known.has(fact.id)) this.#chosen.add(fact.id); // all, to begin with
    this.#proposals = data;
    this.#chosen = new Set(data.map((fact) => fact.id).filter((id) => this.#chosen.has(id)));
    const against = await standing(app, data, signal);
    replaced(this.#list, data.length ? this.#shown(against, total) : this.#empty());
    this.dryRun.element.hidden = !data.length;
    this.#count();
  }

  #empty() {
    const { app } = this;
    const how = app.current.approval
      ? "New facts of this set come here when somebody without the role approve writes them."
      : "This set takes facts at once. Tick “Wait for approval” when you add one to have it reviewed.";
    return h(
      "div.empty",
      h("p", "Nothing waits for approval. ", how),
      h("a", { class: "button", href: app.link("history") }, "See what has changed"),
    );
  }

  #shown(against, total) {
    const may = this.app.can("approve");
    const all = h("input", {
      type: "checkbox",
      id: "all",
      onchange: () => this.#chooseAll(all.checked),
    });
    this.all = all;
    this.bulk = {
      approve: h("button", {
        type: "button",
        class: "primary",
        id: "approve",
        onclick: () => this.#decide("approve", this.#selected),
      }),
      reject: h("button", {
        type: "button",
        id: "reject",
        onclick: () => this.#decide("reject", this.#selected),
      }),
    };
    return [
      h(
        "div.bulk",
        field("Choose all", all, { inline: true }),
        may
          ? h("div.actions", Object.values(this.bulk))
          : h(
              "p.muted",
              `To decide takes the role approve; yours is ${this.app.who.role}. You can try what they would fire.`,
            ),
      ),
      total > this.#proposals.length &&
        h("p.muted", `The first ${this.#proposals.length} of ${total} proposals.`),
      h(
        "ul.proposals",
        this.#proposals.map((fact) => this.#proposal(fact, against.get(fact.id), may)),
      ),
    ];
  }

  #proposal(fact, against, may) {
    const { app } = this;
    const box = h("input", {
      type: "checkbox",
      id: `choose-${fact.id}`,
      checked: this.#chosen.has(fact.id),
      onchange: () => this.#choose(fact.id, box.checked),
    });
    box.dataset.fact = fact.id;
    return h(
      "li.card.proposal",
      h(
        "div.proposal-head",
        box,
        h("label", { for: box.id }, fact.subject),
        tagList(fact.tags),
        h("span.muted", [fact.by, " · ", time(fact.at)]),
      ),
      h("p", says(fact)),
      fact.reason && h("p", h("span.muted", "Why: "), fact.reason),
      validity(fact) && h("p.muted", "Valid ", validity(fact)),
      conflict(app, fact, against),
      h(
        "div.actions",
        may &&
          h(
            "button",
            {
              type: "button",
              class: "approve-one",
              "aria-label": `Approve ${fact.subject}`,
              onclick: () => this.#decide("approve", [fact]),
            },
            "Approve",
          ),
        may &&
          h(
            "button",
            {
              type: "button",
              class: "reject-one",
              "aria-label": `Reject ${fact.subject}`,
              onclick: () => this.#decide("reject", [fact]),
            },
            "Reject",
          ),
        h("a", { class: "button", href: app.link(["facts", fact.id]) }, "Look at it"),
      ),
    );
  }

  #choose(id, on) {
    if (on) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#count();
  }

  #chooseAll(on) {
    this.#chosen = new Set(on ? this.#proposals.map((fact) => fact.id) : []);
    for (const box of this.#list.querySelectorAll("[data-fact]")) box.checked = on;
    this.#count();
  }

  #count() {
    if (!this.#proposals.length) return;
    const count = this.#chosen.size;
    this.bulk.approve.textContent = `Approve ${count}`;
    this.bulk.reject.textContent = `Reject ${count}`;
    this.bulk.approve.disabled = this.bulk.reject.disabled = !count;
    this.all.checked = count === this.#proposals.length;
    this.all.indeterminate = count > 0 && !this.all.checked;
    this.dryRun.count = count;
  }

  async #decide(what, facts) {
    const { app } = this;
    const approve = what === "approve";
    const ids = facts.map((fact) => fact.id);
    let job;
    const done = await confirmed({
      title: `${approve ? "Approve" : "Reject"} ${counted(facts.length, "proposal")}?`,
      content: [
        h(
          "ul",
          facts.slice(0, 10).map((fact) => h("li", says(fact))),
        ),
        facts.length > 10 && h("p.muted", `and ${facts.length - 10} more`),
        field("Reason", h("input", { name: "reason", autocomplete: "off" }), {
          hint: "Kept in the history.",
        }),
      ],
      action: approve ? "Approve" : "Reject",
      danger: !approve,
      run: async (form) => {
        job = await app.api[what](app.set, ids, form.get("reason").trim());
      },
      reload: () => this.refresh(),
    });
    if (!done) return;
    if (approve) app.dispatchEvent(new JobEvent(job));
    else app.notice(`${counted(facts.length, "proposal")} rejected.`);
    await app.changed();
    document.getElementById("heading").focus();
  }
}

/** Facts in force about the same subjects, by the proposal's id. */
async function standing(app, proposals, signal) {
  const subjects = [...new Set(proposals.map((fact) => fact.subject))];
  const found = await Promise.all(
    subjects.map((search) =>
      app.api.facts(app.set, { state: "in_force", search, limit: 50 }, signal),
    ),
  );
  const bySubject = new Map(
    subjects.map((subject, i) => [
      subject,
      found[i].data.filter((fact) => fact.subject === subject),
    ]),
  );
  return new Map(proposals.map((fact) => [fact.id, bySubject.get(fact.subject)]));
}

/** What in force goes when the proposal comes, and what else stands there about its subject. */
function conflict(app, fact, against) {
  const same = (one) => one.prompt.toLowerCase() === fact.prompt.toLowerCase();
  const goes = against.filter((one) => one.id === fact.id || same(one));
  const stays = against.filter((one) => !goes.includes(one));
  const link = (one) => h("a", { href: app.link(["facts", one.id]) }, one.id);
  return [
    !goes.length && h("p.muted", "New: it replaces nothing."),
    goes.map((one) =>
      h(
        "div.conflict",
        h("p", h("b", "Replaces a fact in force"), " (", link(one), "):"),
        h(
          "p",
          !same(one) && `${one.prompt} → `,
          h("del", one.target),
          " → ",
          h("ins", fact.target),
        ),
      ),
    ),
    stays.length > 0 &&
      h(
        "details",
        h("summary", `${counted(stays.length, "other fact")} of ${fact.subject} in force`),
        h(
          "ul",
          stays.map((one) => h("li", says(one))),
        ),
      ),
  ];
}
