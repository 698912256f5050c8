// Ask: the same question to the unedited model and to the one with a set's facts.

import { field, h } from "../dom.js";
import { Conversation } from "../components/conversation.js";
import { asCurl, asPython, showCode } from "../components/snippets.js";
import { Turn } from "../components/turn.js";

const EXAMPLES = 6;

export async function askView(app, route, signal) {
  const page = new AskPage(app, signal, route.query);
  await page.showExamples();
  return { title: "Ask", content: page.content };
}

/** A question that a fact answers, as a person would ask it. */
export function questionOf(fact) {
  return (
    [fact.prompt, ...(fact.paraphrases ?? [])].find((text) => text.trim().endsWith("?")) ??
    fact.prompt
  );
}

class AskPage {
  #running = null; // ends the answers that are being written
  #conversation = null;
  #turns = h("div.turns");
  #intro = h("div.intro");
  #prompt = h("textarea", { id: "prompt", rows: "3", required: true, name: "prompt" });
  #maxTokens = h("input", { type: "number", min: "1", step: "1", value: "200", required: true });
  #temperature = h("input", {
    type: "number",
    min: "0",
    max: "2",
    step: "0.1",
    value: "0",
    required: true,
  });
  #send = h("button", { class: "primary", id: "send" }, "Send");
  #stop = h(
    "button",
    { type: "button", id: "stop", hidden: true, onclick: () => this.#running?.abort() },
    "Stop",
  );
  #again = h(
    "button",
    { type: "button", hidden: true, onclick: () => this.#begin() },
    "New conversation",
  );
  #codes = h("span", { class: "codes", hidden: true });

  constructor(app, signal, query) {
    Object.assign(this, { app, signal });
    this.#prompt.value = query.get("prompt") ?? "";
    this.kinds = this.#kinds(query.get("kind") === "plain" ? "plain" : "chat");
    this.#codes.append(
      h(
        "button",
        { type: "button", class: "link", onclick: () => this.#show("As curl", asCurl) },
        "Copy as curl",
      ),
      h(
        "button",
        { type: "button", class: "link", onclick: () => this.#show("As Python", asPython) },
        "Copy as Python",
      ),
    );
    signal.addEventListener("abort", () => this.#running?.abort());
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.form = this.#form();
  }

  get content() {
    return [this.#intro, this.#turns, this.form];
  }

  #form() {
    const settings = h(
      "details.settings",
      h("summary", "Settings"),
      h(
        "div.row",
        field("Most tokens", this.#maxTokens),
        field("Temperature", this.#temperature, {
          hint: "0 always gives the likeliest answer. Both sides draw alike.",
        }),
      ),
    );
    const submit = (event) => {
      event.preventDefault();
      this.#ask();
    };
    return h(
      "form",
      { class: "composer", onsubmit: submit },
      this.kinds,
      field("Prompt", this.#prompt, { hint: "Enter sends, Shift+Enter begins a new line." }),
      h("div.actions", this.#send, this.#stop, this.#again, this.#codes),
      settings,
    );
  }

  #kinds(chosen) {
    const radio = (value, label) =>
      h(
        "label",
        h("input", {
          type: "radio",
          name: "kind",
          value,
          checked: value === chosen,
          onchange: () => this.#begin(),
        }),
        ` ${label}`,
      );
    return h(
      "fieldset.choice",
      h("legend.unseen", "How to ask"),
      radio("chat", "Chat"),
      radio("plain", "Plain completion"),
    );
  }

  get #kind() {
    return this.kinds.querySelector(":checked").value;
  }

  /** Facts in force as examples; a word on what to do where there are none. */
  async showExamples() {
    const { app, signal } = this;
    const said = h(
      "p.lead",
      "One question, two answers: the model as it is, and with the facts of the set.",
    );
    if (!app.current) {
      const todo = app.can("admin")
        ? h("a", { href: app.link("facts") }, "Make a set of facts")
        : "Ask an admin for a set of facts";
      this.#intro.replaceChildren(
        said,
        h("p", todo, " to see what they change. Until then the model answers as it is."),
      );
      return;
    }
    if (!app.can("edit")) {
      this.#intro.replaceChildren(said);
      return;
    }
    const { data } = await app.api.facts(app.set, { state: "in_force", limit: EXAMPLES }, signal);
    if (!data.length) {
      this.#intro.replaceChildren(
        said,
        h(
          "p",
          "No fact is in force in this set yet. ",
          h("a", { href: app.link("add") }, "Add facts"),
          " first.",
        ),
      );
      return;
    }
    const chips = data.map((fact) =>
      h(
        "li",
        h(
          "button",
          { type: "button", class: "chip", onclick: () => this.#take(fact) },
          questionOf(fact),
        ),
      ),
    );
    this.#intro.replaceChildren(
      said,
      h("p", { id: "examples" }, "Try one that a fact answers:"),
      h("ul", { class: "chips", "aria-labelledby": "examples" }, chips),
    );
  }

  #take(fact) {
    this.#prompt.value = this.#kind === "chat" ? questionOf(fact) : fact.prompt;
    this.#prompt.focus();
  }

  /** Forget what was said. */
  #begin() {
    this.#running?.abort();
    this.#conversation = null;
    this.#turns.replaceChildren();
    this.#intro.hidden = false;
    this.#again.hidden = this.#codes.hidden = true;
    this.#prompt.focus();
  }

  async #ask() {
    const { app } = this;
    const prompt = this.#prompt.value;
    if (this.#running || !prompt.trim()) return;
    const { current } = app;
    const conversation = (this.#conversation ??= new Conversation(
      this.#kind,
      app.who.model,
      app.set,
    ));
    const settings = {
      maxTokens: this.#maxTokens.valueAsNumber,
      temperature: this.#temperature.valueAsNumber,
      seed: Math.floor(Math.random() * 2 ** 31), // one for both: only the facts make a difference
    };
    const turn = new Turn(app, {
      prompt,
      message: conversation.next,
      set: app.set,
      version: current?.version,
    });
    this.last = [
      conversation.path,
      conversation.body(app.set ? "after" : "before", prompt, settings),
    ];
    this.#turns.append(turn.element);
    this.#prompt.value = "";
    this.#intro.hidden = true;
    turn.element.scrollIntoView({ block: "nearest" });
    const own = (this.#running = new AbortController());
    this.#busy(true);
    await turn.run(app.api, conversation, settings, own.signal);
    this.#running = null;
    this.#busy(false);
    if (this.#conversation !== conversation) return; // a new one was begun meanwhile
    conversation.took(prompt, turn.before.text, turn.after?.text ?? "");
    this.#tell(turn, own.signal.aborted);
  }

  #busy(running) {
    const focused = document.activeElement;
    this.#send.disabled = running;
    this.#stop.hidden = !running;
    if (!running && (focused === this.#stop || focused === document.body)) this.#prompt.focus();
    this.#again.hidden = running;
    this.#codes.hidden = running;
  }

  #tell(turn, stopped) {
    const fired = turn.after?.lks?.fired ?? [];
    const names = [...new Set(fired.map((spot) => spot.subject))];
    const told = stopped ? "Stopped." : "The answers are complete.";
    this.app.say(names.length ? `${told} Fired: ${names.join(", ")}.` : `${told} No fact fired.`);
  }

  #show(title, write) {
    showCode(title, write(...this.last, this.app.who.open));
  }
}
