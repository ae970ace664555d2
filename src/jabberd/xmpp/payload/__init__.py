"""What a XEP looks like on the wire: one file per payload."""
