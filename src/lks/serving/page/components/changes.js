// What differs between facts: before → after.

import { h } from "../dom.js";
import { recordOf, says } from "./facts.js";

const NAMES = {
  subject: "Subject",
  prompt: "Prompt",
  target: "Target",
  paraphrases: "Other ways to ask",
  aliases: "Other names",
  negative: "Must not fire on",
  locality: "Other questions",
  tags: "Tags",
  valid_from: "Valid from",
  valid_until: "Valid until",
};

const text = (value) => {
  if (value === undefined || value === null || value.length === 0) return "nothing";
  if (Array.isArray(value))
    return value.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(" | ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

/** The keys under which two records differ, each with what stood and what stands there. */
export function changedKeys(before, after) {
  const terms = ({ tags, valid_from, valid_until }) => ({ tags, valid_from, valid_until });
  const [old, now] = [before, after].map((one) => ({ ...recordOf(one), ...terms(one) }));
  const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter(
    (key) => text(old[key]) !== text(now[key]),
  );
  if (!keys.length) return h("p.muted", "The same as before.");
  return h(
    "dl.change",
    keys.map((key) => [
      h("dt", NAMES[key] ?? key),
      h("dd", h("del", text(old[key])), " → ", h("ins", text(now[key]))),
    ]),
  );
}

/** What the server's diff tells, as three lists. */
export function diffList({ added, removed, changed }) {
  const list = (title, kind, items) =>
    items.length > 0 &&
    h("section", { class: `diff ${kind}` }, h("h3", `${title} (${items.length})`), h("ul", items));
  const own = (record) => h("li", says(record));
  const parts = [
    list("Come in", "added", added.map(own)),
    list("Go out", "removed", removed.map(own)),
    list(
      "Change",
      "changed",
      changed.map((one) => h("li", h("p", one.after.subject), changedKeys(one.before, one.after))),
    ),
  ].filter(Boolean);
  return parts.length ? parts : [h("p", "Nothing differs.")];
}
