// The catalog's comparison: says how many models are ticked, and lets nobody tick a fifth. Without it the form works all the same.
const MOST = 4;

function tell() {
  const form = document.querySelector("[data-comparison]");
  if (!form) return;
  const boxes = [...document.querySelectorAll("input[name=m]")];
  const count = boxes.filter((box) => box.checked).length;
  for (const box of boxes) box.disabled = !box.checked && count >= MOST;
  const button = form.querySelector("button");
  button.disabled = count < 2;
  button.textContent = count < 2 ? "Comparar modelos" : `Comparar ${count} modelos`;
  form.querySelector("[data-comparison-hint]").textContent =
    count === 0 ? "Marque de 2 a 4 modelos para ver lado a lado." : count === 1 ? "Marque mais um modelo." : count < MOST ? `${count} marcados.` : "4 marcados, o máximo.";
}

document.addEventListener("change", (event) => { if (event.target.name === "m") tell(); });
document.addEventListener("htmx:afterSettle", tell);
window.addEventListener("pageshow", tell);
tell();
