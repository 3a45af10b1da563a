"""The tables of a message bus, and under which names its messages are counted."""

from __future__ import annotations

from orchwatch.runtime.message import MessageError
from orchwatch.runtime.schema import Schema

# Labels of messages without a topic, and of topics beyond the first few: none of them is a topic.
DIRECT = "(direct)"
BROADCAST = "(broadcast)"
OTHER = "(other)"

SCHEMA = Schema(
    holds="message bus",
    application_id=0x4F774D62,  # "OwMb"
    version=1,
    statements="""
CREATE TABLE mailboxes(
    name TEXT PRIMARY KEY, capacity INTEGER NOT NULL, unread INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE subscriptions(topic TEXT, mailbox TEXT, PRIMARY KEY(topic, mailbox)) WITHOUT ROWID;
CREATE TABLE messages(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL, label TEXT NOT NULL,
    headers TEXT NOT NULL, body TEXT NOT NULL,
    sent_ns INTEGER NOT NULL, clock_ns INTEGER NOT NULL, boot TEXT NOT NULL, copies INTEGER NOT NULL
);
CREATE INDEX oldest ON messages(label, number);
CREATE TABLE deliveries(
    mailbox TEXT, sender TEXT, number INTEGER, PRIMARY KEY(mailbox, sender, number)
) WITHOUT ROWID;
CREATE TABLE lanes(
    mailbox TEXT, sender TEXT, head INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    claim INTEGER NOT NULL DEFAULT 0, since_ns INTEGER NOT NULL DEFAULT 0,
    until_ns INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY(mailbox, sender)
) WITHOUT ROWID;
CREATE INDEX heads ON lanes(mailbox, head);
CREATE TABLE dead_letters(
    number INTEGER, mailbox TEXT, sender TEXT NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL,
    body TEXT NOT NULL, sent_ns INTEGER NOT NULL, tries INTEGER NOT NULL, error TEXT NOT NULL,
    died_ns INTEGER NOT NULL, PRIMARY KEY(number, mailbox)
) WITHOUT ROWID;
CREATE TABLE totals(
    label TEXT PRIMARY KEY, sent INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0,
    late INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE exported(
    label TEXT PRIMARY KEY, sent INTEGER NOT NULL, delivered INTEGER NOT NULL,
    late INTEGER NOT NULL, lost INTEGER NOT NULL, dead INTEGER NOT NULL
) WITHOUT ROWID;
""",
    error=MessageError,
)
