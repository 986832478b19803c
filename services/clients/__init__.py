"""Clients of the two vendors. They know no database and no web framework.

They return the values of `services.sync.model` and raise one family of errors, `VendorError`.
"""
