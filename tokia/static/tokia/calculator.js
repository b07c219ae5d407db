// The slider of the comparison: a second way to write its number, on a logarithmic scale. Without it the number alone does.
for (const range of document.querySelectorAll("[data-log-range]")) {
  const field = document.getElementById(range.dataset.logRange);
  const least = Math.log(+range.dataset.least);
  const most = Math.log(+range.dataset.most);

  const number = () => +field.value.replace(/\D/g, "") || 0;
  const place = () => {
    const at = (Math.log(Math.max(number(), 1)) - least) / (most - least);
    range.value = String(Math.round(Math.min(Math.max(at, 0), 1) * 100));
    range.setAttribute("aria-valuetext", `US$ ${field.value}`);
  };
  // Two digits that mean something: 50, 55, … 4.900, 5.000.
  const round = (value) => {
    const step = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
    return Math.round(value / step) * step;
  };

  range.hidden = false;
  place();
  field.addEventListener("input", place);
  range.addEventListener("input", () => {
    field.value = round(Math.exp(least + (range.value / 100) * (most - least))).toLocaleString(document.documentElement.lang);
    range.setAttribute("aria-valuetext", `US$ ${field.value}`);
  });
}
