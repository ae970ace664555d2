"""The HTTP side, by real sockets."""  # noqa: A005 -- it is `tests.http`
