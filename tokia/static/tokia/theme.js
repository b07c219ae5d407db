// The theme that somebody chose, before the first paint; the system's where nobody chose. Its own small file, since it can't wait.
(() => {
  "use strict";
  const THEMES = { claro: "tokia", escuro: "tokia-escuro" };
  const root = document.documentElement;
  let chosen = "sistema";
  try { chosen = localStorage.getItem("tokia.tema") ?? chosen; } catch { /* private mode: the system's */ }

  function show() {
    if (THEMES[chosen]) root.dataset.theme = THEMES[chosen];
    else delete root.dataset.theme;
  }

  show();
  document.addEventListener("DOMContentLoaded", () => {
    for (const field of document.querySelectorAll("[data-themes]")) {
      field.hidden = false;
      for (const radio of field.querySelectorAll("input")) radio.checked = radio.value === chosen;
    }
  });
  document.addEventListener("change", (event) => {
    if (!event.target.closest("[data-themes]")) return;
    chosen = event.target.value;
    try { localStorage.setItem("tokia.tema", chosen); } catch { /* not remembered */ }
    show();
  });
})();
