// Which view is shown: what stands behind "#/" in the address.

import { ApiError } from "./api.js";
import { h } from "./dom.js";
import { problemBox } from "./components/problem.js";

/** The path's parts and the query of the address. */
function where() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decodeURIComponent),
    query: new URLSearchParams(query),
  };
}

export class Router {
  #shown = null; // ends what the view has begun

  /**
   * @param views by the first part of the path: (app, route, signal) -> {title, content}
   * @param needsKey shown where the server wants a key
   */
  constructor(app, views, home, needsKey) {
    Object.assign(this, { app, views, home, needsKey });
    app.reload = () => this.show({ moved: false });
  }

  start() {
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#/") || !location.hash) this.show({ moved: true });
    });
    return this.show({ moved: false });
  }

  async show({ moved }) {
    this.#shown?.abort();
    const own = (this.#shown = new AbortController());
    const route = where();
    const name = route.parts[0] ?? this.home;
    if (moved) this.app.clearNotices();
    const place = document.getElementById("view");
    place.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => place.replaceChildren(h("p.loading", "Loading …")), 300);
    let made;
    try {
      await (this.app.who === null ? this.app.load(own.signal) : this.app.loadSets(own.signal));
      const set = route.query.get("set");
      if (set !== null) this.#choose(set);
      const view = this.views[name];
      if (!view)
        throw new ApiError(404, { message: "There is no such view. Take one of those above." });
      made = await view(this.app, route, own.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      made = this.#failed(error, own.signal);
    } finally {
      clearTimeout(slow);
    }
    if (own.signal.aborted) return;
    this.#put(place, name, made, moved);
  }

  #choose(set) {
    this.app.choose(set);
    if (this.app.set !== set)
      throw new ApiError(404, { message: `There is no set “${set}”. Choose one above.` });
  }

  #put(place, name, { title, content }, moved) {
    document.title = `${title} · LKS`;
    place.removeAttribute("aria-busy");
    place.dataset.shown = location.hash;
    const heading = h("h1", { tabindex: "-1", id: "heading" }, title);
    place.replaceChildren(heading, ...[content].flat().filter(Boolean));
    this.app.view = name;
    this.app.dispatchEvent(new Event("context"));
    if (!moved) return;
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }

  #failed(error, signal) {
    if (!(error instanceof ApiError)) console.error(error);
    if (error.status === 401) {
      this.app.who = null;
      return this.needsKey(this.app, error);
    }
    if (error.status === 503 && error.code === "loading") {
      const again = setTimeout(() => this.app.reload(), 2000);
      signal.addEventListener("abort", () => clearTimeout(again));
      return {
        title: "One moment",
        content: h("p.loading", "The model is being loaded. This page goes on by itself."),
      };
    }
    return { title: "That did not work", content: problemBox(error, this.app.reload, "Try again") };
  }
}
