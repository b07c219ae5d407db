// The grid of prices without this file is a form; with it, it is nearly a spreadsheet: arrows, Enter, pasting a block, what was touched.
const grid = document.querySelector("#price-grid");
const form = grid?.querySelector("#cells");
const rows = [...(form?.querySelectorAll(".pg-table tbody tr") ?? [])].map((row) => [...row.querySelectorAll("input:not([type=checkbox])")]);
let isLeaving = false;

function place(input) {
  const row = rows.findIndex((cells) => cells.includes(input));
  return row < 0 ? null : [row, rows[row].indexOf(input)];
}

function step(input, down, right) {
  const at = place(input);
  const next = at && rows[at[0] + down]?.[at[1] + right];
  if (!next) return false;
  next.focus();
  next.select();
  return true;
}

function touch(input) {
  input.classList.toggle("is-touched", input.value.trim() !== input.dataset.saved);
}

rows.flat().forEach(touch); // what was checked and not saved yet

const touched = () => rows.flat().filter((input) => input.classList.contains("is-touched")).length;

form?.addEventListener("input", (event) => {
  if (place(event.target)) touch(event.target);
});

form?.addEventListener("keydown", (event) => {
  const input = event.target;
  if (!place(input) || event.altKey || event.ctrlKey || event.metaKey) return;
  const isWhole = input.selectionStart === 0 && input.selectionEnd === input.value.length;
  const moves = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    Enter: [event.shiftKey ? -1 : 1, 0],
    ArrowLeft: isWhole || input.selectionEnd === 0 ? [0, -1] : null,
    ArrowRight: isWhole || input.selectionStart === input.value.length ? [0, 1] : null,
  };
  if (event.key === "Enter") event.preventDefault(); // it moves on; saving has its button
  if (moves[event.key] && step(input, ...moves[event.key])) event.preventDefault();
});

form?.addEventListener("paste", (event) => {
  const at = place(event.target);
  const text = event.clipboardData?.getData("text/plain").replace(/\r/g, "").replace(/\n+$/, "") ?? "";
  if (!at || !/[\n\t]/.test(text)) return; // one value: the browser's own
  event.preventDefault();
  let count = 0;
  text.split("\n").forEach((line, down) => {
    line.split("\t").forEach((value, right) => {
      const input = rows[at[0] + down]?.[at[1] + right];
      if (!input) return;
      input.value = value.trim();
      touch(input);
      count += 1;
    });
  });
  const status = form.querySelector("[data-status]");
  status.textContent = `${count} ${count === 1 ? "célula colada" : "células coladas"}. Confira e salve.`;
});

const all = form?.querySelector("[data-all]");
if (all) {
  all.hidden = false;
  form.querySelector("[data-hint]").hidden = false;
  all.addEventListener("change", () => {
    for (const box of form.querySelectorAll("input[name=pick]")) box.checked = all.checked;
  });
}

// The admin's own script writes a chosen file's name into a text field that it expects around it: here is none for it.
const keepFile = (event) => {
  if (event.target.type === "file") event.stopPropagation();
};
grid?.addEventListener("change", keepFile, true);

form?.addEventListener("submit", () => {
  isLeaving = true;
});
addEventListener("beforeunload", (event) => {
  if (!isLeaving && touched()) event.preventDefault();
});
