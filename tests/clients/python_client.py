"""Asks for flags as a Python program does that uses OpenFeature.

Reads a question a line from stdin, writes an answer a line to stdout, both JSON.
Arguments: the address of the gateway, and a token or nothing.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def main(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    api.set_provider(OFREPProvider(url, headers_factory=lambda: headers))
    client = api.get_client()
    for line in sys.stdin:
        question = json.loads(line)
        ask = getattr(client, f"get_{question['type']}_details")
        context = EvaluationContext(question.get("key"), question.get("attributes") or {})
        details = ask(question["flag"], question["default"], context)
        answer = {
            "value": details.value,
            "variant": details.variant,
            "reason": details.reason,
            "error": details.error_code,
            "metadata": dict(details.flag_metadata or {}),
        }
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
