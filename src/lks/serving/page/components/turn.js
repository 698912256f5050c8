// One question and its two answers, as they are written; then what fired, and why.

import { freshId, h, replaced } from "../dom.js";
import { partOf } from "./conversation.js";
import { compared, marked } from "./marked.js";
import { ProblemPlace } from "./problem.js";
import { spotList } from "./spots.js";

export class Turn {
  #prompt = h("p.prompt");
  #why = h("div.why");

  /** @param message index of the prompt in the chat; null in plain text */
  constructor(app, { prompt, message, set, version }) {
    Object.assign(this, { app, prompt, message, set });
    this.#prompt.textContent = prompt;
    this.before = new Side("Before", "the model as it is");
    this.after = set ? new Side("After", withFacts(set, version)) : null;
    const sides = [this.before, this.after].filter(Boolean);
    this.element = h(
      "article",
      { class: "turn", "aria-label": `Asked: ${prompt}` },
      this.#prompt,
      h(
        "div.sides",
        sides.map((side) => side.element),
      ),
      this.#why,
    );
  }

  /** Ask both sides at once, until both have ended or the signal stops them. */
  async run(api, conversation, settings, signal) {
    const ask = (name) =>
      api.stream(conversation.path, conversation.body(name, this.prompt, settings), signal);
    const running = [this.before.read(ask("before"))];
    if (this.after) running.push(this.after.read(ask("after"), (ids) => this.#firedAtOnce(ids)));
    await Promise.all(running);
    if (this.after && !this.before.failed && !this.after.failed) this.#compare();
    if (this.after?.lks) this.#explain(this.after.lks);
  }

  #compare() {
    const [before, after] = compared(this.before.text, this.after.text);
    this.before.show(before);
    this.after.show(after);
  }

  #firedAtOnce(ids) {
    this.#why.replaceChildren(
      h("p.muted", ids.length ? `Fired: ${ids.join(", ")}` : "No fact fired."),
    );
  }

  #explain({ fired, near, set, version }) {
    const { app, message, prompt } = this;
    const spans = fired.filter((spot) => spot.message === message).map((spot) => spot.span);
    this.#prompt.replaceChildren(...marked(prompt, spans, "names an entity whose fact fired"));
    this.after.what = withFacts(set, version);
    const asked = { set, message };
    const same = this.before.text === this.after.text;
    replaced(
      this.#why,
      fired.length > 0
        ? [h("h3", "What fired, and why"), spotList(app, fired, asked)]
        : h("p", "No fact fired: both answers are the unedited model's."),
      fired.length > 0 && same && h("p.muted", "The two answers are the same."),
      near.length > 0 && [h("h3", "What nearly fired"), spotList(app, near, asked)],
    );
  }
}

const withFacts = (set, version) => `with the facts of “${set}”, version ${version}`;

/** One of the two answers. */
class Side {
  text = "";
  failed = false;
  lks = null;
  #answer = h("div", { class: "answer", tabindex: "0" });
  #end = h("p.muted.end");
  #problem = new ProblemPlace();
  #what = h("span.muted");

  constructor(name, what) {
    this.what = what;
    const id = freshId("side");
    this.#answer.setAttribute("aria-labelledby", id);
    this.#answer.setAttribute("role", "group");
    this.element = h(
      "section",
      { class: `side ${name.toLowerCase()}`, "aria-labelledby": id },
      h("h3", { id }, `${name} `, this.#what),
      this.#answer,
      this.#end,
      this.#problem.element,
    );
  }

  set what(text) {
    this.#what.textContent = text;
  }

  show(nodes) {
    this.#answer.replaceChildren(...nodes);
  }

  /** Take a stream as it comes. */
  async read(stream, onFired = () => {}) {
    const running = document.createTextNode("");
    this.show([running]);
    this.#answer.setAttribute("aria-busy", "true");
    this.#answer.classList.add("writing");
    try {
      for await (const chunk of stream) {
        if (chunk.fired) onFired(chunk.fired);
        const { text, finish, lks } = partOf(chunk);
        running.appendData(text);
        this.text += text;
        this.lks = lks ?? this.lks;
        if (finish === "length")
          this.#end.textContent = "Cut off here: the most tokens that were asked for.";
      }
    } catch (error) {
      this.failed = true;
      if (error.name === "AbortError") this.#end.textContent = "Stopped.";
      else this.#problem.show(error);
    } finally {
      this.#answer.removeAttribute("aria-busy");
      this.#answer.classList.remove("writing");
    }
    if (!this.text && !this.failed) this.#end.textContent = "The model wrote nothing.";
  }
}
