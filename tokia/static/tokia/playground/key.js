// The page's own key: ten minutes, in memory only, shared with this browser's other playground tabs.
import { say } from "./words.js";

const EARLY_MS = 30_000; // it is renewed before it ends, not after

export class SessionKey {
  #url;
  #token;
  #held = null;
  #asking = null;
  #tabs = "BroadcastChannel" in window ? new BroadcastChannel("tokia-playground") : null;

  constructor(url, csrfToken) {
    this.#url = url;
    this.#token = csrfToken;
    this.#tabs?.addEventListener("message", ({ data }) => { if (data?.url === url) this.#held = data.held; });
  }

  // The secret; `refused`: one that the gateway did not take.
  async get(refused = "") {
    const held = this.#held;
    if (held && held.key !== refused && Date.parse(held.expires_at) - EARLY_MS > Date.now()) return held.key;
    this.#asking ??= this.#ask().finally(() => { this.#asking = null; });
    return (await this.#asking).key;
  }

  async #ask() {
    const answer = await fetch(this.#url, {
      method: "POST", headers: { "X-CSRFToken": this.#token, Accept: "application/json" }, credentials: "same-origin", redirect: "manual", cache: "no-store",
    });
    if (answer.type === "opaqueredirect") throw new Error(say("over"));
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error?.message ?? say("away"));
    this.#held = body;
    this.#tabs?.postMessage({ url: this.#url, held: body });
    return body;
  }
}
