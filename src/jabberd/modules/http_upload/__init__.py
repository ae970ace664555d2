"""XEP-0363 HTTP File Upload: a place for the files that people send each other."""

from __future__ import annotations

from jabberd.core.module import AccountEvent, Host, IqGet, Module, OnAccount, Xep
from jabberd.core.ports import HttpApi, UploadApi
from jabberd.modules.http_upload.care import Care
from jabberd.modules.http_upload.options import Options
from jabberd.modules.http_upload.service import PURPOSES, Uploads
from jabberd.xmpp import ns
from jabberd.xmpp.payload import disco
from jabberd.xmpp.payload import http_upload as payload

XEP = Xep(363, "1.2.0")
__all__ = ["XEP", "Options", "load"]


def load(host: Host, options: Options) -> Module:
    """Slots at the host itself, so that no further name is needed; nothing without HTTPS."""
    try:
        web = host.require(HttpApi)
    except LookupError:
        return Module()
    uploads = Uploads(host, options, web)
    return Module(
        handlers=[
            IqGet(ns.HTTP_UPLOAD, "request", uploads.slot),
            OnAccount(AccountEvent.DELETING, uploads.deleting),
        ],
        features=[ns.HTTP_UPLOAD, *map(payload.feature_of, PURPOSES)],
        identities=[disco.identity("store", "file", "HTTP File Upload")],
        forms=[payload.limits_form(options.largest)],
        provides={UploadApi: uploads},
        commands=Care(host, uploads).commands(),
    )
