// One question and its two answers, as they are written; then what fired, and why.

import { freshId, h } from "../dom.js";
import { reasonOf } from "../words.js";
import { partOf } from "./conversation.js";
import { compared, marked } from "./marked.js";
import { ProblemPlace } from "./problem.js";

export class Turn {
  #prompt = h("p", { class: "prompt" });
  #why = h("div", { class: "why" });
  #seen = new Map(); // fact -> promise of it, or null

  /** @param message index of the prompt in the chat; null in plain text */
  constructor(app, { prompt, message, set, version }) {
    Object.assign(this, { app, prompt, message, set });
    this.#prompt.textContent = prompt;
    this.before = new Side("Before", "the model as it is");
    this.after = set ? new Side("After", `with “${set}”, version ${version}`) : null;
    const sides = [this.before, this.after].filter(Boolean);
    this.element = h("article", { class: "turn", "aria-label": `Asked: ${prompt}` },
      this.#prompt, h("div", { class: "sides" }, sides.map((side) => side.element)), this.#why);
  }

  /** Ask both sides at once, until both have ended or the signal stops them. */
  async run(api, conversation, settings, signal) {
    const ask = (name) => api.stream(conversation.path, conversation.body(name, this.prompt, settings), signal);
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
    this.#why.replaceChildren(h("p", { class: "muted" }, ids.length ? `Fired: ${ids.join(", ")}` : "No fact fired."));
  }

  #explain({ fired, near }) {
    const spans = fired.filter((spot) => spot.message === this.message).map((spot) => spot.span);
    this.#prompt.replaceChildren(...marked(this.prompt, spans, "names an entity whose fact fired"));
    const same = this.before.text === this.after.text;
    this.#why.replaceChildren(...[
      fired.length ? h("h3", null, fired.length === 1 ? "The fact that fired" : "The facts that fired") : null,
      fired.length ? h("ul", { class: "spots" }, fired.map((spot) => this.#spot(spot))) : h("p", null, "No fact fired: both answers are the unedited model's."),
      fired.length && same ? h("p", { class: "muted" }, "The two answers are the same.") : null,
      near.length ? h("h3", null, "Nearly fired") : null,
      near.length ? h("ul", { class: "spots" }, near.map((spot) => this.#spot(spot))) : null,
    ].filter(Boolean));
  }

  #spot(spot) {
    const { edit, subject, text, score, reason, message } = spot;
    const where = message === this.message ? "" : ", in an earlier message";
    const named = `“${text}” names ${subject}${where}`;
    const scored = score === null ? "" : ` (score ${score.toFixed(2)})`;
    const [why, help] = reason ? reasonOf(reason) : [score === null ? "it is enough to be named here" : "the text asks for this fact"];
    const fact = h("span", null, subject);
    this.#told(edit, fact);
    return h("li", null, h("div", { class: "spot-fact" }, fact),
      h("div", { class: "muted" }, `${named}; ${why}${scored}.`, help && ` ${help}`));
  }

  /** Put in what a fact says, where the caller may read facts. */
  async #told(id, place) {
    const { app } = this;
    if (!app.can("edit")) {
      place.textContent = `${place.textContent} (${id})`;
      return;
    }
    if (!this.#seen.has(id)) this.#seen.set(id, app.api.fact(this.set, id).catch(() => null));
    const found = await this.#seen.get(id);
    if (!found) return;
    const { prompt, target } = found.fact;
    place.replaceChildren(h("a", { href: app.link(["facts", id], { set: this.set }) }, prompt), " → ", h("b", null, target));
  }
}

/** One of the two answers. */
class Side {
  text = "";
  failed = false;
  lks = null;
  #answer = h("div", { class: "answer", tabindex: "0" });
  #end = h("p", { class: "muted end" });
  #problem = new ProblemPlace();

  constructor(name, what) {
    const id = freshId("side");
    this.#answer.setAttribute("aria-labelledby", id);
    this.#answer.setAttribute("role", "group");
    this.element = h("section", { class: `side ${name.toLowerCase()}`, "aria-labelledby": id },
      h("h3", { id }, name, h("span", { class: "muted" }, ` ${what}`)),
      this.#answer, this.#end, this.#problem.element);
  }

  show(nodes) { this.#answer.replaceChildren(...nodes); }

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
        if (finish === "length") this.#end.textContent = "Cut off here: the most tokens that were asked for.";
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
