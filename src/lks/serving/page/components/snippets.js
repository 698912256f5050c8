// The same request elsewhere: as curl, and as Python.

import { h } from "../dom.js";
import { told } from "./dialog.js";

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function asCurl(path, body, open) {
  const url = new URL(path, document.baseURI).href;
  return [
    `curl ${shell(url)} \\`,
    ...(open ? [] : ['  -H "authorization: Bearer $LKS_API_KEY" \\']),
    "  -H 'content-type: application/json' \\",
    `  -d ${shell(JSON.stringify(body))}`,
  ].join("\n");
}

export function asPython(path, body, open) {
  const base = new URL("v1", document.baseURI).href;
  const chat = path.endsWith("chat/completions");
  const given = Object.entries(body).map(([name, value]) => `    ${name}=${python(value)},`);
  return [
    "import os",
    "",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${python(base)}, api_key=${open ? '"-"' : 'os.environ["LKS_API_KEY"]'})`,
    `answer = client.${chat ? "chat.completions" : "completions"}.create(`,
    ...given,
    ")",
    `print(answer.choices[0].${chat ? "message.content" : "text"})`,
    "print(answer.lks)",
  ]
    .slice(open ? 2 : 0)
    .join("\n");
}

/** Numbers, texts, lists and objects of these are written alike in JSON and in Python. */
const python = (value) => JSON.stringify(value);

/** A dialog with the code, and a button that copies it. */
export function showCode(title, code) {
  const shown = h("pre", { tabindex: "0", "aria-label": title }, h("code", code));
  const state = h("span", { role: "status", class: "muted" });
  const copy = h("button", { type: "button", class: "primary", onclick: copied }, "Copy");

  async function copied() {
    try {
      await navigator.clipboard.writeText(code);
      state.textContent = "Copied.";
    } catch {
      // not allowed here: the reader copies what is selected
      getSelection().selectAllChildren(shown);
      state.textContent = "Press Ctrl+C to copy the selected text.";
    }
  }

  told(title, shown, h("p.actions", copy, state));
}
