"""The first numbers of the comparison, as their sources said them: (name, value, since when, looked at, source, its address).

Migrations put them into an empty table; from then on an administrator keeps them. Laws are dated by their own force, prices by the
day from which the page shows them. Looked at: the day for which we know it, and where nobody looked since, the source's own; pages
then say that it is to be looked at again, and the admin asks for it.
"""

from __future__ import annotations

FIRST_PARAMETERS: tuple[tuple[str, str, str, str, str, str], ...] = (
    (
        "card_spread", "5", "2026-02-22", "2026-02-22",
        "E-Investidor (Estadão): bancos cobram de 3,5% a 6% acima da PTAX; usamos 5%, o valor do meio da lista",
        "https://einvestidor.estadao.com.br/?p=749530",
    ),
    (
        "iof", "3.5", "2025-06-11", "2026-11-22",
        "Decreto nº 12.499/2025, mantido pelo STF em 16/07/2025",
        "https://www.planalto.gov.br/ccivil_03/_ato2023-2026/2025/decreto/d12499.htm",
    ),
    (
        "hosted", "5.5", "2025-11-01", "2026-11-22",
        "OpenRouter: taxa sobre a compra de créditos por cartão",
        "https://openrouter.ai/docs/faq",
    ),
    (
        "hosted_least", "0.80", "2025-11-01", "2026-11-22",
        "OpenRouter: taxa mínima por compra; a conta supõe uma compra por mês",
        "https://openrouter.ai/docs/faq",
    ),
    (
        "server", "24", "2022-07-01", "2022-07-01",
        "DigitalOcean: Droplet Basic de 2 vCPU e 4 GB, um só, sem redundância",
        "https://www.digitalocean.com/pricing/droplets",
    ),
    (
        "database", "15", "2022-07-01", "2022-07-01",
        "DigitalOcean: PostgreSQL gerenciado de 1 GB, um nó",
        "https://www.digitalocean.com/pricing/managed-databases",
    ),
    (
        "import_irrf", "15", "2017-03-29", "2017-03-29",
        "Solução de Consulta Cosit nº 191/2017 (software como serviço é serviço técnico)",
        "https://normas.receita.fazenda.gov.br/",
    ),
    (
        "import_cide", "10", "2017-03-29", "2017-03-29",
        "Lei nº 10.168/2000, art. 2º; Solução de Consulta Cosit nº 191/2017",
        "https://www.planalto.gov.br/ccivil_03/leis/l10168.htm",
    ),
    (
        "import_pis_cofins", "9.25", "2004-05-01", "2004-05-01",
        "Lei nº 10.865/2004, art. 8º, II: PIS 1,65% e COFINS 7,6%",
        "https://www.planalto.gov.br/ccivil_03/_ato2004-2006/2004/lei/l10.865.htm",
    ),
    (
        "import_iss", "2", "2016-12-30", "2016-12-30",
        "Lei Complementar nº 116/2003, art. 8º-A: o mínimo; cada município cobra de 2% a 5%",
        "https://www.planalto.gov.br/ccivil_03/leis/lcp/lcp116.htm",
    ),
)  # fmt: skip
