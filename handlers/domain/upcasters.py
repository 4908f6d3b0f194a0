"""Upcasters: each returns an event type's data in the next schema version. Stored events never change.

For example, when version 2 of ``ITEM_CREATED`` adds a currency, its schema gets ``"version": 2``, and this file::

    from handlers.catalogue import upcaster

    @upcaster("ITEM_CREATED", from_version=1)
    def item_created_adds_currency(data):
        return {**data, "currency": "EUR"}
"""
