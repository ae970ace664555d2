"""Makes docs/config.md, docs/xeps.md and doap.xml from the code (`python -m jabberd.docgen`).

Options are described where they are defined, and a module names the XEPs that it implements:
nothing of that is written down twice.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from jabberd.config import Federation, GatewayConfig, PeerConfig, networks
from jabberd.config.catalogue import ModuleSpec, installed
from jabberd.config.effective import toml
from jabberd.config.shape import (
    Clients,
    ComponentConfig,
    Config,
    HostConfig,
    Http,
    Journal,
    Limits,
    Listen,
    Listener,
    Log,
    Passwords,
    PrivilegesConfig,
    Sessions,
)
from jabberd.config.walk import describe, is_table, keys_of
from jabberd.core.module import Xep

STREAM: Final[tuple[tuple[Xep, str], ...]] = (
    (Xep(78, "2.5", "Plain text only; digest needs the password itself."), "Old logins"),
    (Xep(86, "1.0"), "Error codes for clients of 1999"),
    (Xep(114, "1.6", "Both ends; with XEP-0198."), "External components"),
    (Xep(178, "1.2"), "Certificates of clients and servers"),
    (Xep(185, "1.0"), "Keys of dialback"),
    (Xep(198, "1.6.3"), "Acknowledgements, and sessions that can be resumed"),
    (Xep(220, "1.1.1"), "Server dialback"),
    (Xep(288, "1.0.1"), "Both directions on one stream between servers"),
    (Xep(368, "1.1.0"), "Direct TLS with ALPN"),
    (Xep(386, "1.1.0"), "A resource together with the login"),
    (Xep(388, "1.0.4"), "Logins of fewer round trips"),
    (Xep(440, "1.0.0"), "Which channel bindings there are"),
    (Xep(474, "0.5.0"), "Protection against SCRAM downgrades"),
    (Xep(478, "0.2.0"), "Stream limits are told to the client"),
    (Xep(480, "0.2.0"), "Keys for more hash functions, made by the client"),
    (Xep(484, "0.2.0", "Not by TLS 0-RTT."), "Tokens instead of passwords"),
    (Xep(509, "0.2.0"), "Logins before the offer is seen"),
    (Xep(515, "0.1.0"), "The version of TLS in SCRAM"),
)
"""What belongs to the stream itself, and to no module."""
GATEWAYS: Final[tuple[tuple[Xep, str], ...]] = (
    (Xep(100, "1.0"), "Gateways: registration, login, contacts, messages, prompts"),
    (Xep(106, "1.1.1"), "Any address of a network as a localpart"),
    (Xep(144, "1.1.1", "Items are proposed, not taken."), "Contacts of a network are proposed"),
    (Xep(153, "1.1"), "Pictures of contacts, by their hash in presence"),
    (Xep(172, "1.1"), "Names of contacts"),
    (Xep(504, "0.1.0"), "What a gateway stores, and who sees it"),
)
"""What gateways do besides what modules do as well."""
_RFCS: Final = (6120, 6121, 6122, 7590)
_GENERATED: Final = "made by `make docs` from the code; change it there"

_CONFIG_HEAD: Final = f"""\
<!-- {_GENERATED} -->
# Configuration

One TOML file, named by `--config` or by the environment variable `JABBERD_CONFIG`. Without one,
the defaults below hold. `jabberd config check` says what is wrong with a file, all at once;
`jabberd config show` prints every value that is in force and where it was set.

* A key that is not known, a value of the wrong type and keys that contradict each other keep the
  server from starting.
* File names are relative to the folder of the configuration file.
* Every key can be set by an environment variable: its path in capitals, with two underscores
  between the parts, as `JABBERD_LOG__LEVEL=debug`; lists are separated by commas. The environment
  is stronger than the file. `JABBERD_HOSTS=example.org,example.com` declares hosts that need no
  options. Modules are set in the file only.
* `jabberd reload` (or SIGHUP) reads everything again and applies certificates, the log level,
  the limits, and what is set for sessions and clients, and most of what is set for other servers;
  other changes need a restart, and it says which. With an error in the file, the old state goes on.
