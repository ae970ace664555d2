"""The spine: sessions, router, delivery, modules. It knows no XEP."""
