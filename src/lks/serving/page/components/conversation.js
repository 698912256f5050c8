// What was asked and answered on both sides: unedited, and with the facts of a set.

const PATHS = { chat: "v1/chat/completions", plain: "v1/completions" };

/** In a chat each side goes on with its own answers. */
export class Conversation {
  #turns = [];

  constructor(kind, model, set) {
    Object.assign(this, { kind, model, set });
  }

  get path() {
    return PATHS[this.kind];
  }

  /** The index of the next message of the user. */
  get next() {
    return this.kind === "chat" ? this.#turns.length * 2 : null;
  }

  /** The request for one side: "before" or "after". */
  body(side, prompt, { maxTokens, temperature, seed }) {
    const model = side === "after" ? `${this.model}:${this.set}` : this.model;
    const body = { model, max_tokens: maxTokens, temperature, seed };
    if (this.kind === "plain") return { ...body, prompt };
    const earlier = this.#turns.flatMap((turn) => [
      { role: "user", content: turn.prompt },
      { role: "assistant", content: turn[side] },
    ]);
    return { ...body, messages: [...earlier, { role: "user", content: prompt }] };
  }

  /** A turn has ended, or was stopped. */
  took(prompt, before, after) {
    if (this.kind === "chat") this.#turns.push({ prompt, before, after });
  }
}

/** What a chunk of either stream says. */
export function partOf(chunk) {
  const choice = chunk.choices?.[0];
  return {
    text: choice?.delta?.content ?? choice?.text ?? "",
    finish: choice?.finish_reason ?? null,
    lks: chunk.lks ?? null,
  };
}
