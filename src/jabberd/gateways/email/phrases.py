"""How mail programs, in many languages, begin what they quote and end what was written."""
# ruff: noqa: RUF001 -- words of many languages, whose letters look like others

from __future__ import annotations

import re
from typing import Final

_COLON: Final = "[:\uff1a]"


def _any(*words: str) -> str:
    return "(?:" + "|".join(words) + ")"


WROTE: Final = re.compile(
    _any(
        r"\bwrote\b", r"\bwrites\b", r"\bschrieb\b", r"\bschreef\b", r"\bheeft .*geschreven\b",
        r"\ba écrit\b", r"\bescribi[óo]\b", r"\bescreveu\b", r"\bha scritto\b", r"\bskrev\b",
        r"\bkirjoitti\b", r"\bnapisał", r"\bpisze\b", r"\bnapsal", r"\bnapísal", r"\bписал",
        r"\bнаписал", r"\bпишет\b", r"\bпише\b", r"\bнаписав", r"\bнаписа\b", r"\byazdı\b",
        r"\bírta\b", r"\ba scris\b", r"\bva escriure\b", r"\bnapisa(?:o|la)\b", r"\bέγραψε\b",
        r"\brašė\b", r"\bkirjutas\b", r"\brakstīja\b", r"\bđã viết\b", r"\bmenulis\b",
        "כתב", "كتب", "写道", "寫道", "のメール", "書きました", "작성", "님이",
    ),
    re.IGNORECASE,
)  # fmt: skip
"""The verb of the line before a quote: who wrote it, and when."""

BEGINS_WROTE: Final = re.compile(
    r"\s*(?:-+\s*)?"
    + _any(
        "on", "am", "le", "el", "il giorno", "il", "em", "op", "den", "dne", "dňa", "w dniu",
        "dnia", "pe", "în data", "vào", "pada", "στις", "dana", r"a\(z\)",
        r"\d{4}[-./年]\d{1,2}", r"\d{1,2}[-./]\d{1,2}[-./]\d{2,4}",
        r"(?:mo|tu|we|th|fr|sa|su|пн|вт|ср|чт|пт|сб|вс|нд)\w{0,8}[.,]",
    )
    + r"(?:\b|\s|(?<=[.,\d]))",
    re.IGNORECASE,
)  # fmt: skip
"""How that line begins, if its language begins it in a certain way."""

_FROM: Final = _any(
    "from", "von", "de", "da", "van", "från", "fra", "lähettäjä", "od", "от", "від", "kimden",
    "gönderen", "feladó", "de la", "από", "差出人", "发件人", "寄件者", "보낸 사람",
)  # fmt: skip
_SENT: Final = _any(
    "sent", "date", "gesendet", "datum", "envoyé", "enviado(?: el| em)?", "fecha", "inviato",
    "data", "verzonden", "skickat", "sendt", "dato", "lähetetty", "päivämäärä", "wysłano",
    "odesláno", "отправлено", "дата", "надіслано", "gönderildi", "tarih", "elküldve", "dátum",
    "trimis", "στάλθηκε", "送信日時", "日付", "发送时间", "日期", "寄件日期", "보낸 날짜",
)  # fmt: skip
_MORE: Final = _any(
    "to", "an", "à", "para", "a", "aan", "till", "til", "vastaanottaja", "do", "komu", "кому",
    "kime", "címzett", "către", "προς", "宛先", "收件人", "收件者", "받는 사람",
    "subject", "betreff", "objet", "asunto", "oggetto", "assunto", "onderwerp", "ämne", "emne",
    "aihe", "temat", "předmět", "тема", "konu", "tárgy", "subiect", "θέμα", "件名", "主题",
    "主旨", "제목",
)  # fmt: skip


def _label(words: str) -> re.Pattern[str]:
    return re.compile(rf"\s*\*{{0,2}}{words}\s?{_COLON}\*{{0,2}}\s*\S", re.IGNORECASE)


