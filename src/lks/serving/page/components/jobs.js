// New facts on their way into force: a line each, until it has ended and was read.

import { h, pause, replaced } from "../dom.js";
import { counted } from "../words.js";

const ENDED = ["done", "failed", "proposed"];
const tracked = new WeakMap(); // app -> ids of the jobs that are followed

/** Jobs that begin are told by `app.dispatchEvent(jobBegun(job))`. */
export class JobEvent extends Event {
  constructor(job) {
    super("job");
    this.job = job;
  }
}

export function watchJobs(app) {
  tracked.set(app, new Set());
  app.addEventListener("job", ({ job }) => follow(app, job));
}

/** Follow the jobs of a set that have not ended, whoever began them. */
export async function followOthers(app, signal) {
  for (const job of await app.api.jobs(app.set, 20, signal)) {
    if (!ENDED.includes(job.state)) follow(app, job);
  }
}

async function follow(app, job) {
  const known = tracked.get(app);
  if (known.has(job.id)) return;
  known.add(job.id);
  const line = h("div.job");
  document.getElementById("jobs").append(line);
  let now = job;
  show(app, line, now);
  for (let wait = 400; !ENDED.includes(now.state); wait = Math.min(wait * 1.3, 3000)) {
    await pause(wait);
    try {
      const next = await app.api.job(job.id);
      if (next.state !== now.state) show(app, line, next);
      now = next;
    } catch (error) {
      line.replaceChildren(
        h("p", `How far the facts are is not known: ${error.message}`),
        dismiss(line),
      );
      return;
    }
  }
  known.delete(job.id);
  await app.changed().catch(() => {}); // a view's own request will tell what is wrong
}

function show(app, line, job) {
  line.dataset.state = job.state;
  const count = counted(job.facts.length, "fact");
  const failed = Object.entries(job.failed);
  const come = job.facts.length - failed.length;
  const texts = {
    queued: `${count}: waiting to be learnt …`,
    learning: `${count}: being learnt …`,
    proposed: `${count}: proposed. Somebody with the role approve decides.`,
    done: job.facts.length
      ? `${count} in force, with version ${job.version} of “${job.set}”.`
      : "Nothing to do: this is in force already.",
    failed: `${counted(failed.length, "fact")} not learnt${come ? `, ${come} in force` : ""}.`,
  };
  const busy = !ENDED.includes(job.state);
  const link = (id) => h("a", { href: app.link(["facts", id], { set: job.set }) }, id);
  replaced(
    line,
    h("p", h("span", { class: busy ? "pulse" : "dot", "aria-hidden": "true" }), texts[job.state]),
    failed.length > 0 &&
      h(
        "ul",
        failed.map(([id, why]) => h("li", link(id), `: ${why}`)),
      ),
    !busy && dismiss(line),
  );
}

function dismiss(line) {
  return h(
    "button",
    {
      type: "button",
      class: "link",
      "aria-label": "Dismiss this message",
      onclick: () => line.remove(),
    },
    "Dismiss",
  );
}
