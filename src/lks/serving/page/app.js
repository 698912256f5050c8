// What all views share: who asks, which sets there are, and which of them is looked at.

import { Api } from "./api.js";
import { h } from "./dom.js";

const ROLES = ["ask", "edit", "approve", "admin"];

/** Tells "changed" when facts have changed, "context" when what the header shows has. */
export class App extends EventTarget {
  api = new Api();
  who = null;
  sets = [];
  set = null; // the name of the set that is looked at
  reload = () => {}; // shows the view anew; the router's

  /** Ask who asks, and for the sets. */
  async load(signal) {
    this.who = await this.api.whoami(signal);
    await this.loadSets(signal);
  }

  async loadSets(signal) {
    this.sets = await this.api.sets(signal);
    if (!this.current) this.choose(this.who.default_set);
    if (!this.current) this.choose(this.sets[0]?.name);
    this.dispatchEvent(new Event("context"));
  }

  /** Look at a set, if there is one of this name. */
  choose(name) {
    if (this.sets.some((one) => one.name === name)) this.set = name;
    else if (!this.current) this.set = null;
    this.dispatchEvent(new Event("context"));
  }

  get current() {
    return this.sets.find((one) => one.name === this.set) ?? null;
  }

  can(role) {
    return this.who !== null && ROLES.indexOf(this.who.role) >= ROLES.indexOf(role);
  }

  /** Whether facts that this caller writes wait for somebody to approve them. */
  get proposes() {
    return Boolean(this.current?.approval) && !this.can("approve");
  }

  /** Whether this caller may take facts of the set out. */
  get retires() {
    return this.can("edit") && !this.proposes;
  }

  /** The address of a view, for this set. */
  link(path, query = {}) {
    const given = new URLSearchParams();
    const all = { set: this.set, ...query };
    for (const [name, value] of Object.entries(all)) {
      for (const one of [value].flat())
        if (one !== null && one !== undefined && one !== "") given.append(name, one);
    }
    const parts = [path].flat().map(encodeURIComponent).join("/");
    return given.size ? `#/${parts}?${given}` : `#/${parts}`;
  }

  go(path, query) {
    location.hash = this.link(path, query);
  }

  /** Facts have changed: by this page, or by a job that has ended. */
  async changed() {
    await this.loadSets();
    this.dispatchEvent(new Event("changed"));
  }

  /** Told to a screen reader, when it has nothing else to tell. */
  say(text) {
    document.getElementById("said").textContent = text;
  }

  /** A line above the view, until another view is shown. */
  notice(text, ...actions) {
    document.getElementById("notices").replaceChildren(h("div.notice", h("p", text), actions));
  }

  clearNotices() {
    document.getElementById("notices").replaceChildren();
  }
}