FROM_LABEL: Final = _label(_FROM)
"""The first line of a header that Outlook and others put above what they quote."""
SENT_LABEL: Final = _label(_SENT)
"""The line in it that says when."""
MORE_LABEL: Final = _label(_MORE)
"""A line in it that says to whom, or about what."""

ORIGINAL: Final = re.compile(
    r"\s*+-{2,}+\s*+"
    + _any(
        r"original message", r"ursprüngliche (?:nachricht|mail)", "originalnachricht",
        "message d['\u2019]origine", "message (?:original|initial)", "mensaje original",
        "messaggio originale", "mensagem original", "oorspronkelijk bericht",
        "ursprungligt meddelande", "originalmeddelande", "oprindelig meddelelse",
        "opprinnelig melding", "alkuperäinen viesti", "oryginalna wiadomość",
        "wiadomość oryginalna",
        "původní zpráva", "исходное сообщение", "вихідне повідомлення", "özgün ileti",
        "orijinal mesaj", "eredeti üzenet", "mesaj original", "αρχικό μήνυμα", "原始邮件",
        "原邮件", "原始郵件", "元のメッセージ", "원본 메시지",
    )
    + r"\s*-{2,}\s*",
    re.IGNORECASE,
)  # fmt: skip
"""A line that says that the rest is the mail that is answered."""

REPLY_ABOVE: Final = re.compile(
    r"\W*+(?:please )?(?:type|write|enter)?\s*(?:your )?reply (?:above|over) this line\W*",
    re.IGNORECASE,
)
"""The same as programs that track requests have it."""

RULE: Final = re.compile(r"\s*_{10,}\s*")
"""A line across the page."""

LIST_FOOTER: Final = re.compile(r"mailing list|unsubscribe|-- ?$", re.IGNORECASE)
"""What mailing lists have below such a line."""

_DEVICE: Final = _any(
    "phone", "pad", "mobil", "móvil", "movil", "android", "samsung", "galaxy", "blackberry",
    "huawei", "xiaomi", "pixel", "oneplus", "nokia", "tablet", "yahoo", "outlook", "mail",
    "почт", "мобильн", "proton", "thunderbird", "windows", "gerät", "handy", "device", "k-9",
    "telefon", "tel[eé]fono", "телефон", "spark", "tuta",
)  # fmt: skip

MOBILE: Final = re.compile(
    rf"(?=.{{0,90}}{_DEVICE})"
    + _any(
        "sent (?:from|via|with|using)", "get (?:bluemail|outlook) for",
        "von meinem .{1,40} gesendet",
        "gesendet (?:von|mit|über|aus)", "diese nachricht wurde (?:von|mit)",
        "(?:holen sie sich )?outlook für", "envoyé (?:de|depuis|à partir de)",
        "télécharger outlook pour", "obtener outlook para", "enviado (?:desde|do|de|a partir do)",
        "inviato da", "verzonden (?:vanaf|met|via)", "skickat från", "sendt fra", "lähetetty",
        "wysłan[eo] z", "odesláno z", "отправлено (?:с|из)", "надіслано з", "iphoneから送信",
        "[从從]我的", "发自我的", "나의 iphone에서",
    )
    + r"[^!?<>]{0,60}(?:<[^<>\s]{1,500}>)?",
    re.IGNORECASE,
)  # fmt: skip
"""What telephones add below, unasked."""

FORWARDED: Final = re.compile(
    r"\s*(?:\[[^\]]{0,50}\]\s*)?"
    + _any(
        "fwd?", "wg", "tr", "rv", "enc", "i", "vb", "vl", "doorst", "pd", "tov", "ilt", "yml",
        "转发", "轉寄", "転送",
    )
    + rf"\s*{_COLON}",
    re.IGNORECASE,
)  # fmt: skip
"""How the subject of a mail begins that passes on another one."""
