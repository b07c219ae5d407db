// The top-up pages: the summary follows the chosen amount, and a charge that is paid says so in the tab's title.
(() => {
  "use strict";
  const BRL = 1_000_000_000;
  const language = document.documentElement.lang;
  const reais = (nanos) => `R$\u00a0${(nanos / BRL).toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;

  // "1.234,56", "1,234.56" or "250" as a person types it; NaN for anything else. For the preview only: the server reads the text again.
  function typed(text) {
    const bare = text.replace(/^R\$|\s/gi, "");
    if (/^(\d{1,3}(,\d{3})+\.\d{2}|\d+\.\d{1,2})$/.test(bare)) return Number(bare.replaceAll(",", ""));
    return /^(\d{1,3}(\.\d{3})*|\d+)(,\d{1,2})?$/.test(bare) ? Number(bare.replaceAll(".", "").replace(",", ".")) : NaN;
  }

  function show(form) {
    const chosen = form.querySelector('[name="valor"]:checked')?.value;
    const amount = chosen === "outro" ? typed(form.elements.outro.value) : Number(chosen);
    const isKnown = Number.isFinite(amount) && amount > 0;
    const summary = document.querySelector("[data-summary]");
    summary.hidden = !isKnown;
    const preview = form.querySelector("[data-preview]");
    if (preview) preview.hidden = !isKnown;
    if (!isKnown) return;
    const credit = amount * BRL;
    const owed = Math.min(Number(form.dataset.overdraftNanos), credit);
    summary.querySelector("[data-credit]").textContent = reais(credit);
    summary.querySelector("[data-pay]").textContent = reais(credit);
    summary.querySelector("[data-after]").textContent = reais(Math.floor((Number(form.dataset.balanceNanos) + credit - owed) / 1e7) * 1e7); // a balance is never shown higher
    if (preview) {
      const tokens = (credit / Number(form.dataset.previewNanos)) * 1e6;
      const names = language === "en" ? ["billion", "million", "thousand"] : ["bilhões", "milhões", "mil"];
      const [unit, name] = tokens >= 1e9 ? [1e9, names[0]] : tokens >= 1e6 ? [1e6, names[1]] : [1e3, names[2]];
      const shown = (tokens / unit).toLocaleString(language, { maximumFractionDigits: tokens / unit < 10 ? 1 : 0 });
      preview.querySelector("[data-preview-tokens]").textContent = `${shown} ${name}`;
    }
  }

  const form = document.querySelector("[data-top-up]");
  if (form) {
    form.addEventListener("input", () => show(form));
    form.addEventListener("change", (event) => {
      if (event.target.name === "valor" && event.target.value === "outro") form.elements.outro.focus();
      show(form);
    });
    show(form);
  }

  document.addEventListener("focusin", (event) => { if (event.target.dataset?.select !== undefined) event.target.select(); });
  document.addEventListener("htmx:afterSettle", () => {
    const title = document.getElementById("cobranca")?.dataset.title;
    if (title) document.title = title;
  });
})();
