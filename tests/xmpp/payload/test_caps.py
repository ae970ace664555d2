"""The vectors of XEP-0115 §5.2 and §5.3, and its rules for ill-formed forms."""

from __future__ import annotations

from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.payload import caps

SIMPLE = """
<query xmlns='http://jabber.org/protocol/disco#info'>
  <identity category='client' name='Exodus 0.9.1' type='pc'/>
  <feature var='http://jabber.org/protocol/muc'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/caps'/>
</query>
"""
COMPLEX = """
<query xmlns='http://jabber.org/protocol/disco#info'>
  <x xmlns='jabber:x:data' type='result'>
    <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
    <field var='software_version'><value>0.11</value></field>
    <field var='os'><value>Mac</value></field>
    <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>
    <field var='os_version'><value>10.5.1</value></field>
    <field var='software'><value>Psi</value></field>
  </x>
  <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
  <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/muc'/>
</query>
"""


def _parse(text: str) -> Element:
    return parse(text.strip().encode())


def test_the_simple_example() -> None:
    assert caps.verification_string(_parse(SIMPLE)) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_the_complex_example() -> None:
    assert caps.verification_string(_parse(COMPLEX)) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_the_string_before_hashing() -> None:
    assert caps.verification_input(_parse(COMPLEX)).decode() == (
        "client/pc/el/Ψ 0.11<client/pc/en/Psi 0.11<"
        "http://jabber.org/protocol/caps<http://jabber.org/protocol/disco#info<"
        "http://jabber.org/protocol/disco#items<http://jabber.org/protocol/muc<"
        "urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<os_version<10.5.1<"
        "software<Psi<software_version<0.11<"
    )


def test_a_form_whose_type_is_not_hidden_does_not_count() -> None:
    shown = COMPLEX.replace(" type='hidden'", "")
    without = _parse(COMPLEX)
    without.children = [c for c in without if c.name != "x"]
    assert caps.verification_input(_parse(shown)) == caps.verification_input(without)


def test_sorting_is_by_bytes_not_by_letters() -> None:
    query = _parse(
        "<query xmlns='http://jabber.org/protocol/disco#info'>"
        "<feature var='b'/><feature var='Z'/><feature var='\U00010000'/><feature var='\uffe6'/>"
        "</query>"
    )
    assert caps.verification_input(query).decode() == "Z<b<\uffe6<\U00010000<"


def test_element() -> None:
    assert caps.element("http://jabberd.example", "abc=").to_bytes() == (
        b"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1'"
        b" node='http://jabberd.example' ver='abc='/>"
    )
