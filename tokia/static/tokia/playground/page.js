// The playground's page: reads the form, asks up to three models at once, shows what comes.
import { writeCode } from "./code.js";
import { Draft, IMAGES_MAX, readFile, store } from "./draft.js";
import { SessionKey } from "./key.js";
import { ceilingOf, showCeiling, showExact, showFine } from "./money.js";
import { ENGLISH, PRESETS } from "./presets.js";
import { Reply } from "./reply.js";
import { CallRefused, callModel } from "./stream.js";
import { isEnglish, say } from "./words.js";

const form = document.getElementById("playground");
if (form) start();

function start() {
  const one = (part, root = form) => root.querySelector(`[data-${part}]`);
  const facts = JSON.parse(document.getElementById("fatos").textContent);
  const key = new SessionKey(form.dataset.keyUrl, form.elements.csrfmiddlewaretoken.value);
  const selects = [...form.querySelectorAll("select[data-model]")];
  const options = Object.fromEntries([...form.querySelectorAll("[data-option]")].map((field) => [field.dataset.option, field]));
  const replies = document.querySelector("[data-replies]");
  const template = document.getElementById("modelo-resposta");
  let total = 0n;
  let running = null; // AbortController
  let imageRow = null;

  const draft = new Draft(one("messages"), {
    template: document.getElementById("modelo-mensagem"), imageTemplate: document.getElementById("modelo-imagem"),
    onImage: openImage, onChange: changed,
  });
  const chosen = () => [...new Set(selects.map((select) => select.value).filter(Boolean))];

  // ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────────
  function bodyFor(model) {
    const body = { model, messages: draft.messages(), stream: true, stream_options: { include_usage: true } };
    if (options.max_tokens.value) body.max_tokens = Number(options.max_tokens.value);
    if (options.temperature.value) body.temperature = Number(options.temperature.value);
    if (options.reasoning.value) body.reasoning_effort = options.reasoning.value;
    if (options.json.checked) body.response_format = { type: "json_object" };
    if ("temperature" in body || "reasoning_effort" in body) body.drop_params = true; // whoever can't, leaves it out and says so
    return body;
  }

  function estimate() {
    const messages = draft.read();
    const texts = messages.map((message) => message.text).join("");
    const size = { bytes: new TextEncoder().encode(texts).length, messages: messages.length, images: draft.imageCount, maxTokens: Number(options.max_tokens.value) || 0 };
    return chosen().reduce((sum, name) => sum + ceilingOf(facts, name, size), 0n);
  }

  function warnings() {
    const models = chosen().map((name) => facts.models[name]).filter(Boolean);
    const names = (lacking) => models.filter(lacking).map((model) => model.display_name).join(", ");
    const blind = draft.imageCount ? names((model) => !model.has_vision) : "";
    const plain = options.json.checked ? names((model) => !model.has_json) : "";
    return [blind && say("blind", { models: blind }), plain && say("plain", { models: plain })].filter(Boolean).join(" ");
  }

  function changed() {
    const ceiling = estimate();
    const shown = one("estimate");
    shown.textContent = say("upto", { amount: showCeiling(ceiling) });
    shown.dataset.nanos = ceiling.toString();
    one("warning").textContent = warnings();
    save();
  }

  function readOptions() {
    return { max_tokens: options.max_tokens.value, temperature: options.temperature.value, reasoning: options.reasoning.value, json: options.json.checked };
  }

  function writeOptions(given) {
    for (const [name, field] of Object.entries(options)) {
      if (!(name in given)) continue;
      if (field.type === "checkbox") field.checked = given[name] === true;
      else field.value = String(given[name]);
    }
  }

  function writeModels(names) {
    const known = names.filter((name) => name in facts.models).slice(0, selects.length);
    if (known.length) selects.forEach((select, at) => { select.value = known[at] ?? ""; });
  }

  function save() { store.save({ messages: draft.read(), options: readOptions(), models: chosen(), total: total.toString() }); }

  // ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────
  async function send() {
    if (running) return;
    if (!form.reportValidity()) return;
    if (!draft.messages().some(({ role }) => role !== "system")) {
      one("warning").textContent = say("empty");
      form.querySelector("[data-text]").focus();
      return;
    }
    running = new AbortController();
    setBusy(true);
    const names = chosen();
    replies.className = `grid min-w-0 items-start gap-4 ${["", "", "lg:grid-cols-2", "lg:grid-cols-3"][names.length]}`;
    const columns = names.map((name) => new Reply(template, name, facts.models[name]));
    replies.replaceChildren(...columns.map((column) => column.element));
    document.querySelector("[data-replies-section]").hidden = false;
    announce(say("sending"));
    await Promise.all(columns.map((column) => ask(column, running.signal)));
    announce(say(columns.length > 1 ? "many" : "one"));
    running = null;
    setBusy(false);
    save();
    document.body.dispatchEvent(new Event("saldo-mudou"));
  }

  async function ask(column, signal) {
    try {
      await callModel({ baseUrl: form.dataset.baseUrl, key, body: bodyFor(column.name), signal, on: column.on });
      column.finish();
    } catch (error) {
      if (signal.aborted) await column.stop(form.dataset.costUrl);
      else tell(column, error);
    }
    if (column.nanos !== null) addUp(column.nanos);
    offer(column);
  }

  function tell(column, error) {
    if (!(error instanceof CallRefused)) {
      const lost = error instanceof TypeError;
      column.fail(lost ? say("offline") : error.message);
      return;
    }
    column.requestId ||= error.requestId;
    if (error.status === 402) {
      const link = form.dataset.topUpUrl && { url: form.dataset.topUpUrl, text: say("topup") };
      column.fail(say(link ? "poor" : "ask"), link);
    } else if (error.code === "budget_exceeded") column.fail(error.message, { url: form.dataset.budgetsUrl, text: say("budgets") });
    else column.fail(error.message);
  }

  function offer(column) {
    const nodes = [];
    if (column.text) {
      const go = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-xs", textContent: say("reply") });
      go.addEventListener("click", () => {
        draft.add({ role: "assistant", text: column.text });
        draft.add({ role: "user" }).querySelector("[data-text]").focus();
        changed();
      });
      nodes.push(go);
    }
    if (column.nanos !== null) {
      const url = form.dataset.requestUrl.replace("00000000-0000-0000-0000-000000000000", column.requestId);
      nodes.push(Object.assign(document.createElement("a"), { className: "btn btn-ghost btn-xs", href: url, textContent: say("call") }));
    }
    column.after(...nodes);
  }

  function addUp(nanos) {
    total += nanos;
    const shown = document.querySelector("[data-total]");
    shown.textContent = showFine(total);
    shown.title = showExact(total);
  }

  function setBusy(isBusy) {
    one("send").disabled = isBusy;
    one("stop").disabled = !isBusy;
    (isBusy ? one("stop") : one("send")).focus({ preventScroll: true });
  }

  function announce(text) { document.querySelector("[data-announce]").textContent = text; }

  // ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────
  const dialog = document.getElementById("imagem");
  function openImage(row) {
    imageRow = row;
    one("file", dialog).value = "";
    one("url", dialog).value = "";
    one("problem", dialog).hidden = true;
    dialog.showModal();
  }
  async function acceptImage() {
    try {
      if (draft.imageCount >= IMAGES_MAX) throw new Error(say("images", { most: IMAGES_MAX }));
      const file = one("file", dialog).files[0];
      const typed = one("url", dialog).value.trim();
      if (!file && !/^https:\/\/\S+$/.test(typed)) throw new Error(say("which"));
      draft.addImage(imageRow, file ? await readFile(file) : typed);
      dialog.close();
      changed();
    } catch (error) {
      Object.assign(one("problem", dialog), { hidden: false, textContent: error.message });
    }
  }
  one("accept", dialog).addEventListener("click", acceptImage);

  // ── Code and links ──────────────────────────────────────────────────────────────────────────────────────────────────
  function showCode() {
    const dialogCode = document.getElementById("codigo");
    const [first, ...others] = chosen();
    const code = writeCode(form.dataset.baseUrl, bodyFor(first));
    for (const place of dialogCode.querySelectorAll("[data-code]")) place.textContent = code[place.dataset.code];
    const notes = [others.length && say("first"), draft.imageCount && say("short")];
    one("code-note", dialogCode).textContent = notes.filter(Boolean).join(" ");
    dialogCode.showModal();
  }

  async function share(button) {
    const given = { ...readOptions(), models: chosen() };
    const link = `${location.origin}${location.pathname}#p=${encodeURIComponent(JSON.stringify(given))}`;
    const area = Object.assign(document.createElement("textarea"), { value: link, className: "sr-only" });
    try { await navigator.clipboard.writeText(link); } catch { document.body.append(area); area.select(); document.execCommand("copy"); area.remove(); }
    announce(say("copied"));
    const was = button.lastChild.textContent;
    button.lastChild.textContent = say("copied");
    setTimeout(() => { button.lastChild.textContent = was; }, 1500);
  }

  function readFragment() {
    const match = /^#p=(.+)$/.exec(location.hash);
    if (!match) return null;
    try {
      const given = JSON.parse(decodeURIComponent(match[1]));
      return given && typeof given === "object" ? given : null;
    } catch { return null; }
  }

  // ── Beginning ───────────────────────────────────────────────────────────────────────────────────────────────────────
  const kept = store.load();
  draft.replace(Array.isArray(kept?.messages) ? kept.messages : [{ role: "user" }]);
  if (kept?.options) writeOptions(kept.options);
  if (Array.isArray(kept?.models) && !form.dataset.asked) writeModels(kept.models);
  if (/^\d+$/.test(kept?.total ?? "")) addUp(BigInt(kept.total));
  const linked = readFragment();
  if (linked) {
    writeOptions(linked);
    if (Array.isArray(linked.models)) writeModels(linked.models.filter((name) => typeof name === "string"));
  }
  history.replaceState(null, "", location.pathname); // an address fills the page once: reloaded, it is as the person left it

  form.addEventListener("submit", (event) => { event.preventDefault(); event.stopPropagation(); send(); });
  form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); } });
  for (const field of [...selects, ...Object.values(options)]) field.addEventListener("input", changed);
  form.addEventListener("click", (event) => {
    const part = (name) => event.target.closest(`[data-${name}]`);
    if (part("stop")) running?.abort();
    if (part("add-message")) { draft.add().querySelector("[data-text]").focus(); changed(); }
    if (part("show-code")) showCode();
    if (part("share")) share(part("share"));
    if (part("preset")) { const preset = (isEnglish ? ENGLISH : PRESETS)[part("preset").dataset.preset]; draft.replace(preset.messages); writeOptions(preset.options); changed(); }
    if (part("clear")) { running?.abort(); store.clear(); draft.replace([]); replies.replaceChildren(); document.querySelector("[data-replies-section]").hidden = true; total = 0n; addUp(0n); changed(); store.clear(); }
  });
  one("send").disabled = false; // until here nothing would take what is sent
  changed();
}
