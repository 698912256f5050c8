// Traffic: what is asked, what fires, how long it takes; anew every few seconds.

import { barChart, lineChart, ranking } from "../components/charts.js";
import { table } from "../components/table.js";
import { problemBox } from "../components/problem.js";
import { h, pause, replaced } from "../dom.js";
import { clockTime, number, percent, reasonOf, seconds } from "../words.js";
import { refused } from "./shared.js";

const EVERY = 4000; // milliseconds
const KEPT = 150; // samples: ten minutes
const RANKED = 10;
const NEAR = 20;

export async function trafficView(app, route, signal) {
  if (!app.can("edit")) return refused("Traffic", "see the traffic", "edit", app);
  const page = new TrafficPage(app, signal);
  await page.refresh();
  page.follow();
  return { title: "Traffic", content: page.content };
}

class TrafficPage {
  #paused = false;
  #samples = []; // of what the server tells of this moment only
  #subjects = new Map();
  #shown = h("div");
  #state = h("span", { class: "muted", id: "traffic-state" });
  #button = h(
    "button",
    { type: "button", id: "pause", "aria-pressed": "false", onclick: () => this.#toggle() },
    "Pause",
  );

  constructor(app, signal) {
    Object.assign(this, { app, signal });
  }

  get content() {
    return [h("div.tools", this.#state, this.#button), this.#shown];
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#button.setAttribute("aria-pressed", String(this.#paused));
    this.#button.textContent = this.#paused ? "Go on" : "Pause";
    this.#state.textContent = this.#paused ? `Paused. ${this.#state.textContent}` : "Going on …";
    if (!this.#paused) this.#again();
  }

  async follow() {
    for (;;) {
      await pause(EVERY, this.signal);
      if (this.signal.aborted) return;
      if (!this.#paused && !document.hidden && !this.#reading) await this.#again();
    }
  }

  /** Not while somebody reads a table, or has marked text there. */
  get #reading() {
    return (
      this.#shown.contains(document.activeElement) ||
      (getSelection().toString() && this.#shown.contains(getSelection().anchorNode))
    );
  }

  async #again() {
    try {
      await this.refresh();
    } catch (error) {
      if (error.name !== "AbortError") this.#state.replaceChildren(problemBox(error));
    }
  }

  async refresh() {
    const { app, signal } = this;
    const traffic = await app.api.traffic(signal);
    this.#samples = [
      ...this.#samples,
      { at: new Date().toISOString(), ...traffic.latency, queue: traffic.queue },
    ].slice(-KEPT);
    await this.#name(traffic.hits.slice(0, RANKED));
    this.#state.textContent = `As of ${new Date().toLocaleTimeString("en-GB")}, counted since ${clockTime(traffic.since)}.`;
    const open = [...this.#shown.querySelectorAll("details")].map((one) => one.open);
    replaced(this.#shown, this.#all(traffic));
    this.#shown.querySelectorAll("details").forEach((one, i) => {
      one.open = open[i] ?? false;
    });
  }

  /** What the facts that are hit say, each asked for once. */
  async #name(hits) {
    const { app, signal } = this;
    const unknown = hits.filter((hit) => !this.#subjects.has(`${hit.set}\n${hit.edit}`));
    await Promise.all(
      unknown.map(async (hit) => {
        const found = await app.api.standing(hit.set, hit.edit, signal).catch(() => null);
        this.#subjects.set(`${hit.set}\n${hit.edit}`, found);
      }),
    );
  }

  #all(traffic) {
    const { texts, fired, requests, tokens, queue, latency, minutes, hits, near } = traffic;
    const card = (name, value, note) =>
      h("div.figure-card", h("dt", name), h("dd", value, note && h("span.muted", note)));
    const cards = h(
      "dl.figures",
      card("Texts that fired", percent(fired, texts), `${number(fired)} of ${number(texts)}`),
      card("Requests", number(requests), `${number(tokens)} tokens written`),
      card(
        "First token",
        seconds(latency.first_token.p50),
        `99 of 100 within ${seconds(latency.first_token.p99)}`,
      ),
      card(
        "Between tokens",
        seconds(latency.between_tokens.p50),
        `99 of 100 within ${seconds(latency.between_tokens.p99)}`,
      ),
      card("Queue", String(queue.waiting), `waiting, ${queue.running} running`),
    );
    if (!requests) {
      return [
        cards,
        h(
          "div.empty",
          h(
            "p",
            "Nothing was asked since the server was started. Ask something, here or by the API; it shows within seconds.",
          ),
          h("a", { class: "button primary", href: this.app.link("ask") }, "Ask"),
        ),
      ];
    }
    return [
      cards,
      h(
        "div.charts",
        barChart({
          title: "Texts a minute",
          note: "the last hour",
          names: ["Asked", "Fired"],
          write: number,
          rows: minutes.map((one) => ({
            label: clockTime(one.at),
            values: [one.texts, one.fired],
          })),
        }),
        this.#hits(hits),
        this.#sampled(
          "Time to the first token",
          ["Half within", "99 of 100 within"],
          seconds,
          (one) => [one.first_token.p50, one.first_token.p99],
        ),
        this.#sampled("Queue", ["Running", "Waiting"], number, (one) => [
          one.queue.running,
          one.queue.waiting,
        ]),
      ),
      this.#near(near),
    ];
  }

  #sampled(title, names, write, values) {
    return lineChart({
      title,
      note: "since this view was opened",
      names,
      write,
      rows: this.#samples.map((one) => ({
        label: new Date(one.at).toLocaleTimeString("en-GB"),
        values: values(one),
      })),
    });
  }

  #hits(hits) {
    const rows = hits.slice(0, RANKED).map(({ set, edit, count }) => {
      const fact = this.#subjects.get(`${set}\n${edit}`);
      const label = fact ? `${fact.prompt} → ${fact.target}` : edit;
      return {
        label: h("a", { href: this.app.link(["facts", edit], { set }) }, label),
        value: count,
        told: number(count),
      };
    });
    return rows.length
      ? ranking({ title: "Facts that fired most", rows })
      : h(
          "figure.chart",
          h("figcaption", "Facts that fired most"),
          h("p.muted", "No fact has fired yet."),
        );
  }

  #near(near) {
    if (!near.length) return null;
    const kept = near.some((one) => one.text !== null);
    const row = (one) =>
      h(
        "tr",
        h("td.wide", h("time", { datetime: one.at }, clockTime(one.at))),
        h(
          "td",
          h("a", { href: this.app.link(["facts", one.edit], { set: one.set }) }, one.subject),
        ),
        kept && h("td.wide", one.text ?? ""),
        h(
          "td",
          reasonOf(one.reason)[0],
          one.score !== null && h("span.muted", ` (${one.score.toFixed(2)})`),
        ),
      );
    const heads = [
      ["Time", "wide"],
      "Subject",
      kept && ["As it was named", "wide"],
      "Why it did not fire",
    ];
    return h(
      "section",
      h("h2", "Near misses"),
      h(
        "p.muted",
        "Facts that nearly fired, the newest first.",
        !kept && " Their texts are shown if the server runs with --keep-prompts.",
      ),
      table("Near misses", heads, near.slice(0, NEAR).map(row)),
    );
  }
}
