// Facts that fired in a prompt, or nearly did: what each says, where it is named, and why.

import { h } from "../dom.js";
import { reasonOf } from "../words.js";

/**
 * @param spots as the server tells them
 * @param asked {set, message}: the set that was asked, and the prompt's index in the chat, or null
 */
export function spotList(app, spots, asked) {
  const byFact = Map.groupBy(spots, (spot) => spot.edit);
  return h(
    "ul.spots",
    [...byFact].map(([id, own]) => item(app, id, own, asked)),
  );
}

function item(app, id, spots, { set, message }) {
  const fact = h("div", spots[0].subject, h("span.muted", ` (${id})`));
  if (app.can("edit")) tell(app, set, id, fact);
  return h(
    "li",
    fact,
    spots.map((spot) => h("div.muted", line(spot, message))),
  );
}

function line({ text, subject, score, reason, message }, own) {
  const where = message === own ? "" : ", in an earlier message";
  const named =
    text === subject ? `“${text}” is named${where}` : `“${text}” names ${subject}${where}`;
  const scored = score === null ? "" : ` (score ${score.toFixed(2)})`;
  if (!reason)
    return `${named}, ${score === null ? "which is enough in this set" : "and the text asks for this fact"}${scored}.`;
  const [why, help] = reasonOf(reason);
  return `${named}, but ${why}${scored}.${help ? ` ${help}` : ""}`;
}

/** Put in what a fact says. */
async function tell(app, set, id, place) {
  const fact = await app.api.standing(set, id).catch(() => null);
  if (!fact) return; // its id says enough
  place.replaceChildren(
    h("a", { href: app.link(["facts", id], { set }) }, fact.prompt),
    " → ",
    h("b", fact.target),
  );
}
