# ruff: noqa: RUF001 -- words of many languages, whose letters look like others
"""What is new in a mail, as many programs quote and sign."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.gateways.email.quoting import is_forwarded, strip

SOME = settings(max_examples=100, deadline=None, derandomize=True)

NEW = "Yes, see you there.\n\nJulia"

ATTRIBUTIONS = {
    "gmail": "On Mon, May 6, 2024 at 10:12 AM Romeo <romeo@montague.example> wrote:",
    "gmail wrapped": "On Mon, May 6, 2024 at 10:12 AM Romeo\n<romeo@montague.example> wrote:",
    "gmail wrapped last": "On Mon, May 6, 2024 at 10:12 AM Romeo <romeo@montague.example>\nwrote:",
    "apple": "On 6. May 2024, at 10:12, Romeo <romeo@montague.example> wrote:",
    "thunderbird": "On 5/6/24 10:12, Romeo Montague wrote:",
    "mutt": "On Mon, May 06, 2024 at 10:12:13AM +0200, Romeo wrote:",
    "gnus": "Romeo Montague <romeo@montague.example> writes:",
    "short": "Romeo wrote:",
    "german": "Am 06.05.24 um 10:12 schrieb Romeo Montague:",
    "german gmail": "Am Mo., 6. Mai 2024 um 10:12 Uhr schrieb Romeo <\nromeo@montague.example>:",
    "french": "Le lun. 6 mai 2024 à 10:12, Romeo <romeo@montague.example> a écrit :",
    "french thunderbird": "Le 06/05/2024 à 10:12, Romeo a écrit :",
    "spanish": "El lun, 6 may 2024 a las 10:12, Romeo (<romeo@montague.example>) escribió:",
    "italian": "Il giorno lun 6 mag 2024 alle ore 10:12 Romeo <romeo@montague.example> ha scritto:",
    "portuguese": "Em seg., 6 de mai. de 2024 às 10:12, Romeo <romeo@montague.example> escreveu:",
    "dutch": "Op ma 6 mei 2024 om 10:12 schreef Romeo <romeo@montague.example>:",
    "swedish": "Den mån 6 maj 2024 kl 10:12 skrev Romeo <romeo@montague.example>:",
    "finnish": "ma 6. toukok. 2024 klo 10.12 Romeo (romeo@montague.example) kirjoitti:",
    "polish": "pon., 6 maj 2024 o 10:12 Romeo <romeo@montague.example> napisał(a):",
    "polish thunderbird": "W dniu 6.05.2024 o 10:12, Romeo pisze:",
    "czech": "po 6. 5. 2024 v 10:12 odesílatel Romeo <romeo@montague.example> napsal:",
    "russian": "пн, 6 мая 2024 г. в 10:12, Romeo <romeo@montague.example>:",
    "russian thunderbird": "06.05.2024 10:12, Romeo пишет:",
    "turkish": "Romeo <romeo@montague.example>, 6 May 2024 Pzt, 10:12 tarihinde şunu yazdı:",
    "hungarian": "Romeo <romeo@montague.example> ezt írta (időpont: 2024. máj. 6., H, 10:12):",
    "japanese": "2024年5月6日(月) 10:12 Romeo <romeo@montague.example>:",
    "chinese": "Romeo <romeo@montague.example> 于2024年5月6日周一 10:12写道：",
    "korean": "2024년 5월 6일 (월) 오전 10:12, Romeo <romeo@montague.example>님이 작성:",
}

HEADERS = {
    "english": "From: Romeo <r@x.example>\nSent: Monday, May 6, 10:12 AM\nTo: Julia\nSubject: Ball",
    "bold": "*From:* Romeo <r@x.example>\n*Sent:* Monday, May 6\n*To:* Julia\n*Subject:* Ball",
    "german": "Von: Romeo <r@x.example>\nGesendet: Montag, 6. Mai\nAn: Julia\nBetreff: Ball",
    "french": "De : Romeo <r@x.example>\nEnvoyé : lundi 6 mai\nÀ : Julia\nObjet : Bal",
    "spanish": "De: Romeo\nEnviado el: lunes, 6 de mayo\nPara: Julia\nAsunto: Baile",
    "italian": "Da: Romeo\nInviato: lunedì 6 maggio\nA: Julia\nOggetto: Ballo",
    "dutch": "Van: Romeo\nVerzonden: maandag 6 mei\nAan: Julia\nOnderwerp: Bal",
    "russian": "От: Romeo\nОтправлено: 6 мая\nКому: Julia\nТема: Бал",
    "chinese": "发件人: Romeo\n发送时间: 2024年5月6日\n收件人: Julia\n主题: 舞会",
}

MARKS = [
    "-----Original Message-----",
    "-------- Original Message --------",
    "-----Ursprüngliche Nachricht-----",
    "-----Message d'origine-----",
    "-----Mensaje original-----",
    "-----Oorspronkelijk bericht-----",
    "------------------ 原始邮件 ------------------",
    "##- Please type your reply above this line -##",
]

ENDS = [
    "-- \nJulia Capulet\nVerona",
    "--\nJulia Capulet\nVerona",
    "Sent from my iPhone",
    "Get Outlook for iOS<https://aka.ms/o0ukef>",
    "Von meinem iPhone gesendet",
    "Envoyé de mon iPhone",
    "Enviado desde mi iPhone",
    "Отправлено из мобильной Почты",
    "发自我的iPhone",
    "_______________________________________________\nVerona mailing list\nverona@lists.example",
]


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_a_quote_below_goes_with_the_line_that_says_whose_it_is(name: str) -> None:
    quoted = f"{NEW}\n\n{ATTRIBUTIONS[name]}\n\n> Will you come?\n>\n> Romeo\n"
    assert strip(quoted) == NEW


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_a_quote_above_goes_too_if_it_is_the_only_one(name: str) -> None:
    assert strip(f"{ATTRIBUTIONS[name]}\n> Will you come?\n> Romeo\n\n{NEW}\n") == NEW


@pytest.mark.parametrize("name", ["gmail", "gmail wrapped", "apple", "german gmail", "dutch"])
def test_a_line_that_names_a_time_is_believed_without_quote_marks(name: str) -> None:
    assert strip(f"{NEW}\n\n{ATTRIBUTIONS[name]}\n\nWill you come?\nRomeo\n") == NEW


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("rule", ["", "________________________________\n"])
def test_a_header_below_begins_the_history(name: str, rule: str) -> None:
    assert strip(f"{NEW}\n\n{rule}{HEADERS[name]}\n\nWill you come?\n") == NEW


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_begins_the_history(mark: str) -> None:
    assert strip(f"{NEW}\n\n{mark}\nWill you come?\n") == NEW


@pytest.mark.parametrize("end", ENDS)
def test_signatures_go(end: str) -> None:
    assert strip(f"{NEW}\n\n{end}\n") == NEW


@pytest.mark.parametrize("end", ENDS)
def test_signatures_go_between_text_and_history_too(end: str) -> None:
    assert strip(f"{NEW}\n\n{end}\n\n{ATTRIBUTIONS['gmail']}\n> Will you come?") == NEW


def test_answers_between_quotes_keep_what_they_answer() -> None:
    between = "> Will you come?\nYes.\n\n> By horse?\nOn foot."
    assert strip(f"{between}\n\n> Romeo\n") == between


@pytest.mark.parametrize(
    "text",
    [
        "On Monday he wrote:\nI will not come.\nSo I went alone.",
        "From: me\nTo: you",
        "I asked: what now?\n\nNothing.",
        "Sent from my point of view this is a mistake",
        "This -- as I said -- is all.\n--\n" + "a long list\n" * 30 + "end",
        "> only a quote",
        "-- \nonly a signature",
        "Sent from my iPhone",
        "On 5/6/24 10:12, Romeo Montague wrote:\n> all of it is quoted",
        HEADERS["english"] + "\n\nall of it is history",
        "-----Original Message-----\nall of it is history",
    ],
)
def test_what_may_be_text_stays(text: str) -> None:
    assert strip(text) == text.strip()


@SOME
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*ATTRIBUTIONS.values(), *HEADERS.values(), *MARKS, *ENDS]),
            st.sampled_from(["> quoted", "", "text", ">", "--", "-- ", "wrote:"]),
            st.text(max_size=40),
        ),
        max_size=12,
    )
)
def test_something_of_the_text_is_left_and_nothing_is_added(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    left = strip(text)
    assert bool(left) == bool(text.strip())
    assert left in text


@pytest.mark.parametrize(
    "line",
    [
        "On 1:1 a@b.c ",
        "From: a\nSent: b\n",
        "> ",
        "Sent from " * 9,
        "x:\n",
        "(",
        "-" * 400,
        "_" * 99,
    ],
)
def test_what_matches_everywhere_is_done_with_quickly(line: str) -> None:
    assert strip((line + "\n") * 4_000 + line * 5_000)  # minutes, if any rule looked back too far


@pytest.mark.parametrize("subject", ["Fwd: x", "FW: x", "WG: x", "[list] Fwd: x", "转发：x"])
def test_forwards_are_told_by_their_subject(subject: str) -> None:
    assert is_forwarded(subject)


@pytest.mark.parametrize("subject", ["Re: Ball", "Forward!", "", "Idea: x", "AW: WG: x"])
def test_other_subjects_are_no_forwards(subject: str) -> None:
    assert not is_forwarded(subject)
