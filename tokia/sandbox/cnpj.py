"""A registry of companies in the shape of BrasilAPI's CNPJ v1: made-up but stable data for every valid CNPJ."""

from __future__ import annotations

import hashlib
import re

from tokia.sandbox.asgi import Request, Response, json_response

WEIGHTS = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
CITIES = (
    ("São Paulo", "SP", 7107, 3550308, "013"),
    ("Rio de Janeiro", "RJ", 6001, 3304557, "200"),
    ("Belo Horizonte", "MG", 4123, 3106200, "301"),
    ("Curitiba", "PR", 7535, 4106902, "800"),
    ("Porto Alegre", "RS", 8801, 4314902, "900"),
    ("Recife", "PE", 2531, 2611606, "500"),
    ("Florianópolis", "SC", 8105, 4205407, "880"),
    ("Campinas", "SP", 6291, 3509502, "130"),
)
STREETS = ("Paulista", "das Acácias", "Sete de Setembro", "Rio Branco", "dos Andradas", "Boa Viagem", "Beira-Mar")
DISTRICTS = ("Centro", "Bela Vista", "Savassi", "Batel", "Boa Vista", "Cambuí", "Moinhos de Vento")
NAMES = ("Aurora", "Ipê", "Vértice", "Maré", "Cerrado", "Atlântica", "Pinheiro", "Horizonte", "Jacarandá", "Serra Azul")
TRADES = (
    ("Tecnologia", 6201501, "Desenvolvimento de programas de computador sob encomenda"),
    ("Consultoria", 7020400, "Atividades de consultoria em gestão empresarial"),
    ("Comércio Digital", 4791200, "Comércio varejista pela internet"),
    ("Educação", 8599604, "Treinamento em desenvolvimento profissional e gerencial"),
    ("Dados", 6311900, "Tratamento de dados e provedores de serviços de aplicação"),
)
CLOSED_ORDER = "9999"  # a branch number that stands for a closed company, to try that state


def check_digits(stem: str) -> str:
    """The two check digits of the twelve first characters; a letter counts as its ASCII code minus 48 (IN RFB 2.229)."""
    values = [ord(char) - 48 for char in stem]
    for _ in range(2):
        weights = WEIGHTS[-len(values) :]
        rest = sum(value * weight for value, weight in zip(values, weights, strict=True)) % 11
        values.append(0 if rest < 2 else 11 - rest)
    return f"{values[-2]}{values[-1]}"


def is_valid(cnpj: str) -> bool:
    """Fourteen characters without a mask, numeric or alphanumeric, not all the same, with their check digits."""
    if not re.fullmatch(r"[0-9A-Z]{12}[0-9]{2}", cnpj, re.ASCII) or len(set(cnpj)) == 1:
        return False
    return check_digits(cnpj[:12]) == cnpj[12:]


class Registry:
    """`GET /cnpj/<cnpj>`; a mask is ignored, as the public service does."""

    async def serve(self, request: Request) -> Response:
        asked = request.path.removeprefix("/cnpj/").removeprefix("v1/")
        cnpj = re.sub(r"[./\-\s]", "", asked).upper()
        if request.method != "GET" or not is_valid(cnpj):
            body = {"message": f"CNPJ {asked} não encontrado.", "type": "not_found", "name": "NotFoundError"}
            return json_response(body, status=404)
        return json_response(describe(cnpj))


def describe(cnpj: str) -> dict[str, object]:
    """The registry's record of a valid CNPJ."""
    seed = hashlib.sha256(cnpj[:8].encode()).digest()  # branches of a company share its name
    branch = hashlib.sha256(cnpj.encode()).digest()
    city, state, city_code, city_ibge, postal_prefix = CITIES[branch[0] % len(CITIES)]
    trade, activity, activity_name = TRADES[seed[1] % len(TRADES)]
    name = NAMES[seed[2] % len(NAMES)]
    is_closed = cnpj[8:12] == CLOSED_ORDER
    slug = "".join(char for char in f"{name}{trade}".lower() if char.isascii() and char.isalnum())
    return {
        "cnpj": cnpj,
        "identificador_matriz_filial": 1 if cnpj[8:12] == "0001" else 2,
        "descricao_identificador_matriz_filial": "MATRIZ" if cnpj[8:12] == "0001" else "FILIAL",
        "razao_social": f"{name} {trade} Ltda".upper(),
        "nome_fantasia": f"{name} {trade}".upper() if seed[3] % 3 else "",
        "situacao_cadastral": 8 if is_closed else 2,
        "descricao_situacao_cadastral": "BAIXADA" if is_closed else "ATIVA",
        "data_situacao_cadastral": "2024-03-15" if is_closed else "2019-08-01",
        "data_inicio_atividade": f"{2005 + seed[4] % 20}-{1 + seed[5] % 12:02d}-{1 + seed[6] % 28:02d}",
        "codigo_natureza_juridica": 2062,
        "natureza_juridica": "Sociedade Empresária Limitada",
        "cnae_fiscal": activity,
        "cnae_fiscal_descricao": activity_name,
        "cnaes_secundarios": [],
        "descricao_tipo_de_logradouro": "AVENIDA" if branch[1] % 2 else "RUA",
        "logradouro": STREETS[branch[2] % len(STREETS)].upper(),
        "numero": str(10 + branch[3] * 7),
        "complemento": f"SALA {100 + branch[4]}" if branch[4] % 2 else "",
        "bairro": DISTRICTS[branch[5] % len(DISTRICTS)].upper(),
        "cep": f"{postal_prefix}{branch[6] % 100:02d}{branch[7] % 900 + 100:03d}",
        "uf": state,
        "codigo_municipio": city_code,
        "codigo_municipio_ibge": city_ibge,
        "municipio": city.upper(),
        "pais": None,
        "ddd_telefone_1": f"11{30000000 + int.from_bytes(branch[8:11]) % 9000000}",
        "ddd_telefone_2": "",
        "email": f"fiscal@{slug}.example" if seed[7] % 4 else None,
        "porte": "DEMAIS" if seed[8] % 2 else "EMPRESA DE PEQUENO PORTE",
        "capital_social": 10_000 * (1 + seed[9]),
        "opcao_pelo_simples": bool(seed[10] % 2),
        "opcao_pelo_mei": False,
        "qsa": [],
    }
