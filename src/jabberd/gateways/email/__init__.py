"""E-mail: mails as values, read and written without any I/O; transports carry them."""
