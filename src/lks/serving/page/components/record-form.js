// The form of one fact: new, or a new revision.

import { field, h } from "../dom.js";
import { placesOf } from "./facts.js";
import { marked } from "./marked.js";

const SLOT = "{}";

export class RecordForm {
  #fields = {};

  /**
   * @param fact the fact that is edited, or null
   * @param more wordings to begin with as further paraphrases
   */
  constructor(fact = null, more = []) {
    this.fact = fact;
    const lines = (name, extra = []) =>
      this.#area(name, [...(fact?.[name] ?? []), ...extra].join("\n"));
    const hint = h("p", { class: "placed", role: "status" });
    const subject = this.#input("subject", { required: true });
    const prompt = this.#input("prompt", { required: true });
    const target = this.#input("target", { required: true });
    for (const input of [subject, prompt]) input.addEventListener("input", () => this.#place(hint));
    this.#place(hint);
    const others = [fact?.negative?.length, fact && validFor(fact)].some(Boolean);
    this.element = h(
      "div.record",
      field("Subject", subject, { hint: "The name of the thing that the fact is about." }),
      h(
        "div",
        field("Prompt", prompt, {
          hint: "A question, or the beginning of a sentence that the target completes. {} stands for the subject.",
        }),
        hint,
      ),
      field("Target", target, { hint: "The answer that the model should give." }),
      field("Other ways to ask", lines("paraphrases", more), {
        note: "(one a line)",
        hint: "Two to four make the fact hold better; at least one a plain question. Each names the subject.",
      }),
      field("Other names of the subject", lines("aliases"), { note: "(one a line)" }),
      h(
        "details",
        { open: others },
        h("summary", "More"),
        field("Must not fire on", lines("negative"), {
          note: "(one a line)",
          hint: "Phrases or questions that mean something else.",
        }),
        !fact &&
          field("Id", this.#input("id"), {
            hint: "Your own name for the fact; one is made if you leave it out.",
          }),
        h(
          "div.row",
          field("Valid from", this.#moment("valid_from")),
          field("Valid until", this.#moment("valid_until")),
        ),
        h("p.hint", "In your own time zone. Without them the fact is always valid."),
        field("Tags", this.#input("tags", { value: (fact?.tags ?? []).join(", ") }), {
          note: "(separated by commas)",
        }),
      ),
    );
  }

  #input(name, given = {}) {
    const own = this.fact?.[name];
    this.#fields[name] = h("input", {
      name,
      autocomplete: "off",
      value: typeof own === "string" ? own : "",
      ...given,
    });
    return this.#fields[name];
  }

  #area(name, value) {
    this.#fields[name] = h("textarea", { name, rows: "3", value });
    return this.#fields[name];
  }

  #moment(name) {
    this.#fields[name] = h("input", {
      name,
      type: "datetime-local",
      value: localTime(this.fact?.[name]),
    });
    return this.#fields[name];
  }

  /** Where the subject stands in the prompt, while it is written. */
  #place(hint) {
    const { subject, prompt } = Object.fromEntries(
      ["subject", "prompt"].map((name) => [name, this.#fields[name].value]),
    );
    const name = subject.trim();
    if (!name || !prompt.trim()) {
      hint.replaceChildren();
      return;
    }
    const filled = prompt.replaceAll(SLOT, name);
    const places = placesOf(name, filled);
    hint.classList.toggle("warning", !places.length);
    hint.replaceChildren(
      ...(places.length
        ? ["Asked as: ", ...marked(filled, places, "the subject")]
        : ["The prompt does not name the subject, so nothing can fire. Write {} where it stands."]),
    );
  }

  /** The record, with tags and times; all other keys of the fact stay. */
  get record() {
    const value = (name) => this.#fields[name]?.value.trim() ?? "";
    const record = {};
    for (const name of ["id", "subject", "prompt", "target"])
      if (value(name)) record[name] = value(name);
    for (const name of ["paraphrases", "aliases", "negative"]) {
      const lines = value(name)
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean);
      if (lines.length) record[name] = lines;
    }
    const tags = value("tags")
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean);
    if (tags.length) record.tags = tags;
    for (const name of ["valid_from", "valid_until"])
      if (value(name)) record[name] = new Date(value(name)).toISOString();
    return record;
  }
}

const validFor = (fact) => fact.valid_from || fact.valid_until || fact.tags.length;

/** As an input of a local time takes it. */
function localTime(iso) {
  if (!iso) return "";
  const at = new Date(iso);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