"""

_TABLES: Final[tuple[tuple[str, type[Any]], ...]] = (
    ("Top level", Config),
    ("`[listen]`", Listen),
    ("An address in `[listen]`", Listener),
    ("`[http]`", Http),
    ("`[limits]`", Limits),
    ("`[sessions]`", Sessions),
    ("`[clients]`", Clients),
    ("`[federation]`", Federation),
    ('`[peer."example.net"]`', PeerConfig),
    ("`[log]`", Log),
    ("`[passwords]`", Passwords),
    ("`[journal]`", Journal),
    ('`[host."example.org"]`', HostConfig),
    ('`[component."sms.example.org"]`', ComponentConfig),
    ("`privileges` of a component", PrivilegesConfig),
    ('`[gateway."mail.example.org"]`', GatewayConfig),
)


def pages() -> dict[str, str]:
    """The generated files, by their path in the project."""
    specs = list(installed().standard.values())
    return {
        "docs/config.md": config_page(specs),
        "docs/xeps.md": xeps_page(specs),
        "doap.xml": doap(specs),
    }


def config_page(specs: list[ModuleSpec]) -> str:
    """The manual of options."""
    parts = [_CONFIG_HEAD]
    for title, cls in _TABLES:
        parts.append(f"## {title}\n\n{_summary(cls)}\n\n{_keys(cls)}")
    parts.append(
        '## `[host."example.org".modules]`\n\n'
        "Every module below is on unless it is switched off, as `vcard = false`; options are given "
        "as a table, as `offline = { keep = 100 }`.\n"
    )
    parts += [f"### `{s.name}`\n\n{s.summary}\n\n{_keys(s.options)}" for s in specs]
    parts.append(
        "## The networks of gateways\n\n"
        "What the table of a gateway has besides its own keys; "
        "[gateways.md](gateways.md) has examples.\n"
    )
    for name in networks.names():
        spec = networks.find(name)
        parts.append(
            f'### `network = "{name}"`\n\n{_summary(spec.options)}\n\n{_keys(spec.options)}'
        )
    return "\n".join(parts)


def _summary(cls: type[Any]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:")[0].strip()


def _keys(cls: type[Any]) -> str:
    texts = attributes(cls)
    lines = []
    for field in dataclasses.fields(cls):
        if field.name not in keys_of(cls):
            continue
        hint = keys_of(cls)[field.name]
        default = _default(field)
        head = f"* `{field.name}` ({describe(hint)}{default})"
        lines.append(f"{head}: {texts[field.name]}\n")
    return "".join(lines) if lines else "It has no options.\n"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING or value in {None, ""} or is_table(type(value)):
        return ""
    return f", default `{toml(value)}`"


def attributes(cls: type[Any]) -> Mapping[str, str]:
    """What the "Attributes" section of a docstring says of each field.

    Raises:
        ValueError: a field is not described.
    """
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            texts[name] = match[2].strip()
        elif line.startswith("        ") and name:
            texts[name] += f" {line.strip()}"
        elif line.strip():
            break
    missing = [field for field in keys_of(cls) if field not in texts]
    if missing:
        raise ValueError(f"{cls.__qualname__}: the docstring says nothing of {missing}")
    return texts


def _implemented(specs: list[ModuleSpec]) -> Iterator[tuple[Xep, str, str]]:
    """XEPs in order, with what it is and where."""
    found = [(xep, text, "streams") for xep, text in STREAM]
    found += [(xep, text, "gateways") for xep, text in GATEWAYS]
    found += [
        (xep, re.sub(r"^XEP-\d+ ", "", spec.summary), f"module `{spec.name}`")
        for spec in specs
        for xep in spec.xeps
    ]
    return iter(sorted(found, key=lambda entry: (entry[0].number, entry[2])))


def xeps_page(specs: list[ModuleSpec]) -> str:
    """The table of implemented XEPs."""
    lines = [
        f"<!-- {_GENERATED} -->",
        "# What is implemented",
        "",
        "Besides " + ", ".join(f"RFC {number}" for number in _RFCS) + ":",
        "",
        "| XEP | Version | What | Where | Left out |",
        "|---|---|---|---|---|",
    ]
    for xep, what, where in _implemented(specs):
        link = f"[{xep.number:04}](https://xmpp.org/extensions/xep-{xep.number:04}.html)"
        cells = (link, xep.version, what, where, xep.note)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def doap(specs: list[ModuleSpec]) -> str:
    """The description of the project for programs (XEP-0453)."""
    rfcs = "\n".join(
        f"    <implements rdf:resource='https://www.rfc-editor.org/info/rfc{number}'/>"
        for number in _RFCS
    )
    xeps = "\n".join(_supported(xep) for xep, _, _ in _implemented(specs))
    return f"""\
<?xml version='1.0' encoding='UTF-8'?>
<!-- {_GENERATED} -->
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
         xmlns='http://usefulinc.com/ns/doap#'
         xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>
  <Project>
    <name>jabberd</name>
    <shortdesc xml:lang='en'>An XMPP (Jabber) server in Python</shortdesc>
    <license rdf:resource='https://www.apache.org/licenses/LICENSE-2.0'/>
    <programming-language>Python</programming-language>
    <os>Linux</os>
    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>
{rfcs}
{xeps}
  </Project>
</rdf:RDF>
"""


def _supported(xep: Xep) -> str:
    status = "partial" if xep.note else "complete"
    note = f"\n        <xmpp:note xml:lang='en'>{escape(xep.note)}</xmpp:note>" if xep.note else ""
    return f"""\
    <implements>
      <xmpp:SupportedXep>
        <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{xep.number:04}.html'/>
        <xmpp:status>{status}</xmpp:status>
        <xmpp:version>{escape(xep.version)}</xmpp:version>{note}
      </xmpp:SupportedXep>
    </implements>"""


def main(root: Path) -> None:
    """Write the files into a checkout of the project."""
    for name, text in pages().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
