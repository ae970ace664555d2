"""XEP-0004 Data Forms: what is asked, what was answered, and tables of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element

FORM_TYPE = "FORM_TYPE"  # XEP-0068 §3
TRUE = frozenset({"1", "true"})  # XEP-0004 §3.3: the lexical forms of xs:boolean
FALSE = frozenset({"0", "false"})


class FormError(ValueError):
    """A submission lacks a required field or has a value that its field does not allow."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form (XEP-0004 §3.2).

    Attributes:
        var: its name.
        type: its type; empty to leave it out, as results may.
        label: what people see.
        values: defaults in a form, data in a result.
        options: of list-single and list-multi, each a value and its label.
        required: whether a submission must have it.
    """

    var: str
    type: str = "text-single"
    label: str = ""
    values: Sequence[str] = ()
    options: Sequence[tuple[str, str]] = ()
    required: bool = False

    def to_element(self) -> Element:
        """The field as XML."""
        element = Element(
            ns.DATA_FORMS,
            "field",
            {"var": self.var, "type": self.type or None, "label": self.label or None},
        )
        if self.required:
            element.add(Element(ns.DATA_FORMS, "required"))
        element.add(*(_value(value) for value in self.values))
        for value, label in self.options:
            element.add(Element(ns.DATA_FORMS, "option", {"label": label or None}, [_value(value)]))
        return element


def form(
    fields: Iterable[Field],
    *,
    kind: str = "form",
    form_type: str = "",
    title: str = "",
    instructions: str = "",
) -> Element:
    """An `<x/>` of this kind ("form", "submit", "result"), with its FORM_TYPE if there is one."""
    element = Element(ns.DATA_FORMS, "x", {"type": kind})
    if title:
        element.add(Element(ns.DATA_FORMS, "title", None, [title]))
    if instructions:
        element.add(Element(ns.DATA_FORMS, "instructions", None, [instructions]))
    if form_type:
        element.add(Field(FORM_TYPE, "hidden", values=[form_type]).to_element())
    return element.add(*(field.to_element() for field in fields))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Element:
    """A result of several items (XEP-0004 §3.4); each row has one value per column."""
    element = form((), kind="result", title=title)
    reported = Element(ns.DATA_FORMS, "reported")
    reported.add(*(Field(name, label=name).to_element() for name in columns))
    element.add(reported)
    for row in rows:
        item = Element(ns.DATA_FORMS, "item")
        for name, value in zip(columns, row, strict=True):
            item.add(Field(name, "", values=[value]).to_element())
        element.add(item)
    return element


def answers(element: Element) -> dict[str, tuple[str, ...]]:
    """The values of every named field, FORM_TYPE included; of equal names the first counts."""
    found: dict[str, tuple[str, ...]] = {}
    for field in element.find_all(ns.DATA_FORMS, "field"):
        name = field.get("var")
        if name and name not in found:
            found[name] = tuple(v.text for v in field.find_all(ns.DATA_FORMS, "value"))
    return found


def form_type(element: Element) -> str:
    """The FORM_TYPE of a form, or an empty string."""
    return "".join(answers(element).get(FORM_TYPE, ())[:1])


def check(asked: Element, given: Mapping[str, Sequence[str]]) -> None:
    """Compare a submission with the form that asked for it.

    Raises:
        FormError: says, for a person, which field is wrong and how.
    """
    for field in asked.find_all(ns.DATA_FORMS, "field"):
        name, kind = field.get("var"), field.get("type", "text-single")
        label = field.get("label") or name
        values = given.get(name, ())
        if field.find(ns.DATA_FORMS, "required") is not None and not any(values):
            raise FormError(f"{label}: a value is required")
        if len(values) > 1 and not (kind.endswith("-multi") or kind == "hidden"):
            raise FormError(f"{label}: only one value is allowed")
        if kind == "boolean" and values and values[0] not in TRUE | FALSE:
            raise FormError(f"{label}: must be true or false")
        if kind.startswith("list-"):
            allowed = {
                option.child_text(ns.DATA_FORMS, "value")
                for option in field.find_all(ns.DATA_FORMS, "option")
            }
            if not allowed.issuperset(values):
                raise FormError(f"{label}: not one of the options")


def _value(text: str) -> Element:
    return Element(ns.DATA_FORMS, "value", None, [text] if text else [])
