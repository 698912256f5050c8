// Bits of facts that several views show.

import { h } from "../dom.js";
import { STATES, when } from "../words.js";

// What the server knows of a fact; the rest of what it tells is the fact's own record.
const OF_SERVER = [
  "revision",
  "state",
  "why",
  "shaky",
  "valid_from",
  "valid_until",
  "tags",
  "by",
  "reason",
  "at",
  "since",
  "until",
  "hits",
];

/** The record of the file of facts, without what the server adds. */
export function recordOf(fact) {
  return Object.fromEntries(Object.entries(fact).filter(([key]) => !OF_SERVER.includes(key)));
}

/** The record with the terms under which the fact came. */
export function withTerms(fact) {
  const { tags, valid_from, valid_until } = fact;
  return {
    ...recordOf(fact),
    ...(tags.length && { tags }),
    ...(valid_from && { valid_from }),
    ...(valid_until && { valid_until }),
  };
}

export function stateBadge(state) {
  return h("span", { class: `badge ${state}` }, STATES[state] ?? state);
}

export function tagList(tags, link = null) {
  return (
    tags.length > 0 &&
    h(
      "span.tags",
      tags.map((tag) =>
        link ? h("a", { class: "tag", href: link(tag) }, tag) : h("span.tag", tag),
      ),
    )
  );
}

/** Prompt → target. */
export function says({ prompt, target }) {
  return [h("span.says", prompt), " → ", h("b", target)];
}

export function time(iso) {
  return iso ? h("time", { datetime: iso, title: iso }, when(iso)) : "";
}

/** "from … until …" of a fact that is not always true; null for one that is. */
export function validity({ valid_from: from, valid_until: until }) {
  if (!from && !until) return null;
  return [from && ["from ", time(from)], from && until && " ", until && ["until ", time(until)]];
}

/** Prompts in which a name stands, whatever the case, as [start, end] in code points. */
export function placesOf(name, prompt) {
  const fold = (text) => Array.from(text, (point) => point.toLowerCase());
  const [sought, text] = [fold(name.trim()), fold(prompt)];
  const found = [];
  if (!sought.length) return found;
  for (let at = 0; at + sought.length <= text.length; at += 1) {
    if (sought.every((point, i) => text[at + i] === point)) found.push([at, at + sought.length]);
  }
  return found;
}
