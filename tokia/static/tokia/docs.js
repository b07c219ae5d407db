// The documentation in the browser: tabs of languages, the search as one types, and the page as Markdown. Works with app.js, which
// switches tabs and copies; without any script all of it is there in another form.

const RESULTS_MAX = 8;
const IN_TITLE = 8, IN_HEADING = 5, IN_TEXT = 1; // as tokia/docs_search.py counts

const say = (portuguese, english) => (document.documentElement.lang === "en" ? english : portuguese);
const bare = (text) => text.toLowerCase().normalize("NFKD").replace(/[^\x00-\x7f]/g, "");

// ── Tabs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
for (const tabs of document.querySelectorAll(".docs-tabs")) {
  // app.js has shown the language that was chosen last, where this example has it; else the first one is shown.
  const all = [...tabs.querySelectorAll("[data-tab]")];
  const chosen = all.find((tab) => tab.getAttribute("aria-selected") === "true") ?? all[0];
  for (const panel of tabs.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== chosen.dataset.tab;
  tabs.dataset.ready = "";
}

// ── The page as Markdown ─────────────────────────────────────────────────────────────────────────────────────────────
for (const button of document.querySelectorAll("[data-copy-page]")) {
  button.addEventListener("click", async () => {
    const label = button.querySelector("[data-copy-label]");
    label.dataset.was ??= label.textContent;
    try {
      const answer = await fetch(button.dataset.copyPage);
      if (!answer.ok) throw new Error(String(answer.status));
      await navigator.clipboard.writeText(await answer.text());
      label.textContent = say("Copiado!", "Copied!");
    } catch { // no permission: the page itself can be copied by hand
      location.assign(button.dataset.copyPage);
    }
    setTimeout(() => { label.textContent = label.dataset.was; }, 1500);
  });
}

// ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────────
const form = document.querySelector("[data-docs-search]");
const field = form?.querySelector("input");
const found = form?.querySelector("[data-docs-found]");
const count = form?.querySelector("[data-docs-count]");
let index = null;

async function load() {
  index ??= fetch("/docs/indice.json").then((answer) => {
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }).then((entries) => entries.map((entry) => ({ ...entry, bare: [entry.t, entry.h, entry.x].map(bare) })));
  return index;
}

function rank(entries, words) {
  const phrase = words.join(" ");
  const ranked = [];
  for (const entry of entries) {
    const [title, heading, text] = entry.bare;
    const worths = words.map((word) => (
      (title.includes(word) ? IN_TITLE : 0) + (heading.includes(word) ? IN_HEADING : 0) + (text.includes(word) ? IN_TEXT : 0)
    ));
    const found = worths.filter(Boolean).length;
    const points = worths.reduce((sum, worth) => sum + worth, 0) + (phrase === title || phrase === heading ? IN_HEADING : 0);
    if (found) ranked.push({ entry, found, points });
  }
  ranked.sort((one, other) => other.found - one.found || other.points - one.points);
  return ranked.slice(0, RESULTS_MAX).filter(({ found }) => found === ranked[0].found).map(({ entry }) => entry);
}

function show(entries) {
  found.replaceChildren(...entries.map((entry) => {
    const link = Object.assign(document.createElement("a"), { href: entry.u, textContent: entry.h ? `${entry.t}: ${entry.h}` : entry.t });
    const text = Object.assign(document.createElement("span"), { textContent: entry.x.length > 110 ? `${entry.x.slice(0, 110)}…` : entry.x });
    link.append(text);
    return link;
  }));
  if (!entries.length) {
    found.append(Object.assign(document.createElement("span"), { className: "p-3", textContent: say("Nada encontrado. Tente uma palavra só.", "Nothing found. Try a single word.") }));
  }
  found.hidden = false;
  count.textContent = entries.length === 1 ? say("1 resultado", "1 result") : say(`${entries.length} resultados`, `${entries.length} results`);
}

function close() {
  found.hidden = true;
  count.textContent = "";
}

if (form) {
  const seek = async () => {
    const words = bare(field.value).split(/\s+/).filter(Boolean).slice(0, 8);
    if (!words.length) return close();
    try {
      const entries = await load();
      if (bare(field.value).split(/\s+/).filter(Boolean).join(" ") === words.join(" ")) show(rank(entries, words));
    } catch { // the form itself still asks the server
      index = null;
      close();
    }
  };
  field.addEventListener("focus", () => { load().catch(() => { index = null; }); });
  field.addEventListener("input", seek);
  form.addEventListener("keydown", (event) => {
    const links = [...found.querySelectorAll("a")];
    const place = links.indexOf(document.activeElement);
    if (event.key === "Escape") {
      close();
      field.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && links.length && !found.hidden) {
      event.preventDefault();
      const next = event.key === "ArrowDown" ? place + 1 : place - 1;
      (next < 0 ? field : links[Math.min(next, links.length - 1)]).focus();
    }
  });
  document.addEventListener("click", (event) => { if (!form.contains(event.target)) close(); });
  found.addEventListener("click", (event) => { if (event.target.closest("a")) close(); }); // an anchor of this very page
}
