// What views show where they cannot show what they are for.

import { h } from "../dom.js";
import { MAY } from "../words.js";

/** A view that this key's role may not see. */
export function refused(title, what, least, app) {
  const { role } = app.who;
  return {
    title,
    content: h(
      "div.empty",
      h(
        "p",
        `To ${what} takes a key with the role ${least}. Yours has the role ${role}: it may ${MAY[role]}.`,
      ),
      h("a", { class: "button", href: app.link("ask") }, "Ask the model"),
    ),
  };
}

/** A view of a set where there is none. */
export function setNeeded(title, app, make) {
  const may = app.can("admin");
  return {
    title,
    content: h(
      "div.empty",
      h(
        "p",
        may
          ? "There is no set of facts yet. Make one, then add facts to it."
          : "There is no set of facts yet. An admin makes one.",
      ),
      may &&
        h("button", { type: "button", class: "primary", onclick: () => make(app) }, "Make a set"),
    ),
  };
}
