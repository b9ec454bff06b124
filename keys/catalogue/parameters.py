"""The values that a key gives to its provider's parameters, such as an OpenBao mount. Checked once, at
registration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keys.catalogue.entries import ProviderEntry


def check_parameters(entry: ProviderEntry, values: Mapping[str, str]) -> dict[str, str]:
    """Defaults filled in, each value checked. Raises InvalidInput on field `parameters.<name>`.

    A value left empty that stands for "any" is left out: call patterns then see a variable, not a literal.
    """
    known = {parameter.name for parameter in entry.parameters}
    for name in values:
        if name not in known:
            raise InvalidInput("This provider has no such parameter", code="unknown_parameter", field="parameters")
    checked: dict[str, str] = {}
    for parameter in entry.parameters:
        value = values.get(parameter.name, parameter.default).strip()
        if not re.fullmatch(parameter.pattern, value, re.ASCII):
            field = f"parameters.{parameter.name}"
            msg = f"{parameter.label}: {parameter.help}"
            raise InvalidInput(msg, code="parameter_format", field=field)
        if value or not parameter.any_when_empty:
            checked[parameter.name] = value
    return checked
