// Elements without HTML in strings: a text is always a text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: h("p.muted", {id: "x"}, "text", other). What stands after the dots is its class; the
 * properties may be left out. A function under "onclick" listens; true and false set an attribute,
 * or leave it out.
 */
export function h(name, ...rest) {
  return made((tag) => document.createElement(tag), name, rest);
}

export function svg(name, ...rest) {
  return made((tag) => document.createElementNS(SVG, tag), name, rest);
}

function made(create, name, [first, ...others]) {
  const [tag, ...classes] = name.split(".");
  const element = create(tag);
  const given = isProps(first);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(given ? first : {})) put(element, key, value);
  element.append(...nodes(given ? others : [first, ...others]));
  return element;
}

const isProps = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Node);

function put(element, name, value) {
  if (value === null || value === undefined) return;
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (typeof value === "boolean") element.toggleAttribute(name, value);
  else if (name === "value") element.value = value;
  else element.setAttribute(name, value);
}

/** Children as nodes: lists are flattened, what is empty is left out. */
function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** Put other children in, and give the focus back to what stands for the same thing. */
export function replaced(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const mark =
    focused &&
    (focused.id
      ? `#${CSS.escape(focused.id)}`
      : focused.getAttribute("href") && `[href="${CSS.escape(focused.getAttribute("href"))}"]`);
  element.replaceChildren(...nodes(children));
  if (mark) element.querySelector(mark)?.focus();
}

let count = 0;

/** An id that no other element has. */
export function freshId(name) {
  count += 1;
  return `${name}-${count}`;
}

/** A labelled control: label, control, and a hint that a screen reader tells with it. */
export function field(label, control, { hint, note, inline = false } = {}) {
  const id = control.id || freshId("field");
  control.id = id;
  const hintId = `${id}-hint`;
  if (hint) control.setAttribute("aria-describedby", hintId);
  const told = h("label", { for: id }, label, note && h("span.muted", ` ${note}`));
  const help = hint && h("p", { class: "hint", id: hintId }, hint);
  return h(
    "div",
    { class: inline ? "field inline" : "field" },
    inline ? [control, told] : [told, control],
    help,
  );
}

/** Calls after a pause, with the last arguments. */
export function settled(run, milliseconds = 250) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
}

/** Until some time has passed, or the signal says that nobody waits any more. */
export function pause(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        done();
      },
      { once: true },
    );
  });
}
