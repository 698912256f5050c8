// Elements without HTML in strings: a text is always a text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/** An element. A function under "onclick" listens; true and false set an attribute or leave it out. */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value);
  }
  const nodes = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...nodes.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** Put other children in, and give the focus back to what stands for the same thing. */
export function replaced(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const mark = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `[href="${CSS.escape(focused.getAttribute("href"))}"]`);
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (mark) element.querySelector(mark)?.focus();
}

let made = 0;

/** An id that no other element has. */
export function freshId(name) {
  made += 1;
  return `${name}-${made}`;
}

/** A labelled control: label, control, and a hint that a screen reader tells with it. */
export function field(label, control, { hint, note, inline = false } = {}) {
  const id = control.id || freshId("field");
  control.id = id;
  const hintId = `${id}-hint`;
  if (hint) control.setAttribute("aria-describedby", hintId);
  const told = h("label", { for: id }, label, note && h("span", { class: "muted" }, ` ${note}`));
  const help = hint && h("p", { class: "hint", id: hintId }, hint);
  return h("div", { class: inline ? "field inline" : "field" }, inline ? [control, told] : [told, control], help);
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
    signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
