"""Posts each alarm to a web address: as JSON, as a text of one's own, or with the picture.

gotify:
  type: webhook
  url: https://gotify.example.org/message
  headers: {X-Gotify-Key: "${GOTIFY_TOKEN}"}
  body: {title: "{camera}", message: "{words}, {peak_score:.2f}", priority: 8}
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ssrl_pipeline.alarms.receivers import templates
from ssrl_pipeline.alarms.receivers.base import ALARMS, Message, Options, Recipient, Target, picture_of
from ssrl_pipeline.alarms.receivers.web import Server
from ssrl_pipeline.errors import ConfigError

Picture = Literal["body", "form"]


@dataclass(frozen=True, kw_only=True)
class WebhookOptions(Options):
    url: str = ""
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, Any] = field(default_factory=dict)  # name -> template
    body: str | dict[str, Any] | None = None  # a template, or JSON of templates; None: the line itself
    picture: Picture | None = None  # the still as the body, or as a file of a form whose fields are `body`
    picture_field: str = "picture"  # of that form
    ca: str = ""  # a file of certificates to trust instead of the system's
    verify: bool = True
    types: tuple[str, ...] = ALARMS


OPTIONS = WebhookOptions


def make(options: WebhookOptions, *_: Any) -> Recipient:
    """Raises ConfigError where the address or a template does not fit."""
    if options.picture == "form" and not isinstance(options.body, dict):
        raise ConfigError("picture: form needs a body of fields, as in body: {caption: '{camera}'}")
    made = Webhook(
        Server(options.url, options.ca, options.verify),
        options.headers,
        options.body,
        options.picture,
        options.picture_field,
        options.method,
    )
    return Recipient(made, options.types)


class Webhook(Target):
    """See :class:`WebhookOptions`; the address's secrets are told nobody."""

    def __init__(
        self,
        server: Server,
        headers: Mapping[str, str] | None = None,
        body: str | dict[str, Any] | None = None,
        picture: Picture | None = None,
        picture_field: str = "picture",
        method: str = "POST",
    ):
        self._server, self._headers, self._body = server, dict(headers or {}), body
        self._picture, self._field, self._method = picture, picture_field, method
        if bad := [key for key, value in self._headers.items() if not isinstance(value, str)]:
            raise ConfigError(f"headers.{bad[0]}: not a text; write it in quotes")
        templates.check(self._headers, "headers")
        templates.check(body, "body")

    def deliver(self, message: Message) -> None:
        kind, body = self._content(message)
        headers = {key: templates.fill_text(text, message) for key, text in self._headers.items()}
        self._server.send(self._method, body, {"Content-Type": kind} | headers)

    def _content(self, message: Message) -> tuple[str, bytes]:
        """The content's type, and the content."""
        image = picture_of(message) if self._picture else None
        if image and self._picture == "body":
            return "image/jpeg", image
        if self._picture == "form":
            fields = templates.fill(self._body, message)
            return form({key: templates.shown(value) for key, value in fields.items()}, self._field, image)
        if isinstance(self._body, str):
            return "text/plain; charset=utf-8", templates.fill_text(self._body, message).encode()
        content = message if self._body is None else templates.fill(self._body, message)
        return "application/json", json.dumps(content).encode()


def form(fields: Mapping[str, str], file_field: str, image: bytes | None) -> tuple[str, bytes]:
    """multipart/form-data (RFC 7578) -> its type with the boundary, and the body."""
    boundary = secrets.token_hex(16)
    parts: Sequence[tuple[str, bytes]] = [(f'name="{key}"', value.encode()) for key, value in fields.items()]
    if image:
        parts = [*parts, (f'name="{file_field}"; filename="still.jpg"\r\nContent-Type: image/jpeg', image)]
    whole = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return f"multipart/form-data; boundary={boundary}", whole + f"--{boundary}--\r\n".encode()
