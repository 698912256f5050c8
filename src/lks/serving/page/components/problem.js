// What went wrong, near where it belongs.

import { ApiError } from "../api.js";
import { h } from "../dom.js";

/**
 * An error as a line; several problems as a list. Where the set has changed, or `label` says so, with
 * a button that reloads.
 */
export function problemBox(error, reload = null, label = null) {
  const known = error instanceof ApiError;
  if (!known) console.error(error);
  const problems = known ? error.problems : [];
  const told = known ? title(error) : "Something went wrong in this page. Reload it.";
  const again = reload && (label || error.status === 412);
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", told.charAt(0).toUpperCase() + told.slice(1)),
    problems.length > 0 &&
      h(
        "ul",
        problems.map((one) => h("li", one)),
      ),
    again && h("button", { type: "button", onclick: () => reload() }, label ?? "Reload"),
  );
}

/** The message without the problems, which stand below it. */
function title({ message, problems }) {
  if (!problems.length) return message;
  return `${message.replace(problems.join("; "), "").replace(/[;:]\s*$/, "")}:`;
}

/** A place for the error of a form. */
export class ProblemPlace {
  element = h("div.problem-place");

  constructor(reload = null) {
    this.reload = reload;
  }

  clear() {
    this.element.replaceChildren();
  }

  show(error) {
    if (error.name === "AbortError") return;
    this.element.replaceChildren(problemBox(error, this.reload));
  }

  /** Do something; what goes wrong is shown here. Whether it went well. */
  async during(button, work) {
    this.clear();
    if (button) button.disabled = true;
    try {
      await work();
      return true;
    } catch (error) {
      this.show(error);
      return false;
    } finally {
      if (button) button.disabled = false;
    }
  }
}
