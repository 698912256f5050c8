// Facts: the table of a set's facts.

import { followOthers } from "../components/jobs.js";
import { table } from "../components/table.js";
import { confirmed } from "../components/dialog.js";
import { says, stateBadge, tagList, time } from "../components/facts.js";
import { field, h, replaced, settled } from "../dom.js";
import { counted, number, STATES } from "../words.js";
import { refused, setNeeded } from "./shared.js";

const PAGE = 25;

export async function factsView(app, route, signal) {
  if (!app.can("edit")) return refused("Facts", "read facts", "edit", app);
  if (!app.current) return setNeeded("Facts", app, newSet);
  const page = new FactsPage(app, route.query, signal);
  await page.refresh();
  followOthers(app, signal).catch(() => {});
  app.addEventListener("changed", () => page.refresh().catch(() => {}), { signal });
  return { title: "Facts", content: page.content };
}

/** A dialog that makes a set. */
export async function newSet(app) {
  const content = [
    field("Name", h("input", { name: "name", required: true, autocomplete: "off" })),
    field("New facts wait for approval", h("input", { type: "checkbox", name: "approval" }), {
      inline: true,
    }),
  ];
  let made;
  const run = async (form) => {
    made = await app.api.createSet(form.get("name"), form.has("approval"));
  };
  if (!(await confirmed({ title: "Make a set of facts", content, action: "Make it", run }))) return;
  await app.loadSets();
  app.choose(made.name);
  app.go("facts", { set: made.name });
}

class FactsPage {
  #table = h("div");
  #search = h("input", { type: "search", id: "search" });
  #state = h("select", { id: "state" });
  #tag = h("input", { id: "tag", list: "tags", autocomplete: "off" });
  #tags = h("datalist", { id: "tags" });

  constructor(app, query, signal) {
    Object.assign(this, { app, signal });
    this.#search.value = query.get("search") ?? "";
    this.#tag.value = query.get("tag") ?? "";
    const state = query.get("state") ?? "";
    this.#state.append(
      h("option", { value: "" }, "All"),
      ...Object.entries(STATES).map(([value, label]) =>
        h("option", { value, selected: value === state }, label),
      ),
    );
    this.after = query.getAll("after"); // where each page behind the first one begins
    const changed = settled(() => this.#filtered());
    this.#search.addEventListener("input", changed);
    this.#tag.addEventListener("input", changed);
    this.#state.addEventListener("change", () => this.#filtered());
  }

  get content() {
    return [this.#tools(), this.#table];
  }

  #tools() {
    const { app } = this;
    const submit = (event) => {
      event.preventDefault();
      this.#filtered();
    };
    const actions = h(
      "div.actions",
      h(
        "a",
        { class: "button primary", href: app.link("add") },
        app.proposes ? "Propose facts" : "Add facts",
      ),
      h("button", { type: "button", onclick: () => this.#export() }, "Export"),
      app.can("admin") && h("button", { type: "button", onclick: () => newSet(app) }, "New set"),
    );
    return h(
      "div.tools",
      h(
        "form",
        { class: "filters", role: "search", onsubmit: submit },
        field("Search", this.#search),
        field("State", this.#state),
        field("Tag", this.#tag),
        this.#tags,
      ),
      actions,
    );
  }

  get #filter() {
    return {
      search: this.#search.value.trim(),
      state: this.#state.value,
      tag: this.#tag.value.trim(),
    };
  }

  /** Other facts are asked for; the address says which, without a step in the browser's history. */
  async #filtered() {
    this.after = [];
    history.replaceState(null, "", this.app.link("facts", this.#filter));
    try {
      this.app.say(counted(await this.refresh(), "fact"));
    } catch (error) {
      if (error.name !== "AbortError") this.app.reload();
    }
  }

  /** Ask for this page of facts, and show it; how many there are in all. */
  async refresh() {
    const query = { ...this.#filter, limit: PAGE, after: this.after.at(-1) };
    const { data, total, after } = await this.app.api.facts(this.app.set, query, this.signal);
    const tags = [...new Set(data.flatMap((fact) => fact.tags))].sort();
    this.#tags.replaceChildren(...tags.map((tag) => h("option", { value: tag })));
    replaced(
      this.#table,
      data.length ? [this.#rows(data), this.#pages(data.length, total, after)] : this.#empty(),
    );
    return total;
  }

  #rows(data) {
    const { app } = this;
    const row = (fact) =>
      h(
        "tr",
        h(
          "th",
          { scope: "row" },
          h("a", { href: app.link(["facts", fact.id]) }, fact.subject),
          h("div.row-says", says(fact)),
          fact.shaky?.length > 0 &&
            h("div.warning", `${counted(fact.shaky.length, "shaky wording")}`),
        ),
        h(
          "td",
          stateBadge(fact.state),
          fact.why && fact.state === "failed" && h("div.muted.why-cell", fact.why),
        ),
        h(
          "td.wide",
          tagList(fact.tags, (tag) => app.link("facts", { tag })),
        ),
        h("td.wide.number", number(fact.hits)),
        h("td.wide.muted", time(fact.at), fact.by && h("div", fact.by)),
      );
    const heads = ["Fact", "State", ["Tags", "wide"], ["Hits", "wide number"], ["Written", "wide"]];
    return table(`Facts of the set “${app.set}”`, heads, data.map(row), "facts");
  }

  #pages(shown, total, after) {
    const page = this.after.length;
    const first = page * PAGE + 1;
    const link = (list, label) =>
      h(
        "a",
        { class: "button", href: this.app.link("facts", { ...this.#filter, after: list }) },
        label,
      );
    return h(
      "nav",
      { class: "pages", "aria-label": "Pages" },
      h(
        "span",
        { class: "muted", id: "total" },
        total > shown
          ? `${first}–${first + shown - 1} of ${number(total)}`
          : counted(total, "fact"),
      ),
      page > 0 && link(this.after.slice(0, -1), "Previous"),
      after && link([...this.after, after], "Next"),
    );
  }

  #empty() {
    const { app } = this;
    const filtered = Object.values(this.#filter).some(Boolean) || this.after.length;
    return filtered
      ? h(
          "div.empty",
          h("p", "No fact fits. Try fewer words, or another state."),
          h("a", { class: "button", href: app.link("facts") }, "Show all facts"),
        )
      : h(
          "div.empty",
          h("p", "This set has no facts yet. Add one by a form, or many from a table."),
          h("a", { class: "button primary", href: app.link("add") }, "Add facts"),
        );
  }

  async #export() {
    const { app } = this;
    const format = h(
      "select",
      { name: "format" },
      [
        ["csv", "CSV, for a spreadsheet"],
        ["jsonl", "JSON lines, for lks"],
        ["markdown", "Markdown, to read"],
      ].map(([value, label]) => h("option", { value }, label)),
    );
    await confirmed({
      title: "Export the facts in force",
      content: field("Format", format),
      action: "Download",
      run: async (form) => {
        const kind = form.get("format");
        const url = URL.createObjectURL(await app.api.exported(app.set, kind));
        h("a", {
          href: url,
          download: `${app.set}-${app.current.version}.${kind === "markdown" ? "md" : kind}`,
        }).click();
        setTimeout(() => URL.revokeObjectURL(url), 10_000);
      },
    });
  }
}
