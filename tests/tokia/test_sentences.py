"""How a template's source is cut into sentences, and put together again with other words."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokia.sentences import find_fault, find_sentences, is_prose, replace_sentences

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in (".html", ".txt", ".md", ".py", ".mjs"))
PARTS = [
    "Um ", "{{ a }}", "{% if b %}", "{% else %}", "{% endif %}", "<b>", "</b>", "<p>", "</p>", '<i title="Dois {{ c }}">', "</i>",
    "{% for x in y %}", "{% endfor %}", "{% icon 'x' %}", "<br>", "{# n #}", "{{ n|pluralize }}",
]  # fmt: skip


def keys(source: str) -> list[str]:
    return [sentence.key for sentence in find_sentences(source)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        # a run of text with what belongs into it
        ("<p>Olá.</p>", ["Olá."]),
        ("<p>  Um\n   dois </p>", ["Um dois"]),
        ("<p>Faltam <strong class='x'>{{ a.amount|brl }}</strong> para {{ tier }}.</p>",
         ["Faltam <strong>{amount}</strong> para {tier}."]),
        ('<p>Veja <a href="/a/">isto</a> e <a href="/b/">aquilo</a>.</p>', ["Veja <a>isto</a> e <a2>aquilo</a2>."]),
        ("<p><b>Um</b>, <b>dois</b> e três</p>", ["<b>Um</b>, <b>dois</b> e três"]),
        ("<p>Um<br>dois</p>", ["Um<br>dois"]),
        ("<p>{{ a.n }} de {{ b.n }} e de {{ a.n }}</p>", ["{n} de {n2} e de {n}"]),
        ("<p>{{ rows.0 }} linhas</p>", ["{rows0} linhas"]),
        ("<p>{{ n }} chave{{ n|pluralize }}</p>", ["{n} chave{s}"]),
        ("<p>{{ s }} e {{ if }} não</p>", ["{s_} e {if_} não"]),
        ('<p>{{ n }} {{ n|pluralize:"item pede,itens pedem" }}</p>', ["{n} {s}"]),
        ("<p>Custa {% include 'parts/_money.html' with nanos=x %} hoje</p>", ["Custa {money} hoje"]),
        ('<p>Até{% icon "x" "size-4" %} já</p>', ["Até{icon} já"]),
        ("<p>Um{# nada #} dois</p>", ["Um dois"]),
        # ifs inside of a sentence
        ("<p>Vale{% if a %} até {{ b }}{% endif %}.</p>", ["Vale{if} até {b}{endif}."]),
        ("<p>É {% if a %}um{% elif b %}dois{% elif c %}três{% else %}nada{% endif %}.</p>",
         ["É {if}um{elif}dois{elif_}três{else}nada{endif}."]),
        ("<p>É {% if a %}um{% else %}dois{% endif %} ou {% if b %}três{% endif %}.</p>",
         ["É {if}um{else}dois{endif} ou {if2}três{endif2}."]),
        # without letters beside them, each child is a sentence
        ("<p>{% if a %}Um.{% else %}Dois.{% endif %}</p>", ["Um.", "Dois."]),
        ("<nav><a>Um</a> · <a>Dois</a>\n<a>Três</a></nav>", ["Um", "Dois", "Três"]),
        ('<a>{% icon "x" %}<span>Um</span></a>', ["Um"]),
        ("<p><span class='dot'></span> Um{% if a %}{% icon 'b' %}{% endif %}</p>", ["Um"]),
        ("<p>{{ a }} · {{ b }} &nbsp; 12</p>", []),
        ("<p><code>base_url</code> <kbd>Ctrl</kbd></p>", []),
        ("<p>Troque a <code>base_url</code>.</p>", ["Troque a <code>base_url</code>."]),
        # what breaks a run
        ("<p>Um</p>dois<div>três", ["Um", "dois", "três"]),
        ("Um{% block a %}dois{% endblock %}{% include 'a/b.html' %}três", ["Um", "dois", "três"]),
        ("<span>Um<div>dois</div></span> três", ["Um", "dois", "três"]),
        ("Um {% if a %}<li>dois{% endif %} três", ["Um", "dois", "três"]),
        ("<p>Um {% if a %}<b>{% endif %}dois{% if a %}</b>{% endif %}", ["Um", "dois"]),
        ("Um <a>dois {% for x in y %}três{% endfor %}</a>", ["Um", "dois", "três"]),
        ("{% if a %}Um", ["Um"]),
        # what is left alone
        ("<script>let Um = 'dois três';</script><style>.Um {}</style><pre>Um dois</pre>", []),
        ("{% verbatim %}Um {{ a }}{% endverbatim %}{% comment %}Um{% endcomment %}{# Um #}<!-- Um -->", []),
        ("{% blocktranslate %}Um {{ a }}{% endblocktranslate %}", []),
        ("<p>{% unclosed Um < 3 e {{ x</p>", ["{% unclosed Um < 3 e {{ x"]),
        # attributes
        ('<a title="Um {{ b|x:"y" }} {% if c %}d{% endif %}" class="btn btn-sm" href="/um dois/">', ["Um {b} {if}d{endif}"]),
        ('<img alt="Um"><input placeholder="voce@empresa.com"><input placeholder="você">', ["Um", "você"]),
        ('<input type="submit" value="Pagar"><input value="Pagar agora"><option value="Um dois">Três</option>', ["Pagar", "Três"]),
        ('<meta name="description" content="Um {{ a }}."><meta name="viewport" content="width=device-width, Um">', ["Um {a}."]),
        ('<html lang="pt-BR"><p lang="pt-BR">', ["pt-BR"]),
        ('<i data-title="✓ Pago" data-tab="codigo" data-x="Senha" data-y="size-4 mt-1">', ["✓ Pago", "Senha"]),
        ("<a {% if a > 1 %}title='Um > dois'{% endif %} title=\"\">", ["Um > dois"]),
        # literals
        ('{% include "a/_b.html" with title="Um dois" kind="error" css="btn btn-sm" text=x|default:"Três" %}', ["Um dois", "Três"]),
        ('{{ a|default:"sem motivo" }}{{ a|date:"d/m/Y" }}{{ a|date:"H:i" }}{{ a|stringformat:"Um d" }}', ["sem motivo", "d/m/Y"]),
        ('{% if a == "Um dois" %}{% endif %}{% icon "menu" "size-5 um" %}{% url "Um" %}', []),
        (r'{% x "Um \"dois\"" %}', ['Um "dois"']),
        ('{% x "Sim. Até "|add:n|add:" dias depois." %}', ["Sim. Até", "dias depois."]),
    ],
)  # fmt: skip
def test_it_finds(source: str, found: list[str]) -> None:
    assert keys(source) == found
    assert replace_sentences(source, lambda key: None) == source


@pytest.mark.parametrize(
    ("source", "key", "translation", "said"),
    [
        ("<p> Olá  a\n todos. </p>", "Olá a todos.", "Hello.", "<p> Hello. </p>"),
        ('<p>Veja <a href="/a/">isto</a> e <a href="/b/">aquilo</a>.</p>', "Veja <a>isto</a> e <a2>aquilo</a2>.",
         "<a2>That</a2> and <a>this</a>: see.", '<p><a href="/b/">That</a> and <a href="/a/">this</a>: see.</p>'),
        ("<p>{{ n|num }} chave{{ n|pluralize }}</p>", "{n} chave{s}", "{n} key{s}", "<p>{{ n|num }} key{{ n|pluralize }}</p>"),
        ('<p>{{ n }} disponíve{{ n|pluralize:"l,is" }}</p>', "{n} disponíve{s}", "{n} available", "<p>{{ n }} available</p>"),
        ('<p>{{ n }} requisiç{{ n|pluralize:"ão,ões" }}</p>', "{n} requisiç{s}", "{n} request{s}",
         "<p>{{ n }} request{{ n|pluralize }}</p>"),
        ("<p>{{ n }} conta{{ n|pluralize }}</p>", "{n} conta{s}", "{n} entr{s:y,ies}",
         '<p>{{ n }} entr{{ n|pluralize:"y,ies" }}</p>'),
        ("<p>Vale{% if a.b %} até {{ b }}{% endif %}.</p>", "Vale{if} até {b}{endif}.", "{if}Until {b} {endif}valid.",
         "<p>{% if a.b %}Until {{ b }} {% endif %}valid.</p>"),
        ('<a title="Um {{ b }}">', "Um {b}", 'The "one" of {b}', '<a title="The &quot;one&quot; of {{ b }}">'),
        ("<a title='Um {{ b }}'>", "Um {b}", "{b}'s one", "<a title='{{ b }}&#39;s one'>"),
        ('{% x "Um dois" %}', "Um dois", 'a "b"', r'{% x "a \"b\"" %}'),
        ("{% x 'Sim. Até '|add:n %}", "Sim. Até", "It's until", r"{% x 'It\'s until '|add:n %}"),
        (r'{{ a|date:"F \d\e Y" }}', r"F \d\e Y", "F Y", '{{ a|date:"F Y" }}'),
        ("<p>Um {model} dois</p>", "Um {model} dois", "One {model} two", "<p>One {model} two</p>"),
    ],
)  # fmt: skip
def test_it_replaces(source: str, key: str, translation: str, said: str) -> None:
    assert keys(source)[0] == key and find_fault(key, translation) is None
    assert replace_sentences(source, {key: translation}.get) == said


def test_it_replaces_what_stands_inside_of_a_sentence() -> None:
    source = '<p>Veja <a title="Um {{ b }}" href="x">{{ c|default:"sem nome" }}</a> já.</p>'
    known = {"Veja <a>{c}</a> já.": "Now see <a>{c}</a>.", "Um {b}": "One {b}", "sem nome": "no name"}
    assert replace_sentences(source, known.get) == '<p>Now see <a title="One {{ b }}" href="x">{{ c|default:"no name" }}</a>.</p>'
    assert replace_sentences(source, {"sem nome": "no name"}.get) == source.replace("sem nome", "no name")


@pytest.mark.parametrize(
    ("key", "translation", "fault"),
    [
        ("Um {a}", "One", "differs in {a}"),
        ("Um {a}", "One {b}", "differs in {a}, {b}"),
        ("Um {a}", "One {a} {s}", "has a plural that is not there: s"),
        ("Um <a>dois</a>", "One <a>two", "differs in </a>"),
        ("<a>Um</a> <b>dois</b>", "<a>One <b>two</a></b>", "is not balanced at </a>"),
        ("{if}Um{else}dois{endif}", "{else}One{if}two{endif}", "is not balanced at {else}"),
        ("{if}Um{endif} <a>b</a>", "<a>{if}One</a> b{endif}", "is not balanced at </a>"),
        ("Um", "{% one %}", "writes a tag of its own"),
        ("Um", "{{ one }}", "writes a tag of its own"),
        ("Um %(a)s", "One %(b)s", "differs in %(a)s, %(b)s"),
        ("Um {a} de {a}<br>", "One {a}<br>", None),
        ("5% de {a}", "5% of {a}", None),
    ],
)
def test_it_tells_why_a_translation_does_not_fit(key: str, translation: str, fault: str | None) -> None:
    assert find_fault(key, translation) == fault
    if fault:
        source = (
            key.replace("{a}", "{{ a }}")
            .replace("{if}", "{% if a %}")
            .replace("{else}", "{% else %}")
            .replace("{endif}", "{% endif %}")
        )
        assert replace_sentences(source, lambda _: translation) == source


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Fora de uso", True), ("empresa inteira", True), ("Copiar", True), ("é", False), ("até", True),
        ("e-mail de quem paga", True),
        ("size-5 mt-1 text-primary", False), ("btn btn-sm", False), ("parts/_x.html", False), ("usage", False), ("d", False),
        ("https://a.b/C", False), ("{a} {b}", False), ("usage_csv", False), ("GPT-4", False),
    ],
)  # fmt: skip
def test_it_knows_prose(text: str, is_one: bool) -> None:
    assert is_prose(text) is is_one


def test_every_template_comes_back_as_it_was() -> None:
    """With an empty catalogue byte for byte; with each sentence as its own translation, but for whitespace and plurals."""
    assert len(TEMPLATES) > 200
    for path in TEMPLATES:
        source = path.read_text()
        assert replace_sentences(source, lambda key: None) == source, path
        for sentence in find_sentences(source):
            assert find_fault(sentence.key, sentence.key) is None, (path, sentence.key)
            assert sentence.key == " ".join(sentence.key.split(" ")) and sentence.key, path


@given(st.text(alphabet=string.ascii_letters[:4] + " {}%#<>/\"'=é\n", max_size=60))
def test_no_source_is_too_broken(source: str) -> None:
    assert replace_sentences(source, lambda key: None) == source
    replace_sentences(source, lambda key: key.upper())


@given(st.lists(st.sampled_from(PARTS), max_size=14))
def test_whatever_is_nested_in_whatever_comes_back(parts: list[str]) -> None:
    source = "".join(parts)
    assert replace_sentences(source, lambda key: None) == source
    same = replace_sentences(source, lambda key: key)
    assert "".join(same.split()) == "".join(source.replace("{# n #}", "").split()) or "{# n #}" in source
    for sentence in find_sentences(source):
        assert find_fault(sentence.key, sentence.key) is None
