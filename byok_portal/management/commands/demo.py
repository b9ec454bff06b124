"""`manage.py demo`: the demo's tenants, logins and tokens; makes the demo world on first call."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from byok_portal import demo


class Command(BaseCommand):
    """Prints what the portal itself shows once and forgets."""

    help = "Make the demo world if it is missing, and print its logins and tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="For scripts.")

    def handle(self, *_args: Any, as_json: bool, **_options: Any) -> None:
        document = demo.ensure()
        self.stdout.write(json.dumps(document, indent=1) if as_json else describe(document))


def describe(document: dict[str, Any]) -> str:
    """What a newcomer needs: addresses, logins, and one call to paste."""
    base, consumer = document["base_url"], document["consumers"][0]
    upstream = document["upstream"]
    key = document["tenants"][0]["keys"][0]
    use = f"{base}/api/v1/tenants/{consumer['tenant']}/keys/{key}"
    lines = [
        "",
        f"  Portal        {base}/",
        *(
            f"  {tenant['slug'].title():<13} {tenant['owner']['email']}  {tenant['owner']['password']}"
            for tenant in document["tenants"]
        ),
        f"  Mailbox       {base}/demo/mailbox/   every mail that the portal sent",
        f"  Staff         {base}/staff/   {document['staff']['email']}  {document['staff']['password']}",
        f"  API           {base}/api/v1/openapi.json",
        "",
        f"  Register a key of your own in {base}/t/acme/ (provider OpenBao, endpoint {upstream['openbao_addr']},",
        f"  path prefix {upstream['prefix']}) with this real token:  {upstream['fresh_token']}",
        f"  and rotate it later to:  {upstream['successor_token']}",
        "",
        "  Read a real secret through the portal, without ever seeing the credential:",
        "",
        f"  curl -s {use}/proxy{upstream['example_path']} \\",
        f"    -H 'Authorization: Bearer {consumer['token']}' -H 'Byok-Purpose: nightly report'",
        "",
        "  Ask for a decision only:",
        "",
        f"  curl -s {use}/use/ -H 'Authorization: Bearer {consumer['token']}' \\",
        '    -H \'Content-Type: application/json\' -d \'{"scope": "secrets:read", "purpose": "nightly report"}\'',
        "",
    ]
    return "\n".join(lines)
