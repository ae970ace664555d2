"""One XEP (or one part of RFC 6121), one file."""
