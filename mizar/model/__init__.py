# SPDX-License-Identifier: Apache-2.0
"""The objects that users declare, their rules, and the compact facts that are derived from them.

    kinds       names, aliases and table columns of every kind; imports nothing heavy: the CLI starts fast
    names       DNS labels and full names such as blue/web-1
    addresses   IPv4 addresses and prefixes as numbers, and which of them tenants may use
    objects     the model classes: JSON schema, defaults, descriptions, rules that one object can break alone
    facts       what the planner and the stores keep of an object: small, with numbers instead of text
    rules       rules between objects, as pure functions over a read-only view
    reading     plain data and JSON text to objects, errors in one line
    bulk        what makes a hundred thousand objects cheap
    manifest    YAML and JSON files to objects, every error with file and line

This package does no I/O beyond reading the manifest it is handed. It imports none of its modules by itself:
`from mizar.model import kinds` must not load pydantic.
"""
