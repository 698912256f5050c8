// History: who changed what in a set, what differs between versions, and the way back.

import { diffList } from "../components/changes.js";
import { confirmed } from "../components/dialog.js";
import { time } from "../components/facts.js";
import { table } from "../components/table.js";
import { ProblemPlace } from "../components/problem.js";
import { field, h, replaced } from "../dom.js";
import { ACTIONS, counted, labelled } from "../words.js";
import { newSet } from "./facts.js";
import { reviewTabs } from "./review.js";
import { refused, setNeeded } from "./shared.js";

const PAGE = 50;
const SHOWN = 5; // facts that a line names

export async function historyView(app, route, signal) {
  if (!app.can("edit")) return refused("History", "see the history", "edit", app);
  if (!app.current) return setNeeded("History", app, newSet);
  const page = new HistoryPage(app, signal);
  await page.refresh();
  app.addEventListener("changed", () => page.refresh().catch(() => {}), { signal });
  return { title: "History", content: page.content };
}

class HistoryPage {
  #lines = h("div");
  #found = h("div", { role: "status" });
  #problem = new ProblemPlace();
  #a = h("input", { type: "number", min: "0", required: true, id: "version-a" });
  #b = h("input", { type: "number", min: "0", required: true, id: "version-b" });
  #limit = PAGE;

  constructor(app, signal) {
    Object.assign(this, { app, signal });
  }

  get content() {
    const submit = (event) => {
      event.preventDefault();
      this.#compare();
    };
    return [
      reviewTabs(this.app, "history"),
      h(
        "form",
        { class: "card compare", onsubmit: submit },
        h("h2", "Compare two versions"),
        h(
          "div.row",
          field("Version", this.#a),
          field("with", this.#b),
          h("button", { class: "primary", id: "compare" }, "Compare"),
        ),
        this.#problem.element,
        this.#found,
      ),
      this.#lines,
    ];
  }

  async refresh() {
    const { app } = this;
    this.version = app.current.version; // that is seen here
    for (const input of [this.#a, this.#b]) input.max = String(this.version);
    if (!this.#a.value) this.#a.value = String(Math.max(0, this.version - 1));
    this.#b.value = String(this.version);
    const changes = await app.api.history(app.set, { limit: this.#limit }, this.signal);
    replaced(
      this.#lines,
      changes.length
        ? [this.#table(changes), this.#more(changes)]
        : h(
            "div.empty",
            h("p", "Nothing has changed yet. "),
            h("a", { class: "button primary", href: app.link("add") }, "Add facts"),
          ),
    );
  }

  #more(changes) {
    return (
      changes.length === this.#limit &&
      h(
        "button",
        {
          type: "button",
          id: "older",
          onclick: () => {
            this.#limit = Math.min(500, this.#limit + PAGE);
            this.refresh();
          },
        },
        "Show older changes",
      )
    );
  }

  #table(changes) {
    const first = new Set(); // a version's newest line has its way back
    const row = (change) => {
      const back = !first.has(change.version) && change.version !== this.version;
      first.add(change.version);
      return h(
        "tr",
        h("th", { scope: "row", class: "number" }, String(change.version)),
        h(
          "td",
          h(
            "div.change-line",
            h(
              "div",
              h(
                "div",
                h("b", change.by),
                ` ${ACTIONS[change.action] ?? change.action} `,
                this.#facts(change.facts),
              ),
              change.reason && h("div.muted", change.reason),
              h("div.muted", time(change.at)),
            ),
            back && h("div.row-actions", this.#ways(change.version)),
          ),
        ),
      );
    };
    return [
      !this.app.can("approve") &&
        h("p.muted", `To roll back takes the role approve; yours is ${this.app.who.role}.`),
      table(
        "Changes, the newest first",
        [["Version", "number"], "Change"],
        changes.map(row),
        "history",
      ),
    ];
  }

  #facts(labels) {
    const link = (label) => {
      const { id, revision } = labelled(label);
      return h(
        "a",
        { href: this.app.link(["facts", id]) },
        revision && revision !== "1" ? `${id} (revision ${revision})` : id,
      );
    };
    const named = labels.slice(0, SHOWN).flatMap((label, i) => [i > 0 && ", ", link(label)]);
    return [named, labels.length > SHOWN && ` and ${labels.length - SHOWN} more`];
  }

  #ways(version) {
    return [
      h(
        "button",
        {
          type: "button",
          "aria-label": `Compare version ${version} with now`,
          onclick: () => this.#compareWith(version),
        },
        "Compare",
      ),
      this.app.can("approve") &&
        h(
          "button",
          {
            type: "button",
            class: "roll-back",
            "aria-label": `Roll back to version ${version}`,
            onclick: () => this.#rollback(version),
          },
          "Roll back",
        ),
    ];
  }

  #compareWith(version) {
    this.#a.value = String(version);
    this.#b.value = String(this.version);
    this.#compare();
    this.#found.scrollIntoView({ block: "nearest" });
  }

  async #compare() {
    const [a, b] = [this.#a, this.#b].map((input) => input.value);
    await this.#problem.during(document.getElementById("compare"), async () => {
      const found = await this.app.api.diff(this.app.set, a, b, this.signal);
      this.#found.replaceChildren(h("h3", `From version ${a} to version ${b}`), ...diffList(found));
    });
  }

  /** Ask first, and tell what would change. */
  async #rollback(version) {
    const { app } = this;
    const seen = this.version;
    let diff;
    try {
      diff = await app.api.diff(app.set, seen, version, this.signal);
    } catch (error) {
      this.#problem.show(error);
      return;
    }
    const { added, removed, changed } = diff;
    const sums = [
      [added, "come back"],
      [removed, "go out"],
      [changed, "change"],
    ]
      .filter(([own]) => own.length)
      .map(
        ([own, verb]) =>
          `${counted(own.length, "fact")} ${own.length === 1 ? verb.replace(/^(\w+)/, third) : verb}`,
      );
    const content = [
      h(
        "p",
        sums.length ? `${sums.join(", ")}. ` : "Nothing in force changes. ",
        `What is in force then is what was at version ${version}; it becomes version ${seen + 1}, and nothing is learnt anew.`,
      ),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "What changes" },
        diffList(diff),
      ),
      field("Reason", h("input", { name: "reason", autocomplete: "off" }), {
        hint: "Kept in the history.",
      }),
    ];
    let now;
    const done = await confirmed({
      title: `Roll “${app.set}” back to version ${version}?`,
      content,
      action: "Roll back",
      danger: true,
      run: async (form) => {
        ({ version: now } = await app.api.rollback(
          app.set,
          version,
          form.get("reason").trim(),
          seen,
        ));
      },
      reload: () => app.changed(),
    });
    if (!done) return;
    app.notice(`Rolled back to version ${version}: version ${now} is in force.`);
    await app.changed();
    document.getElementById("heading").focus();
  }
}

/** A verb of which one thing is the subject. */
const third = (verb) => (verb === "go" ? "goes" : `${verb}s`);
