// Texts with places marked in them, and words that differ between two texts.

import { h } from "../dom.js";

/** A text with marks. Spans are [start, end] in code points, as the server counts them. */
export function marked(text, spans, title = "named here") {
  const points = Array.from(text);
  const nodes = [];
  let at = 0;
  for (const [start, end] of joined(spans)) {
    nodes.push(points.slice(at, start).join(""));
    nodes.push(h("mark", { class: "mention", title }, points.slice(start, end).join("")));
    at = end;
  }
  nodes.push(points.slice(at).join(""));
  return nodes.filter(Boolean);
}

/** Spans in order, without overlaps. */
function joined(spans) {
  const found = [];
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && start < last[1]) last[1] = Math.max(last[1], end);
    else found.push([start, end]);
  }
  return found;
}

/** [before, after]: nodes of two texts, the words that only one of them has marked. */
export function compared(before, after) {
  const [a, b] = [before, after].map((text) => text.match(/\s+|[^\s]+/g) ?? []);
  const common = commonWords(a, b);
  const side = (words, kept, kind) =>
    runs(words, kept).map(([same, text]) => (same ? text : h("mark", { class: kind }, text)));
  return [side(a, common.a, "gone"), side(b, common.b, "come")];
}

/** Which words of each are in a longest common subsequence. */
function commonWords(a, b) {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        a[i] === b[j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const kept = { a: a.map(() => false), b: b.map(() => false) };
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      kept.a[i] = kept.b[j] = true;
      i += 1;
      j += 1;
    } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return kept;
}

/** Neighbours that are alike, as one: [[same, text], ...]. A space between marked words is marked. */
function runs(words, kept) {
  const same = words.map(
    (word, i) => kept[i] && !(/^\s+$/.test(word) && kept[i - 1] === false && kept[i + 1] === false),
  );
  const found = [];
  words.forEach((word, i) => {
    if (found.length && found.at(-1)[0] === same[i]) found.at(-1)[1] += word;
    else found.push([same[i], word]);
  });
  return found;
}
