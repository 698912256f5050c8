// What texts would fire now, and with chosen proposals in force too.

import { field, h } from "../dom.js";
import { counted, reasonOf } from "../words.js";
import { marked } from "./marked.js";
import { table } from "./table.js";
import { ProblemPlace } from "./problem.js";

export class DryRun {
  #texts = h("textarea", { rows: "4", id: "dry-texts", required: true });
  #button = h("button", { class: "primary", id: "dry-run" }, "Try it");
  #with = h("span.muted");
  #found = h("div", { role: "status" });
  #problem = new ProblemPlace();

  /** @param edits gives the records that are to be in force too */
  constructor(app, edits) {
    Object.assign(this, { app, edits });
    this.element = h(
      "form",
      { class: "card", onsubmit: (event) => this.#run(event) },
      h("h2", "Try it before you decide"),
      field("Texts", this.#texts, {
        note: "(one a line)",
        hint: "Questions as your users ask them, also such as must fire nothing.",
      }),
      this.#problem.element,
      h("div.actions", this.#button, this.#with),
      this.#found,
    );
  }

  set count(count) {
    this.#with.textContent = count
      ? `with ${counted(count, "chosen proposal")} in force too`
      : "with what is in force now; choose proposals above to add them";
  }

  async #run(event) {
    event.preventDefault();
    const texts = this.#texts.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    if (!texts.length) return;
    const { api, set } = this.app;
    await this.#problem.during(this.#button, async () => {
      const edits = this.edits();
      const now = await api.dryRun(set, texts, []);
      const then = edits.length ? await api.dryRun(set, texts, edits) : now;
      this.#found.replaceChildren(
        this.#table(now, then, new Map(edits.map((one) => [one.id, one]))),
      );
    });
  }

  #table(now, then, proposed) {
    const rows = now.map((before, i) => this.#row(before, then[i], proposed));
    return table("What each text fires", ["Text", "Fires now", "With the proposals"], rows, "dry");
  }

  #row(before, after, proposed) {
    const had = new Set(before.fired.map((spot) => spot.edit));
    const has = new Set(after.fired.map((spot) => spot.edit));
    const near = after.near.filter((spot) => !has.has(spot.edit));
    const list = (items) => (items.length ? h("ul", items) : h("span.muted", "nothing"));
    const now = before.fired.map(({ edit }) => h("li", h(has.has(edit) ? "span" : "del", edit)));
    const then = after.fired.map(({ edit }) => {
      const record = proposed.get(edit);
      const told = record ? `${edit} → ${record.target}` : edit;
      return h(
        "li",
        h(had.has(edit) ? "span" : "ins", told),
        record && h("span.muted", " (as proposed)"),
      );
    });
    return h(
      "tr",
      h(
        "th",
        { scope: "row" },
        marked(
          after.text,
          after.fired.map((spot) => spot.span),
        ),
        near.map((spot) =>
          h("div.muted", `Nearly: ${spot.subject} – ${reasonOf(spot.reason)[0]}.`),
        ),
      ),
      h("td", { "data-label": "Now" }, list(now)),
      h("td", { "data-label": "Then" }, list(then)),
    );
  }
}
