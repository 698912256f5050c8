// The server's API. What goes wrong is an ApiError with one line for people.

const KEY = "lks-key";

export class ApiError extends Error {
  constructor(status, { message, code = null, param = null, problems = [] }) {
    super(message);
    Object.assign(this, { status, code, param, problems });
  }
}

const of = (set, ...rest) => ["v1/lks/sets", ...[set, ...rest].map(encodeURIComponent)].join("/");
const fact = (set, id, ...rest) => of(set, "edits", id, ...rest);
const ifMatch = (version) =>
  version === null || version === undefined ? {} : { "if-match": `"${version}"` };

export class Api {
  /** The key lives as long as the tab does. */
  get key() {
    return sessionStorage.getItem(KEY);
  }

  set key(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  }

  // --- about the server
  whoami = (signal) => this.#json("GET", "v1/lks/whoami", { signal });
  traffic = (signal) => this.#json("GET", "v1/lks/traffic", { signal });

  // --- sets
  sets = (signal) => this.#list("v1/lks/sets", { signal });
  createSet = (name, approval) => this.#json("POST", "v1/lks/sets", { body: { name, approval } });

  // --- facts
  facts = (set, query, signal) => this.#json("GET", of(set, "edits"), { query, signal });
  /** The revision that is in force, else the newest one. */
  async standing(set, id, signal) {
    const revisions = await this.revisions(set, id, signal);
    return revisions.find((one) => one.state === "in_force") ?? revisions[0];
  }

  revisions = (set, id, signal) => this.#list(fact(set, id, "revisions"), { signal });

  /** A fact, and the version of the set that it was seen in. */
  async fact(set, id, signal) {
    const answer = await this.#answer("GET", fact(set, id), { signal });
    const version = Number(answer.headers.get("etag").replaceAll('"', ""));
    return { fact: await answer.json(), version };
  }

  add = (set, body, version) =>
    this.#json("POST", of(set, "edits"), { body, headers: ifMatch(version) });
  addFile = (set, text, type, query, version) =>
    this.#json("POST", of(set, "edits"), { body: text, type, query, headers: ifMatch(version) });
  replace = (set, id, record, reason, version) =>
    this.#json("PUT", fact(set, id), {
      body: record,
      query: { reason },
      headers: ifMatch(version),
    });
  retire = (set, ids, reason, version) =>
    this.#json("POST", of(set, "retire"), {
      body: { ids, ...(reason && { reason }) },
      headers: ifMatch(version),
    });
  approve = (set, ids, reason) =>
    this.#json("POST", of(set, "approve"), { body: { ids, ...(reason && { reason }) } });
  reject = (set, ids, reason) =>
    this.#answer("POST", of(set, "reject"), { body: { ids, ...(reason && { reason }) } });
  rollback = (set, target, reason, version) =>
    this.#json("POST", of(set, "rollback"), {
      body: { version: target, ...(reason && { reason }) },
      headers: ifMatch(version),
    });

  // --- looking
  job = (id, signal) => this.#json("GET", `v1/lks/jobs/${encodeURIComponent(id)}`, { signal });
  jobs = (set, limit, signal) => this.#list(of(set, "jobs"), { query: { limit }, signal });
  history = (set, query, signal) => this.#list(of(set, "history"), { query, signal });
  diff = (set, a, b, signal) => this.#json("GET", of(set, "diff"), { query: { a, b }, signal });
  dryRun = (set, texts, edits) =>
    this.#list(of(set, "dry-run"), { method: "POST", body: { texts, edits } });
  exported = async (set, format) =>
    (await this.#answer("GET", of(set, "export"), { query: { format } })).blob();

  // --- asking

  /** An answer as it is written: first {fired}, the ids, then each chunk of the stream. */
  async *stream(path, body, signal) {
    const answer = await this.#answer("POST", path, { body: { ...body, stream: true }, signal });
    const ids = answer.headers.get("x-lks-fired") ?? "";
    yield { fired: ids ? ids.split(",").map(decodeURIComponent) : [] };
    for await (const data of events(answer.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(500, chunk.error);
      yield chunk;
    }
    throw new ApiError(0, {
      message: "The connection was lost before the answer had ended. Ask again.",
    });
  }

  // --- what all have in common

  async #json(method, path, given) {
    return (await this.#answer(method, path, given)).json();
  }

  async #list(path, { method = "GET", ...given }) {
    return (await this.#json(method, path, given)).data;
  }

  async #answer(
    method,
    path,
    { query, body, type = "application/json", headers = {}, signal } = {},
  ) {
    const url = new URL(path, document.baseURI);
    for (const [name, value] of Object.entries(query ?? {})) {
      for (const one of [value].flat())
        if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
    const sent = { ...headers };
    if (body !== undefined) sent["content-type"] = type;
    if (this.key) sent.authorization = `Bearer ${this.key}`;
    const content = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    let answer;
    try {
      answer = await fetch(url, { method, headers: sent, body: content, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, {
        message: "The server does not answer. Look whether it runs, then try again.",
      });
    }
    if (!answer.ok) throw await problem(answer);
    return answer;
  }
}

async function problem(answer) {
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch {
    // none of this server's own errors
  }
  if (answer.status === 412) told = { ...told, message: "The set has changed meanwhile: reload." };
  return new ApiError(answer.status, told ?? { message: `The server answered ${answer.status}.` });
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ")) yield block.slice("data: ".length);
    }
  }
}
