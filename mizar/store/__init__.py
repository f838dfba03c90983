# SPDX-License-Identifier: Apache-2.0
"""Where objects are kept: transactions, revisions, watch, allocation.

protocol      what every backend offers; contract tests are written against it
events        the log that watchers follow
ipam          picks free addresses; pure
schema        tables of the SQLite backend, and how old files are brought up to date
records       rows of the SQLite backend to facts and objects
transaction   what one SQLite transaction does
endpoints     the bulk path of a transaction
sqlite        the embedded default backend
"""
