"""Reads messages as programs do that take webhooks: the signature is verified by the library of Standard Webhooks,
the event read by the SDK of CloudEvents. One JSON object a line: {"secrets", "headers", "body"}; answers one a line."""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from standardwebhooks import Webhook, WebhookVerificationError


def verified(secret, body, headers):
    try:
        Webhook(secret).verify(body.encode(), headers)
        return True
    except WebhookVerificationError:
        return False


for line in sys.stdin:
    sent = json.loads(line)
    headers, body = sent["headers"], sent["body"]
    event = from_structured_event(HTTPMessage(headers=headers, body=body.encode()))
    answer = {
        "verified": [verified(secret, body, headers) for secret in sent["secrets"]],
        "id": event.get_id(),
        "source": event.get_source(),
        "type": event.get_type(),
        "subject": event.get_subject(),
        "data": event.get_data(),
    }
    print(json.dumps(answer), flush=True)
