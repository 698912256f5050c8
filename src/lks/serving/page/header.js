// What stands above all views: where one is, in which set, and as whom.

import { replaced, h } from "./dom.js";
import { counted, MAY } from "./words.js";
import { changeKey } from "./views/key.js";

const NAV = [
  { view: "ask", title: "Ask", least: "ask" },
  { view: "facts", title: "Facts", least: "edit" },
  { view: "review", title: "Review", least: "edit" },
  { view: "traffic", title: "Traffic", least: "edit" },
];
const HOME = { add: "facts", history: "review" }; // views that belong to another

export function showHeader(app) {
  app.addEventListener("context", () => {
    navigation(app);
    context(app);
  });
  themeButton();
  const skip = document.getElementById("skip");
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // an address is a view here
    document.getElementById("main").focus();
  });
}

function navigation(app) {
  const at = HOME[app.view] ?? app.view;
  const links = NAV.filter(({ least }) => app.can(least)).map(({ view, title }) =>
    h("a", { href: app.link(view), "aria-current": view === at ? "page" : null }, title),
  );
  replaced(document.getElementById("nav"), links);
}

function context(app) {
  const place = document.getElementById("context");
  if (!app.who) {
    place.replaceChildren();
    return;
  }
  const { role, name, model, open } = app.who;
  const missing = app.can("edit") ? null : h("span", "Facts and traffic need the role edit.");
  replaced(
    place,
    setChooser(app),
    h(
      "div.context-who",
      h("span", "Model ", h("b", { id: "model" }, model)),
      h(
        "span",
        { title: `May ${MAY[role]}.` },
        "You: ",
        h("b", { id: "who" }, open ? `${role}, no key needed` : `${name}, role ${role}`),
      ),
      missing,
      !open &&
        h(
          "button",
          { type: "button", class: "link", id: "change-key", onclick: () => changeKey(app) },
          "Change key",
        ),
    ),
  );
}

function setChooser(app) {
  const now = app.current;
  if (!now) return h("div.context-set", h("span", "No set of facts yet"));
  const options = app.sets.map((one) =>
    h("option", { value: one.name, selected: one === now }, one.name),
  );
  const chooser = h("select", { id: "set", onchange: () => chosen(app, chooser.value) }, options);
  const notes = [
    `version ${now.version}`,
    counted(now.facts, "fact") + " in force",
    now.approval && "changes are approved",
  ];
  return h(
    "div.context-set",
    h("label", { for: "set" }, "Set"),
    chooser,
    h("span", { id: "version" }, notes.filter(Boolean).join(" · ")),
  );
}

/** The same view of another set; of a fact's page the list. */
function chosen(app, set) {
  const view = app.view ?? "ask";
  location.hash = app.link(view, { set });
}

function themeButton() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = dark() ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    const asSystem = (next === "dark") === system.matches; // then it follows the system again
    if (asSystem) delete root.dataset.theme;
    else root.dataset.theme = next;
    if (asSystem) localStorage.removeItem("lks-theme");
    else localStorage.setItem("lks-theme", next);
    show();
  });
  system.addEventListener("change", show);
  show();
}
