// What the pages do in the browser beyond HTML and htmx. No library, no eval; everything is wired by data attributes.
(() => {
  "use strict";
  // The page's language; a text of a script stands with its English where it is said.
  const say = (portuguese, english) => (document.documentElement.lang === "en" ? english : portuguese);

  const remembered = {
    get: (name) => { try { return localStorage.getItem(`tokia.${name}`); } catch { return null; } },
    set: (name, value) => { try { localStorage.setItem(`tokia.${name}`, value); } catch { /* private mode: not remembered */ } },
  };

  // ── Toasts: notify("Pronto"), or the response header HX-Trigger: {"aviso": "Pronto"} ──────────────────────────────
  function notify(text, kind = "info") {
    const toast = document.createElement("div");
    toast.className = `alert alert-${kind === "error" ? "error" : "info"} text-sm whitespace-normal`;
    toast.textContent = text;
    document.getElementById("avisos")?.append(toast);
    setTimeout(() => toast.remove(), 6000);
  }
  document.addEventListener("aviso", (event) => notify(event.detail.value ?? event.detail));
  document.addEventListener("htmx:sendError", () => notify(say("Sem conexão com a Tokia. Vamos tentar de novo.", "No connection to Tokia. We will try again."), "error"));
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    // A poll tries again by itself, and a lost session is told by the page that it leads to.
    if (xhr.status === 401 || xhr.status === 403) location.reload();
    else if (!(elt.getAttribute("hx-trigger") || "").includes("every")) {
      notify(say("Não conseguimos carregar agora. Tente de novo.", "We could not load this now. Try again."), "error");
    }
  });

  // ── Copy: data-copy="#id" ─────────────────────────────────────────────────────────────────────────────────────────
  async function copy(button, source) {
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no permission, or plain http on another host
      const area = Object.assign(document.createElement("textarea"), { value: text, className: "sr-only" });
      (button.closest("dialog") ?? document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const label = button.querySelector("[data-copy-label]") ?? button;
    label.dataset.was ??= label.textContent;
    label.textContent = say("Copiado!", "Copied!");
    setTimeout(() => { label.textContent = label.dataset.was; }, 1500);
  }

  // ── Tabs: data-tabs="name" > [data-tab], [data-panel]; the choice is remembered by name ───────────────────────────
  function choose(tabs, name) {
    const names = [...tabs.querySelectorAll("[data-tab]")].map((tab) => tab.dataset.tab);
    if (!names.includes(name)) return;
    for (const tab of tabs.querySelectorAll("[data-tab]")) {
      tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
      tab.tabIndex = tab.dataset.tab === name ? 0 : -1;
    }
    for (const panel of tabs.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== name;
  }

  // ── Masks: data-mask="cnpj" | "cpf" | "cep"; alphanumeric CNPJ included ───────────────────────────────────────────
  const MASKS = { cnpj: "##.###.###/####-##", cpf: "###.###.###-##", cep: "#####-###" };
  function mask(input) {
    const pattern = MASKS[input.dataset.mask];
    if (!pattern) return;
    const bare = input.value.toUpperCase().replace(input.dataset.mask === "cnpj" ? /[^0-9A-Z]/g : /\D/g, "");
    let shown = "";
    let at = 0;
    for (const slot of pattern) {
      if (at >= bare.length) break;
      shown += slot === "#" ? bare[at++] : slot;
    }
    const changed = input.value !== shown || input.dataset.seen !== bare;
    input.value = shown;
    // The registry is asked once per whole number (accounts/start.html).
    if (at === bare.length && bare.length === pattern.split("#").length - 1 && changed && input.dataset.seen !== undefined) {
      input.dispatchEvent(new Event("completo", { bubbles: true }));
    }
    input.dataset.seen = bare;
  }

  // ── A key is shown once: the way out opens when the box is ticked ─────────────────────────────────────────────────
  let unsaved = false;
  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

  function hideBalance(hidden) {
    document.documentElement.classList.toggle("is-hidden-balance", hidden);
    for (const button of document.querySelectorAll("[data-hide-balance]")) button.setAttribute("aria-pressed", String(hidden));
  }

  function countDown(element) {
    const end = Date.parse(element.dataset.countdown);
    const tick = () => {
      if (!element.isConnected) return;
      const left = Math.max(0, Math.round((end - Date.now()) / 1000));
      element.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      if (left > 0) setTimeout(tick, 1000 - (Date.now() % 1000));
    };
    tick();
  }

  // A box that scrolls sideways can be scrolled by the keyboard, and is no stop of it while all fits.
  const scrollers = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });

  // Wires what needs more than a delegated listener; again for each piece that htmx brings.
  function prepare(root) {
    for (const tabs of root.querySelectorAll("[data-tabs]")) choose(tabs, remembered.get(tabs.dataset.tabs));
    for (const input of root.querySelectorAll("[data-mask]")) mask(input);
    for (const element of root.querySelectorAll("[data-countdown]")) countDown(element);
    for (const box of root.querySelectorAll("[data-saved-gate]")) unsaved = !box.checked;
    for (const field of root.querySelectorAll("[data-typed]")) checkTyped(field);
    for (const field of root.querySelectorAll("[data-shown-for]")) showFor(field);
    for (const box of root.querySelectorAll(".overflow-x-auto")) scrollers.observe(box);
    hideBalance(remembered.get("saldo") === "escondido");
  }

  function checkTyped(field) {
    const button = field.form?.querySelector("button:not([type=button])");
    if (button) button.disabled = field.value.trim() !== field.dataset.typed;
  }

  // data-shown-for="name=value": shown while the radio or select `name` of the same form has that value.
  function showFor(element) {
    const [name, value] = element.dataset.shownFor.split("=");
    const chosen = element.closest("form")?.querySelector(`select[name="${name}"], [name="${name}"]:checked`);
    element.hidden = chosen?.value !== value;
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) if (!menu.contains(target)) menu.open = false;
    const copier = target.closest("[data-copy]");
    if (copier) copy(copier, document.querySelector(copier.dataset.copy));
    const tabCopier = target.closest("[data-copy-tab]");
    if (tabCopier) copy(tabCopier, tabCopier.closest("[data-tabs]").querySelector("[data-panel]:not([hidden]) code"));
    const tab = target.closest("[data-tab]");
    if (tab) {
      const name = tab.closest("[data-tabs]").dataset.tabs;
      remembered.set(name, tab.dataset.tab);
      for (const tabs of document.querySelectorAll(`[data-tabs="${name}"]`)) choose(tabs, tab.dataset.tab);
    }
    const opener = target.closest("[data-dialog]");
    if (opener) document.querySelector(opener.dataset.dialog)?.showModal();
    if (target.closest("[data-close]")) target.closest("dialog")?.close();
    const revealer = target.closest("[data-reveal]");
    if (revealer) {
      const field = document.querySelector(revealer.dataset.reveal);
      field.type = field.type === "password" ? "text" : "password";
      revealer.setAttribute("aria-pressed", String(field.type === "text"));
      revealer.querySelector("[data-reveal-label]").textContent = field.type === "text" ? say("Esconder", "Hide") : say("Mostrar", "Show");
    }
    if (target.closest("[data-hide-balance]")) {
      const hidden = !document.documentElement.classList.contains("is-hidden-balance");
      remembered.set("saldo", hidden ? "escondido" : "visivel");
      hideBalance(hidden);
    }
    const saver = target.closest("[data-download]");
    if (saver) {
      const url = URL.createObjectURL(new Blob([document.querySelector(saver.dataset.source).textContent], { type: "text/plain" }));
      const link = Object.assign(document.createElement("a"), { href: url, download: saver.dataset.download });
      link.click();
      URL.revokeObjectURL(url);
    }
  });

  document.addEventListener("keydown", (event) => {
    const tab = event.target instanceof Element ? event.target.closest("[role=tab]") : null;
    if (tab && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const all = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
      const next = all[(all.indexOf(tab) + (event.key === "ArrowRight" ? 1 : all.length - 1)) % all.length];
      next.click();
      next.focus();
    }
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details[data-menu][open]")) menu.open = false;
      const drawer = document.getElementById("menu");
      if (drawer) drawer.checked = false;
    }
  });

  document.addEventListener("input", (event) => {
    const field = event.target;
    if (field.dataset?.mask) mask(field);
    if (field.dataset?.typed !== undefined) checkTyped(field);
  });

  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field.closest("[data-autosubmit]")) field.form.requestSubmit();
    if (field.dataset.savedGate !== undefined) {
      unsaved = !field.checked;
      const way = document.querySelector(field.dataset.savedGate);
      way.classList.toggle("btn-disabled", !field.checked);
      way.toggleAttribute("inert", !field.checked);
    }
    if (field.type === "radio" || field.tagName === "SELECT") for (const part of field.form?.querySelectorAll("[data-shown-for]") ?? []) showFor(part);
  });

  document.addEventListener("submit", (event) => {
    // One press, one act: the button rests until the page is left or shown again.
    const button = event.submitter;
    if (!button || event.defaultPrevented || event.target.method === "dialog" || event.target.method === "get") return;
    setTimeout(() => { button.disabled = true; button.setAttribute("aria-busy", "true"); });
  });
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[aria-busy]")) { button.disabled = false; button.removeAttribute("aria-busy"); }
  });

  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement ?? document));
  prepare(document);
})();
