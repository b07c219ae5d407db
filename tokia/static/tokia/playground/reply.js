// One answer on the page. What a model writes is text, never markup: only ``` fences become <pre>, by textContent.
import { readNanos, showExact, showFine } from "./money.js";
import { isEnglish, language, say } from "./words.js";

const CUT = { length: "length", content_filter: "filter" };
const number = new Intl.NumberFormat(language);
const duration = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2).replace(".", isEnglish ? "." : ",")} s`);

export function writeText(place, text) {
  const parts = text.split("```");
  const nodes = parts.map((part, at) => {
    if (at % 2 === 0) return Object.assign(document.createElement("div"), { className: "whitespace-pre-wrap", textContent: part.replace(/^\n/, "") });
    const box = Object.assign(document.createElement("pre"), { className: "code-box my-2 overflow-x-auto p-3 text-xs leading-relaxed", tabIndex: 0 });
    box.append(Object.assign(document.createElement("code"), { textContent: part.replace(/^[\w+#.-]*\n/, "") }));
    return box;
  });
  place.replaceChildren(...nodes.filter((node) => node.textContent));
}

export class Reply {
  text = "";
  nanos = null;
  requestId = "";
  #find;
  #began = performance.now();
  #first = 0;
  #last = 0;
  #thoughts = "";
  #drawing = 0;
  #model;

  constructor(template, name, model) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#find = (part) => this.element.querySelector(`[data-${part}]`);
    this.#model = model;
    this.name = name;
    this.#find("name").textContent = model?.display_name ?? name;
    this.#find("name").title = name;
    this.#state(say("waiting"), "info");
  }

  #state(text, kind) {
    const badge = this.#find("state");
    badge.textContent = text;
    badge.className = `badge badge-soft badge-${kind} ml-auto`;
  }

  #draw() {
    this.#drawing ||= requestAnimationFrame(() => { this.#drawing = 0; writeText(this.#find("text"), this.text); this.#find("thoughts").textContent = this.#thoughts; });
  }

  #mark() {
    this.#last = performance.now();
    if (this.#first) return;
    this.#first = this.#last;
    this.#find("first").textContent = duration(this.#first - this.#began);
    this.#state(say("writing"), "info");
  }

  note(text) {
    const note = this.#find("note");
    note.hidden = false;
    note.textContent = [note.textContent, text].filter(Boolean).join(" ");
  }

  get on() {
    return {
      start: ({ requestId, model, dropped }) => {
        this.requestId = requestId;
        if (model && model !== this.name) this.note(say("by", { model }));
        if (dropped) this.note(say("ignored", { options: dropped.replaceAll(",", ", ") }));
      },
      text: (piece) => { this.text += piece; this.#mark(); this.#draw(); },
      thought: (piece) => { this.#thoughts += piece; this.#find("thinking").hidden = false; this.#mark(); this.#draw(); },
      finish: (reason) => { if (CUT[reason]) this.note(say(CUT[reason])); },
      usage: ({ usage, nanos }) => { this.showTokens(usage.prompt_tokens ?? 0, usage.completion_tokens ?? 0); if (nanos !== null) this.showCost(nanos); },
    };
  }

  showTokens(prompt, completion) {
    this.#find("tokens").textContent = `${number.format(prompt)} + ${number.format(completion)}`;
    const seconds = (this.#last - this.#first) / 1000;
    if (completion > 1 && seconds > 0.02) this.#find("speed").textContent = `${number.format(Math.round((completion - 1) / seconds))} tok/s`;
  }

  showCost(nanos) {
    this.nanos = nanos;
    const cost = this.#find("cost");
    cost.textContent = showFine(nanos);
    cost.title = showExact(nanos);
    cost.dataset.nanos = nanos.toString();
  }

  finish() { this.#state(say("ready"), "success"); }

  fail(message, link) {
    this.#state(say("failed"), "error");
    const box = this.#find("error");
    box.hidden = false;
    box.replaceChildren(`${message} `);
    if (link) box.append(Object.assign(document.createElement("a"), { className: "link font-semibold", href: link.url, textContent: link.text }));
  }

  // What was generated until then is charged; the account says how much, a moment later.
  async stop(costUrl) {
    this.#state(say("stopped"), "warning");
    if (!this.requestId) { this.note(say("early")); return; }
    for (let turn = 0; turn < 8 && this.nanos === null; turn += 1) {
      await new Promise((done) => { setTimeout(done, 400 + 200 * turn); });
      const answer = await fetch(costUrl.replace("00000000-0000-0000-0000-000000000000", this.requestId), { cache: "no-store" });
      if (!answer.ok) continue;
      const told = await answer.json();
      this.showTokens(told.tokens.prompt, told.tokens.completion);
      this.showCost(readNanos("0") + BigInt(told.net_nanos));
      this.note(say("charged"));
    }
  }

  after(...nodes) { this.#find("after").replaceChildren(...nodes); }
}
