// Bars of money per day: <canvas data-chart="#id"> reads the JSON block `id`: {labels: [...], series: [{name, reais: [...]}]}.
// The figures are floats for drawing only; the exact ones stand in the table beside the chart.
(() => {
  "use strict";
  const css = getComputedStyle(document.documentElement);
  const color = (name) => css.getPropertyValue(name).trim();
  const palette = ["--color-primary", "--color-secondary", "--color-accent", "--color-info", "--color-error", "--color-warning"];
  const writer = (most) => {
    const digits = most >= 1 ? 2 : most >= 0.01 ? 4 : 6; // small spends would all read R$ 0,00
    return (value) => value.toLocaleString("pt-BR", { style: "currency", currency: "BRL", minimumFractionDigits: 2, maximumFractionDigits: digits });
  };

  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const { labels, series } = JSON.parse(document.querySelector(canvas.dataset.chart).textContent);
    const reais = writer(Math.max(...labels.map((_, at) => series.reduce((sum, one) => sum + one.reais[at], 0))));
    new Chart(canvas, {
      type: "bar",
      data: {
        labels,
        datasets: series.map(({ name, reais: values }, at) => ({
          label: name, data: values, backgroundColor: color(palette[at % palette.length]), borderRadius: 3, maxBarThickness: 28,
        })),
      },
      options: {
        maintainAspectRatio: false,
        animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? false : { duration: 250 },
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { display: series.length > 1, position: "bottom", labels: { color: color("--color-base-content"), boxWidth: 12, font: { family: "Inter" } } },
          tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${reais(item.parsed.y)}` } },
        },
        scales: {
          x: { stacked: true, grid: { display: false }, ticks: { color: color("--color-base-content"), maxRotation: 0, autoSkipPadding: 16, font: { family: "Inter", size: 11 } } },
          y: { stacked: true, beginAtZero: true, border: { display: false }, grid: { color: color("--color-base-300") },
            ticks: { color: color("--color-base-content"), maxTicksLimit: 5, callback: reais, font: { family: "Inter", size: 11 } } },
        },
      },
    });
  }
})();
