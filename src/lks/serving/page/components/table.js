// A table with a caption for who does not see it, and headings.

import { h } from "../dom.js";

/**
 * @param heads texts, or [text, classes]; empty ones are left out
 * @param rows elements, each a tr
 */
export function table(caption, heads, rows, classes = "") {
  const head = (one) => {
    const [text, own] = [one].flat();
    return h("th", { scope: "col", class: own }, text);
  };
  return h(
    "table",
    { class: classes },
    h("caption.unseen", caption),
    h("thead", h("tr", heads.filter(Boolean).map(head))),
    h("tbody", rows),
  );
}
