// The catalog's comparison: says how many models are ticked, and lets nobody tick a fifth. Without it the form works all the same.
const MOST = 4;
const say = (portuguese, english) => (document.documentElement.lang === "en" ? english : portuguese);

function tell() {
  const form = document.querySelector("[data-comparison]");
  if (!form) return;
  const boxes = [...document.querySelectorAll("input[name=m]")];
  const count = boxes.filter((box) => box.checked).length;
  for (const box of boxes) box.disabled = !box.checked && count >= MOST;
  const button = form.querySelector("button");
  button.disabled = count < 2;
  button.textContent = count < 2 ? say("Comparar modelos", "Compare models") : say(`Comparar ${count} modelos`, `Compare ${count} models`);
  form.querySelector("[data-comparison-hint]").textContent =
    count === 0 ? say("Marque de 2 a 4 modelos para ver lado a lado.", "Tick 2 to 4 models to see them side by side.")
      : count === 1 ? say("Marque mais um modelo.", "Tick one more model.")
        : count < MOST ? say(`${count} marcados.`, `${count} ticked.`) : say("4 marcados, o máximo.", "4 ticked, the most.");
}

document.addEventListener("change", (event) => { if (event.target.name === "m") tell(); });
document.addEventListener("htmx:afterSettle", tell);
window.addEventListener("pageshow", tell);
tell();
