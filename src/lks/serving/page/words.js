// The server's words in plain English, and how numbers and times are written.

export const STATES = {
  in_force: "In force",
  learning: "Learning",
  ready: "Waits for its time",
  proposed: "Waits for approval",
  failed: "Not learnt",
  retired: "Retired",
  rejected: "Rejected",
};

export const ACTIONS = {
  add: "added",
  replace: "replaced",
  retire: "retired",
  propose: "proposed",
  approve: "approved",
  reject: "rejected",
  rollback: "rolled back",
  failed: "not learnt",
  clock: "by the clock",
  test: "tested",
};

export const MAY = {
  ask: "ask, and try which facts a text would fire",
  edit: "ask, read and write facts, and see the traffic",
  approve: "also approve, reject and roll back",
  admin: "do everything, and make sets",
};

/** Why a fact did not fire: what was found, and what helps. */
export const REASONS = {
  named: ["its entity is named"],
  asked: ["its relation is asked"],
  open_ended: ["the text asks for no fact in particular"],
  not_open_ended: ["the text asks for something in particular, and this is a profile"],
  profile_answers: ["the text asks for no fact in particular, and the entity's profile answers"],
  no_profile: [
    "the text asks for no fact in particular",
    "Write a profile of the entity if it is to answer.",
  ],
  below_threshold: [
    "the question is not near enough to the fact's wordings",
    "Add this wording as a paraphrase.",
  ],
  nearer_edit: ["another fact of the entity is nearer to the question"],
  later_question: ["a later sentence asks for another fact of the entity"],
  nearer_to_negative: ["the question is nearer to a text that must not fire it"],
  negative_phrase: ["a phrase that must not fire it stands in the text"],
  denial: ["the sentence says what is not so"],
  contrast: [
    "the question asks for something else of the same kind, such as fax for phone",
    "If it asks for this fact, add the wording as a paraphrase.",
  ],
  narrowed: [
    "the question asks for a narrower thing, such as the spare key",
    "If it asks for this fact, add the wording as a paraphrase.",
  ],
  answered: ["the text states the fact, and then asks something else"],
  later_turn: ["a later turn of the chat is about something else"],
  stated: ["the text states the fact, and then asks about another entity"],
  longer_name: [
    "the name is a part of a longer name",
    "If they are one and the same, add the longer name as an alias.",
  ],
  two_names_fit: ["two names fit equally well"],
  another_case: [
    "the name is written in another case",
    "Add this spelling as an alias if it is meant.",
  ],
  asks_otherwise: ["it may be the name in other words, but the question asks for something else"],
  too_far: [
    "too many letters differ from the name",
    "Add this spelling as an alias if it is meant.",
  ],
  another_number: ["the name has another number"],
  short_word: ["a short word of the name differs"],
  first_letter: ["the name begins with another letter"],
  another_form: ["it is another form of the word"],
  another_generation: ["it is another generation, as in II for I"],
  another_initial: ["it has another initial"],
  common_word: ["it is a common word, and no name here"],
  other_name: ["it is a word of another name"],
  own_part: ["a part of the scope that was added here refuses it"],
};

/** [why, what helps] of a reason that the server told. */
export const reasonOf = (reason) => REASONS[reason] ?? [String(reason).replaceAll("_", " ")];

export const counted = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

export const number = (value) => value.toLocaleString("en");

export const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");

/** Seconds, as short as they can be told. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

/** A time for people; the exact one is in the element's title. */
export function when(iso) {
  if (!iso) return "";
  return new Date(iso).toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
  });
}

export const clockTime = (iso) =>
  new Date(iso).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** The id and the revision of a history's "hq@2". */
export function labelled(label) {
  const at = label.lastIndexOf("@");
  return at < 0
    ? { id: label, revision: null }
    : { id: label.slice(0, at), revision: label.slice(at + 1) };
}
